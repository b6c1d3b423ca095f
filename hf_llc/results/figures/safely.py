"""Pictures that never cost a number: what cannot be drawn is told in one line (matplotlib, in its own settings).

A user's `MPLBACKEND` and `matplotlibrc` are for windows and notebooks of theirs; a program that only writes files has
no use for either, and both can name what is not installed here.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from hf_llc.errors import is_read_only

FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
)
"""Whatever the library or its configuration may fail with, but for interrupts."""
LONGEST = 200


def drawn(
    paths: Sequence[Path],
    draw: Callable[[Path], None],
    tell: Callable[[str], None],
    note: str = "the numbers are complete without it",
) -> list[Path]:
    """Those of these pictures that now are there; what could not be drawn is told once, and an old one is removed.

    Args:
        draw: draws one of them; whatever it imports for that, it imports itself.
        note: the end of the line: what a missing picture means.
    """
    done: list[Path] = []
    try:
        with own_settings():
            for path in paths:
                draw(path)
                done.append(path)
    except FAILURES as error:
        missing = [path for path in paths if path not in done]
        with suppress(OSError):
            for path in missing:
                path.unlink(missing_ok=True)
        tell(_sentence(error, missing[0].parent, note))
    return done


@contextmanager
def own_settings() -> Iterator[None]:
    """While the block runs, matplotlib's settings are its own defaults, whatever files and variables say."""
    matplotlib = _library()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _library() -> ModuleType:
    """matplotlib, imported without the user's settings where it cannot be imported with them."""
    with suppress(*FAILURES):
        return importlib.import_module("matplotlib")
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    spec = find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    own = {"MPLBACKEND": "agg", "MATPLOTLIBRC": str(folder / "mpl-data" / "matplotlibrc")}
    kept = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        return importlib.import_module("matplotlib")
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _sentence(error: BaseException, folder: Path, note: str) -> str:
    if isinstance(error, OSError) and is_read_only(error):
        return f"No picture is drawn: {folder} cannot be written ({error.strerror})."
    reason = " ".join(str(error).split())[:LONGEST]
    return f"No picture could be drawn ({type(error).__name__}{': ' if reason else ''}{reason}); {note}."
