"""The Typer application: commands are registered here and nowhere else."""

import os
import sys
from contextlib import suppress
from importlib.metadata import version
from typing import Annotated, Any

import typer

from hf_llc.execution.redaction import watch_logs
from hf_llc.hub.parallel import left_behind

from .calibrate import calibrate
from .compare import compare
from .components import components
from .demo import demo
from .error_handling import debugging, message, reported, say
from .estimate import estimate
from .fluctuation import fluctuation
from .influence import influence
from .merge import merge
from .printable import Guarded
from .publish import publish
from .recipes import recipes
from .report import report
from .revisions import revisions
from .scan import scan
from .show import show
from .signals import INTERRUPTED, insisting
from .susceptibilities import susceptibilities
from .validate import validate
from .worker import worker

USAGE_ERROR: type[Any] = typer.BadParameter.__bases__[0]
"""The root of what typer raises for wrong arguments; it has no public name of its own."""

app = typer.Typer(
    name="hf-llc",
    help="The local learning coefficient of language models on the Hugging Face Hub, with its error and a verdict.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version("hf-llc"))
        raise typer.Exit


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The local learning coefficient of language models on the Hugging Face Hub, with its error and a verdict."""


app.command()(reported(estimate))
app.command()(reported(scan))
app.command()(reported(calibrate))
app.command()(reported(revisions))
app.command()(reported(components))
app.command()(reported(recipes))
app.command()(reported(show))
app.command()(reported(report))
app.command()(reported(merge))
app.command()(reported(compare))
app.command()(reported(influence))
app.command()(reported(susceptibilities))
app.command()(reported(fluctuation))
app.command()(reported(publish))
app.command()(reported(validate))
app.command()(reported(demo))
app.command(hidden=True)(worker)


def main() -> None:
    """The console script `hf-llc`; ends the process with the exit code."""
    code = run()
    if left_behind(interrupted=code == INTERRUPTED):
        # A piece of a file that is on its way could take minutes to arrive.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run() -> int:
    """Does what the command line asks for; the exit code."""
    sys.stdout, sys.stderr = written_to(sys.stdout), written_to(sys.stderr)
    watch_logs()
    # The Hub client's bars redraw themselves, which makes a mess of a log; it reads this when it is imported.
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Below it torch tells of every try to reach another process, at great length; what comes of it is told in one line.
    if "HF_DEBUG" not in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        with insisting():
            code = app(standalone_mode=False) or 0
        sys.stdout.flush()
    except USAGE_ERROR as error:
        # Without a command there is the help, which has been shown, and nothing to say.
        if error.format_message():
            say(usage(error))
        return 2
    except OSError as error:
        # What was written and not yet sent: help, the version, the last lines of a result.
        line = message(error)
        if line is None or debugging():
            raise
        say(line)
        _forget_output()
        return 1
    return int(code)


def _forget_output() -> None:
    """Sends what stdout still holds to nowhere, so that the end of the process does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def written_to(stream: Any) -> Any:
    """The stream, which now takes any character and shows no secret; somewhere to write to, if the caller closed it."""
    if isinstance(stream, Guarded):
        return stream
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if (stream.encoding or "").lower().replace("-", "") != "utf8" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return Guarded(stream)


def usage(error: Any) -> str:
    """What is wrong with the arguments and where to look, in one line."""
    command = error.ctx.command_path if error.ctx else "hf-llc"
    text = " ".join(error.format_message().split())
    return f"{text}{'' if text.endswith(('.', '?')) else '.'} See {command} --help."
