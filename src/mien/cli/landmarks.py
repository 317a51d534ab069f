"""``mien landmarks``: 68 points on every face of images."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.options import Detector, LeastFace, MinScore
from mien.cli.read_inputs import refuse_nothing
from mien.cli.read_screen import searched_side, shrunk_note
from mien.cli.terminal import printable, until_closed

if TYPE_CHECKING:
    from mien.workflows.landmarks import FacePoints

EXAMPLES = """\b
Examples:
  mien landmarks photo.jpg
  mien landmarks photos/ --json > points.jsonl
  mien landmarks photo.jpg --annotate points/
  mien landmarks - < photo.jpg

The points follow iBUG 300-W: 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth.
"""

app = typer.Typer()


@app.command(epilog=EXAMPLES)
def landmarks(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Images and folders; - for standard input.", show_default=False
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per image.")] = False,
    annotate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the images with their landmarks.")
    ] = None,
    detector: Detector = None,
    min_score: MinScore = 0.0,
    min_face: LeastFace = None,
) -> None:
    """Find 68 landmarks on every face in images and folders."""
    from mien.core.detection import DEFAULT_DETECTOR, looks_for
    from mien.core.detectors import make_detector
    from mien.core.outputs import check_output_folder
    from mien.workflows.find import PassedOver, find_images
    from mien.workflows.landmarks import draw_points, place_landmarks
    from mien.workflows.read_outputs import AnnotatedFolder

    detector = detector or DEFAULT_DETECTOR
    finder = make_detector(detector, looks_for(min_face))
    side = searched_side(detector, min_face)
    passed_over = PassedOver()
    if annotate:
        check_output_folder(annotate)
    sources = refuse_nothing(find_images(paths, annotate, passed_over), passed_over)
    folder = AnnotatedFolder(annotate) if annotate else None
    failed: list[str] = []
    n_shrunk = 0
    stdin = getattr(sys.stdin, "buffer", None)  # there is no stdin where it was closed
    say = until_closed(typer.echo) if annotate else typer.echo
    for result in place_landmarks(sources, min_score, finder, stdin):
        n_shrunk += side is not None and result.pixels is not None and max(result.pixels.shape) > side
        if result.error is not None:
            failed.append(result.error)
        elif folder and result.pixels is not None:
            folder.save(draw_points(result.pixels, result.points), result.name, result.below)
        say(json.dumps(result.to_dict()) if as_json else "\n".join(_lines(result)))
    if side and n_shrunk:
        typer.echo(f"mien: {shrunk_note(n_shrunk, side)}", err=True)
    if text := str(passed_over):
        typer.echo(printable(f"mien: passed over {text}"), err=True)
    for error in failed:
        typer.echo(f"mien: {printable(error)}", err=True)
    if failed:
        raise typer.Exit(1)


def _lines(result: "FacePoints") -> list[str]:
    """An image and its faces as lines: the box, how the head is turned, and where the mouth is."""
    from mien.core.pose import head_pose

    name = printable(result.name)
    if result.error is not None:
        return [f"{name}: could not be read"]
    found = [f"{name}" + ("" if result.faces else ": no face found")]
    for number, (face, points) in enumerate(zip(result.faces, result.points, strict=True), start=1):
        box = face.box
        start, end, pose = f"{box.x1:.0f},{box.y1:.0f}", f"{box.x2:.0f},{box.y2:.0f}", head_pose(points)
        turns = f"roll {pose.roll:+4.0f}°  yaw {pose.yaw:+4.0f}°  pitch {pose.pitch:+4.0f}°"
        mouth = points[48:68].mean(axis=0)
        found.append(f"{number:>3}  {start:<9} {end:<9}  {turns}  mouth {mouth[0]:.0f},{mouth[1]:.0f}")
    return found
