"""The ``mien`` command: its sub-commands load when they are used, and its errors become exit codes here.

Exit codes: 0 done; 1 done, but something in the input failed; 2 nothing done, one line says why; 130 stopped.
Help is plain text: Rich's panels would double the time that ``mien --help`` takes.
"""

import io
import os
import sys
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from mien import __version__
from mien.errors import MienError
from mien.names import look_up


class Entry(NamedTuple):
    """Where a command lives, and what ``mien --help`` says of it without loading it."""

    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "read": Entry("mien.cli.read", "Name the emotion of every face in images and folders."),
    "watch": Entry("mien.cli.watch", "Follow each person's emotion through a video or a live camera."),
    "agreement": Entry("mien.cli.agreement", "Compare mien's events with those of a human coder."),
    "landmarks": Entry("mien.cli.landmarks", "Find 68 landmarks on every face in images."),
    "serve": Entry("mien.cli.serve", "Serve a web page and an HTTP API for images, videos and cameras."),
    "page": Entry("mien.cli.page", "Write a page that reads emotions in the browser, without a server."),
    "models": Entry("mien.cli.models", "List the models, their measured scores and licences."),
    "data": Entry("mien.cli.data", "Import data sets into one file each, and audit them."),
    "train": Entry("mien.cli.train", "Train a network from a recipe."),
    "targets": Entry("mien.cli.soft_targets", "Write soft targets of networks trained on the other folds."),
    "search": Entry("mien.cli.search", "Search values for a recipe's keys, in parallel processes."),
    "features": Entry("mien.cli.features", "Compute features of a frozen network, and fit a linear SVM."),
    "evaluate": Entry("mien.cli.evaluate", "Score a model on a data set, with confidence intervals."),
    "average": Entry("mien.cli.average", "Average the weights of several runs into one network."),
    "ensemble": Entry("mien.cli.ensemble", "Score several models together, by voting."),
    "papers": Entry("mien.cli.papers", "Show results of five papers, corrected and reproduced."),
    "quiz": Entry("mien.cli.quiz", "Ask people which expression they see, and compare a model."),
    "report": Entry("mien.cli.report", "Show runs on one page, and compare them."),
    "explain": Entry("mien.cli.explain", "Show where a network looks, and test whether that is true."),
    "release": Entry("mien.cli.release", "Turn a training run into a model that `mien read` loads."),
    "calibrate": Entry("mien.cli.calibrate", "Calibrate a model's probabilities on a data set."),
}
"""Each module holds a Typer application named ``app``."""

EXAMPLES = """\b
Examples:
  mien read party.jpg
  mien read photos/ --csv > faces.csv
  mien models
  mien read --help
"""
OLD_OPTIONS = {"--devices": "--device", "--to": "--out", "--parquet": "--out"}
"""What options were called up to 0.1, so that scripts of then still run."""
NEW_MEANING = {"train": "--devices", "watch": "--to"}
"""Commands that have an option of such a name, for something else."""
OLD_OPTIONS_OF = {
    "serve": {"--patience": "--client-timeout", "--upload": "--upload-timeout", "--keep": "--keep-rows"}
}
"""The same for one command alone."""

ARGUMENTS = "mien-arguments"  # of the command line, for hints
USAGE_ERROR: type = typer.BadParameter.__mro__[1]  # of any wrong command line; Typer exports no name of it
INTERRUPTED = 130  # 128 + SIGINT, what a shell expects


