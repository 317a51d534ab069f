"""Write a spreadsheet that other programs open: Office Open XML (ECMA-376), one sheet, no style."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET
from zipfile import ZIP_DEFLATED, ZipFile

from mien.core.columns import Cell, Row
from mien.workflows.rows.xml_text import for_xml

SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml"
XLSX_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}">'
    '<sheets><sheet name="events" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
    f'<Relationship Id="r1" Type="{OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
}
"""What a workbook of one sheet holds besides the sheet (ECMA-376, Office Open XML)."""


def write_xlsx(rows: Iterable[Row], path: Path) -> None:
    """A workbook of one sheet; numbers are numbers, everything else is text."""
    sheet = ET.Element("worksheet", xmlns=SHEET)
    data = ET.SubElement(sheet, "sheetData")
    for row in rows:
        line = ET.SubElement(data, "row")
        for cell in row:
            _add_cell(line, cell)
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, text in XLSX_PARTS.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n{text}')
        body = ET.tostring(sheet, encoding="UTF-8", xml_declaration=True)
        file.writestr("xl/worksheets/sheet1.xml", body)


def _add_cell(line: ET.Element, cell: Cell) -> None:
    if cell is None:
        ET.SubElement(line, "c")
    elif isinstance(cell, str | bool):
        text = ET.SubElement(ET.SubElement(line, "c", t="inlineStr"), "is")
        ET.SubElement(text, "t").text = for_xml(str(cell))
    else:
        ET.SubElement(ET.SubElement(line, "c"), "v").text = repr(cell)
