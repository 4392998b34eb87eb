"""The command line `secateur`.

Exit codes: 0 done, 1 a check failed, 2 refused (bad usage or input, one message on stderr),
70 a defect of Secateur, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import errno
import sys
import warnings
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from secateur.ir.errors import CheckError, SecateurError
from secateur.ir.support.unasked import do_without
from secateur.ir.support.words import meant

from .groups import Sections
from .interrupts import install

FAILED = 1
REFUSED = 2
DEFECT = 70
DEBUG = "--debug"


_CONTEXT = {"help_option_names": ["-h", "--help"]}


def _typer(completion: bool = False, **options: Any) -> typer.Typer:
    return typer.Typer(
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
        **options,
    )


@dataclass(frozen=True)
class Row:
    """A command: its name, the function in `commands/NAME.py`, and its first line of help."""

    name: str
    function: str
    help: str

    def load(self) -> Any:
        """The command, ready to be called; imports its file."""
        function = getattr(import_module(f".commands.{self.name}", __package__), self.function)
        single = _typer()
        single.command(self.name, cls=Sections, context_settings=_CONTEXT)(function)
        return typer.main.get_command(single)


ROWS = (
    Row("compile", "compile_model", "Compile a model to a self-contained artifact."),
    Row("quantize", "quantize_model", "Quantize a model to int8 and write it as ONNX (QDQ)."),
    Row("prune", "prune_model", "Remove the channels of a model that matter least."),
    Row("run", "run", "Run an artifact once and say what came out."),
    Row("select", "select", "Show the plans that no other beats in both time and memory."),
    Row("staircase", "staircase", "Show how a layer's time depends on its channels."),
    Row("profile", "profile", "Measure what a model's kernels take, for --costs."),
    Row("inspect", "inspect", "Show what a model or an artifact is made of."),
    Row("weights", "weights", "Show what a model's weights take by codec, layer by layer."),
    Row("opt", "opt", "Run passes on IR text; print what they give, or write it as ONNX."),
    Row("bench", "bench", "Time an artifact on this machine."),
    Row("compare", "compare", "Compare every layer with a reference."),
    Row("targets", "targets", "List the processors, boards and GPUs to compile for."),
    Row("doctor", "doctor", "Say what is installed, what is missing, and how to install it."),
    Row("help", "show_help", "Show the help of a command, or the list of commands."),
)


USER_ERRORS = (SecateurError, OSError)
"""The exceptions that tell of the user's input or machine, and become a message."""


class Commands(TyperGroup):
    """The commands, each imported when it is called; a user's error becomes a message and an exit code."""

    def list_commands(self, _ctx: Any) -> list[str]:
        return [row.name for row in ROWS]

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        found = next((row for row in ROWS if row.name == cmd_name), None)
        return found.load() if found else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        if args and args[0] not in names:
            ctx.fail(f"no command '{args[0]}'{meant(args[0], names)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.help) for row in ROWS])

    def invoke(self, ctx: Any) -> Any:
        if debugging():
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except USER_ERRORS as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            print(f"error: {describe(error)}", file=sys.stderr)
            raise typer.Exit(exit_code(error)) from None


def exit_code(error: Exception) -> int:
    """1 for a check that did its work and failed, else 2."""
    return FAILED if isinstance(error, CheckError) else REFUSED


def describe(error: Exception) -> str:
    """The sentence for an error; that of the operating system with the file it speaks of."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def debugging() -> bool:
    """Whether --debug stands anywhere on the command line."""
    return DEBUG in sys.argv[1:]


def _report_defect(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Replaces the traceback of an exception that nobody should see."""
    print(
        f"error: {kind.__name__}: {error}\n"
        f"This is a defect of Secateur; {DEBUG} shows the traceback to report with it.",
        file=sys.stderr,
    )
    raise SystemExit(DEFECT)


def _warn(message: Warning | str, *_where: Any, **_more: Any) -> None:
    """Warnings are for the user, whom the line of code that gave one does not help."""
    from secateur.ir.errors import ModelNote

    print(f"{'note' if isinstance(message, ModelNote) else 'warning'}: {message}", file=sys.stderr)


app = _typer(
    completion=True,
    cls=Commands,
    name="secateur",
    help="Compiles convolutional networks (ONNX) to self-contained artifacts for small boards.",
    epilog="secateur COMMAND --help tells more.",
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from secateur import __version__

        print(f"secateur {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks; may stand anywhere.")] = False,
) -> None: ...


def main() -> None:
    """The console script."""
    install()
    do_without("torch")
    if not debugging():
        sys.excepthook = _report_defect
        warnings.showwarning = _warn
    words = [word for word in sys.argv[1:] if word != DEBUG]
    typer.main.get_command(app)(args=words, prog_name="secateur")  # app() would install its own excepthook


if __name__ == "__main__":
    main()