class LazyCommands(TyperGroup):
    """Lists the commands of `COMMANDS` without loading them, and turns what they raise into exit codes."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        app: typer.Typer = import_module(entry.module).app
        app.rich_markup_mode = None
        command = typer.main.get_command(app)
        command.name = cmd_name
        command.params = [
            p for p in command.params if p.name not in ("install_completion", "show_completion")
        ]
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        ctx.meta[ARGUMENTS] = list(args)
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            _refuse_unknown(args[0])
        _refuse_empty(args)
        return super().resolve_command(ctx, _from_home(_by_new_names(args)))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # so that a closed pipe shows here, and not while Python exits
        except (KeyboardInterrupt, ImportError) as error:
            if not _is_stop(error):
                raise
            typer.echo("mien: stopped", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            from mien.cli.terminal import drop_output

            drop_output()
            raise typer.Exit(0) from None
        except MienError as error:
            raise _failed(str(error) + _hint(ctx, str(error)), ctx.params.get("verbose", False)) from None
        except OSError as error:
            raise _failed(_told(error), ctx.params.get("verbose", False)) from None
        except Exception as error:
            if isinstance(error, USAGE_ERROR):
                _add_hint(ctx, error)
            raise


def _refuse_unknown(name: str) -> None:
    from mien.cli.hints import OTHER_NAMES

    if name in OTHER_NAMES:
        raise MienError(f"no command named '{name}'; did you mean 'mien {OTHER_NAMES[name]}'?")
    look_up(COMMANDS, name, "command")


def _is_stop(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C, or comes from it: a library in C makes an ImportError of it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _told(error: OSError) -> str:
    name = f": {error.filename}" if error.filename else ""
    return f"{(error.strerror or type(error).__name__).lower()}{name}"


def _refuse_empty(args: list[str]) -> None:
    """Raise where an argument is empty, which as a path would name the current folder."""
    end = args.index("--") if "--" in args else len(args)
    for at, arg in enumerate(args):
        name, sign, value = arg.partition("=")
        if not arg:
            said = f"the argument behind '{args[at - 1]}'"
        elif name.startswith("--") and sign and not value and at < end:
            said = f"the value of {name}"
        else:
            continue
        raise MienError(f"{said} is empty; give one (is a variable of the shell unset?)")


def _by_new_names(args: list[str]) -> list[str]:
    """A command line with `OLD_OPTIONS` and `OLD_OPTIONS_OF` by the names that they have today."""
    kept = NEW_MEANING.get(args[0])
    new = {name: option for name, option in OLD_OPTIONS.items() if name != kept}
    new |= OLD_OPTIONS_OF.get(args[0], {})
    end = args.index("--") if "--" in args else len(args)
    split = [arg.partition("=") for arg in args[:end]]
    return [f"{new.get(name, name)}{sign}{value}" for name, sign, value in split] + args[end:]


def _from_home(args: list[str]) -> list[str]:
    """A command line with the home folder for each ``~`` that no shell has read, as in ``--out=~/x``."""
    if not any("~" in arg for arg in args):
        return args
    from mien.core.paths import local_path

    split = [arg.partition("=") if arg.startswith("--") else ("", "", arg) for arg in args]
    return [f"{name}{sign}{local_path(v) if v.startswith('~') else v}" for name, sign, v in split]


def _hint(ctx: Any, said: str) -> str:
    from mien.cli.hints import hint

    command, *arguments = ctx.meta.get(ARGUMENTS, [""])
    return hint(command, arguments, said)


def _add_hint(ctx: Any, error: Any) -> None:
    from mien.cli.hints import usage_hint

    option = getattr(error, "option_name", None)
    takes = error.ctx and any(p.param_type_name == "argument" for p in error.ctx.command.params)
    if option and not takes:
        return
    command, *arguments = ctx.meta.get(ARGUMENTS, [""])
    added = usage_hint(command, arguments, error.message, option)
    if added:
        error.message = error.message.rstrip(".") + added
        error.possibilities = None  # they would come behind the hint


def _failed(text: str, verbose: bool) -> typer.Exit:
    """Say on stderr what went wrong; call it while the error is handled."""
    from mien.cli.terminal import printable

    if verbose:
        import traceback

        typer.echo(traceback.format_exc(), err=True, nl=False)
    typer.echo(f"mien: {printable(text, keep_lines=True)}", err=True)
    return typer.Exit(2)


app = typer.Typer(
    cls=LazyCommands,
    help="Reads emotions from faces, and measures how accurate it is.",
    epilog=EXAMPLES,
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def start(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log each step, and show where an error occurred.")
    ] = False,
    allow_code: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            envvar="MIEN_ALLOW_CODE",
            help="Allow the code of a run's own network, such as nets.py:Net; separate several by commas.",
            show_default=False,
        ),
    ] = "",
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    import logging

    if allow_code:
        from mien.core.own_code import allow_own

        allow_own(*allow_code.split(","))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show must not stop the work
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("mien: %(levelname)s: %(name)s: %(message)s"))
    logger = logging.getLogger("mien")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


class ClosedOutput(io.TextIOBase):
    """Stands for a standard output that was closed when mien started: results must not vanish in it."""

    def write(self, text: str, /) -> int:
        if text:
            raise MienError("standard output is closed; open it, or write the results to files alone")
        return 0


def heed_closed_streams() -> None:
    """Put something in the place of streams that are closed, as under some daemons.

    Otherwise the first file that is opened gets their number, and messages go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = ClosedOutput()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open as long as the process lives


def heed_termination() -> None:
    """Let SIGTERM end a command as Ctrl-C does: files are closed, and what was begun can go on."""
    import signal

    def end(number: int, frame: Any) -> None:
        heard = signal.getsignal(signal.SIGINT)
        if not callable(heard):  # the shell asked not to heed Ctrl-C
            raise KeyboardInterrupt
        heard(signal.SIGINT, frame)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def end_at_once_on_ctrl_c() -> None:
    """From here on nothing is left to save; Python's own end would answer Ctrl-C with a traceback."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))


def main() -> None:
    """Run the command line; ends the process."""
    heed_closed_streams()
    heed_termination()
    try:
        typer.main.get_command(app)(prog_name="mien")
    except MienError as error:  # help or version, for a standard output that is closed
        typer.echo(f"mien: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # or full
        typer.echo(f"mien: {_told(error)}", err=True)
        sys.exit(2)
    finally:
        end_at_once_on_ctrl_c()
