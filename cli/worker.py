"""`hf-llc worker`: one rank of a launch that `--num-processes` made. Not for people."""

from pathlib import Path
from typing import Annotated

import typer

from .error_handling import EXPECTED, debugging, exit_code, message
from .progress import ProgressBar
from .signals import INTERRUPTED


def worker(plan: Annotated[Path, typer.Argument(help="The plan file that the launching process wrote.")]) -> None:
    """Do one process's share of a plan. Errors are reported by the launching process, once."""
    from hf_llc.execution.distributed.launcher import hand_over
    from hf_llc.measures.run import is_silent, work

    try:
        with ProgressBar(quiet=is_silent(plan)) as observer:
            work(plan, observer)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except EXPECTED as error:
        line = message(error)
        if not line or debugging():
            raise
        hand_over(line)
        raise typer.Exit(exit_code(error)) from error
