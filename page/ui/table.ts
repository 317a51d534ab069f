/** The rows below the results, and the file that they become. */

import { at, drawn, make } from "./dom.js";
import { say } from "./messages.js";

type Cell = string | number | boolean | null;
export type Row = Record<string, Cell>;

const MOST_SHOWN = 200;
let held: { rows: Row[]; name: string; lost(): string } = { rows: [], name: "faces.csv", lost: () => "" };

/** Shows rows; `lost` says which are missing. */
export function fillTable(rows: Row[], name: string, lost = (): string => ""): void {
  held = { rows, name, lost };
  at("rows").hidden = !rows.length;
  drawn(() => void (at("rows-note").textContent = note()));
  if (!rows.length) return;
  const columns = Object.keys(rows[0]!), isText = (column: string) => rows.some((row) => typeof row[column] === "string");
  const classes = new Map(columns.map((column) => [column, isText(column) ? "text" : ""]));
  const head = columns.map((column) => make("th", { class: classes.get(column)!, scope: "col" }, column));
  const body = rows.slice(0, MOST_SHOWN).map((row) =>
    make("tr", {}, ...columns.map((column) => make("td", { class: classes.get(column)! }, brief(row[column] ?? null)))));
  document.querySelector("#rows table")!.replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

/** What is said below the table. */
function note(): string {
  const { length } = held.rows;
  const rest = length > MOST_SHOWN ? `${say("first_rows", { shown: MOST_SHOWN, all: length })} ` : "";
  return [held.lost(), rest + say("download_note")].filter(Boolean).join(" ");
}

const brief = (value: Cell): string =>
  value === null ? "" : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);

export function toCsv(rows: readonly Row[]): string {
  const quoted = (value: Cell): string => {
    if (typeof value !== "string") return String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value; // a spreadsheet would run it as a formula
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const columns = Object.keys(rows[0] ?? {});
  const lines = rows.map((row) => columns.map((column) => quoted(row[column] ?? null)).join(","));
  return `${[columns.join(","), ...lines].join("\n")}\n`;
}

export function download(): void {
  const address = URL.createObjectURL(new Blob([toCsv(held.rows)], { type: "text/csv" }));
  make("a", { href: address, download: held.name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
