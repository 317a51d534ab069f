"""``mien quiz``: people label the expressions of faces, and are scored as a model is."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import AllowHost, AsJson, Device, Host, Port, Token, out_option, split_option
from mien.cli.progress import waiting
from mien.cli.terminal import print_result, printable, text_console, text_table
from mien.core.text import with_interval
from mien.errors import MienError

if TYPE_CHECKING:
    from mien.workflows.quiz.report import QuizReport

EXAMPLES = """\b
Examples:
  mien quiz --data fer2013.h5 --n 100
  mien quiz --out quiz.db
  mien quiz --out quiz.db --training 20 --names
  MIEN_TOKEN=$(openssl rand -hex 16) mien quiz --out quiz.db --host 0.0.0.0
  mien quiz report quiz.db --model fer2013-medium --out report.html

The first draws the faces into quiz.db; the second continues with the same faces,
for the same people or others. With --training N, new people see N examples first.
"""
APP = "mien.web.quiz:served"

app = typer.Typer(
    help="Ask people on a web page which expression they see, and compare them with a model.",
    invoke_without_command=True,
    epilog=EXAMPLES,
)


@app.callback()
def quiz(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option(help="Data set file from `mien data import`.", show_default=False)
    ] = None,
    out: Annotated[Path, out_option("Quiz file; made from --data if missing.", True)] = Path("quiz.db"),
    n: Annotated[
        int | None, typer.Option(min=1, help="Number of faces; default 100.", show_default=False)
    ] = None,
    training: Annotated[int, typer.Option(min=0, help="Labelled examples before the first question.")] = 0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same seed draws the same faces; default 0.", show_default=False),
    ] = None,
    split: Annotated[
        str | None,
        split_option("Split to draw from: train, val or test; default test.", False),
    ] = None,
    names: Annotated[bool, typer.Option("--names", help="Ask people for their names.")] = False,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    token: Token = None,
    allow_host: AllowHost = None,
) -> None:
    """Ask people on a web page which expression they see; each answer is saved at once."""
    if ctx.invoked_subcommand is not None:
        return
    from mien.cli import server
    from mien.workflows.quiz.quiz_file import ASKED, Draw, open_quiz

    new: dict[str, Any] = {"n": n, "seed": seed, "split": split}
    chosen = {key: value for key, value in new.items() if value is not None}
    if data is None and chosen:
        keys = ", ".join(f"--{key}" for key in chosen)
        raise MienError(f"{keys}: only a new quiz is drawn; give its --data too, or leave {keys} out")
    draw = Draw(training=max(training, Draw.training), **chosen)
    with waiting(f"drawing {draw.n} faces"):
        held = open_quiz(out, data, draw)
    held.close()
    options = {
        "quiz": str(out.resolve()),
        "training": training,
        "names": names,
        "token": token or None,
        "hosts": server.hosts(host, allow_host),
    }
    config = server.config(options, APP)
    with server.listen(host, port) as listener:
        address = server.address(host, listener.getsockname()[1])
        typer.echo(
            f"{held.totals[ASKED]} {held.split} faces of {printable(held.name)}, in {printable(str(out))}"
        )
        where = f"{address}{f'/#token={token}' if token else ''}"
        report = printable(f"mien quiz report {shlex.quote(str(out))}")
        typer.echo(f"the quiz is at {where}   (Ctrl-C ends it; then: {report})")
        if not token and not server.is_local(host):
            typer.echo("mien: everyone who reaches this machine may answer; set MIEN_TOKEN", err=True)
        server.run(config, listener)


@app.command("report")
def report(
    quiz_file: Annotated[Path, typer.Argument(metavar="QUIZ", help="The quiz file.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="Model name, .onnx file or run folder.", show_default=False)
    ] = "",
    out: Annotated[Path | None, out_option("HTML page to write.")] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Score the people, and a model on the same faces.

    Example: mien quiz report quiz.db --model fer2013-medium --out report.html

    The page shows faces of the data set and the names that people gave: keep it on this machine.
    """
    from mien.core.files import write_text
    from mien.core.outputs import check_output
    from mien.workflows.html_pages import PAGES
    from mien.workflows.quiz.page import quiz_page
    from mien.workflows.quiz.report import quiz_report

    if out:
        check_output(out, ends=PAGES)
    with waiting(f"scoring {quiz_file.name}"):
        found = quiz_report(quiz_file, model, device)
    if out:
        write_text(out, quiz_page(found))
    print_result(found, _print, out, as_json=as_json)


def _print(found: "QuizReport") -> None:
    title = f"{found.n_drawn} faces of {printable(found.data)}, {found.split}"
    if len(found.faces) < found.n_drawn:
        title += f"; {len(found.faces)} answered"
    table = text_table(title, ("", "n", "accuracy (95 %)", "balanced", "FER+", "model", "p"))
    for column in table.columns[1:]:
        column.no_wrap = True
    for one in (*found.people, *found.pooled, *([found.model] if found.model else [])):
        table.add_row(
            printable(one.name),
            f"{one.n:,}",
            with_interval(one.accuracy, one.accuracy_interval, 1),
            f"{one.balanced_accuracy:.1%}",
            "" if one.votes is None else f"{one.votes:.1%}",
            "" if one.model is None else f"{one.model:.1%}",
            "" if one.against is None else f"{one.against.p_value:.2g}",
        )
    if found.raters:
        rater = with_interval(found.raters.accuracy, found.raters.accuracy_interval, 1)
        table.add_row("one FER+ rater", "", rater)
    console = text_console()
    console.print(table)
    if found.raters and found.raters.n_faces < len(found.faces):
        console.print(f"FER+: {found.raters.n_faces} of the {len(found.faces)} faces have votes")
    if found.kappa is not None:
        line = f"agreement of the {found.agreeing} who answered all: Fleiss' kappa {found.kappa:.2f}"
        console.print(line)
    if found.learned:
        console.print(f"LEAK: the model learned from {found.learned} of these faces", style="bold")
    for sentence in found.sentences:
        console.print(printable(sentence))
