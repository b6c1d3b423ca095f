"""A picture never costs the number: neither what a user's matplotlib is told, nor any failure of drawing."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from hf_llc.results.curve import Point
from hf_llc.results.figures.safely import drawn, own_settings
from tests.helpers.estimates import estimate

USETEX = "text.usetex: True\nsavefig.format: pdf\nsavefig.dpi: 1\nfigure.figsize: 0.1, 0.1\n"
DRAW = """
import sys
from pathlib import Path
from hf_llc.results.figures.safely import drawn
from tests.results.figures.test_safely import draw
paths = [Path(sys.argv[1]) / name for name in ("a.png", "a.svg")]
assert drawn(paths, draw, sys.exit) == paths
"""


def draw(path: Path) -> None:
    """A curve of two points."""
    from hf_llc.results.figures import plots

    plots.series(path, [Point(revision=f"step{n}", step=n, estimate=estimate(n)) for n in (1, 8)], name="org/model")


def bytes_of(folder: Path) -> list[bytes]:
    """The pictures there."""
    return [(folder / name).read_bytes() for name in ("a.png", "a.svg")]


def test_a_users_settings_neither_hinder_nor_change_a_picture(tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "a.svg"]
    assert drawn(pictures, draw, pytest.fail) == pictures
    plain = bytes_of(tmp_path)
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 1, "axes.facecolor": "black", "font.size": 40}):
        drawn(pictures, draw, pytest.fail)
        assert bytes_of(tmp_path) == plain
        assert matplotlib.rcParams["text.usetex"]
    (tmp_path / "matplotlibrc").write_text(USETEX)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MPL")}
    kept |= {"MPLBACKEND": "module://not_installed.backend_inline", "PYTHONPATH": os.getcwd()}
    for rc in ({}, {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}):
        for path in pictures:
            path.unlink()
        ran = subprocess.run(
            [sys.executable, "-c", DRAW, str(tmp_path)], env=kept | rc, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        assert bytes_of(tmp_path) == plain


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RuntimeError("Failed to process string with tex\nbecause latex could not be found"),
            "RuntimeError: Failed to",
        ),
        (ValueError(), "(ValueError)"),
        (MemoryError(), "(MemoryError)"),
        (ImportError("libfreetype.so.6"), "libfreetype"),
        (OSError(28, "No space left on device"), "No space left"),
        (ZeroDivisionError("division by zero"), "division by zero"),
        (UserWarning("x" * 999), "UserWarning"),
    ],
)
def test_whatever_fails_is_one_line_and_no_old_picture_stays(error: Exception, message: str, tmp_path: Path) -> None:
    told: list[str] = []
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_text("of another number")

    def fail(path: Path) -> None:
        if path == new:
            raise error
        path.write_text("drawn")

    assert drawn([old, new], fail, told.append) == [old]
    assert drawn([new, old], fail, told.append) == []
    assert list(tmp_path.iterdir()) == []
    assert told[0] == told[1]
    assert message in told[0]
    assert told[0].endswith("; the numbers are complete without it.")
    assert "\n" not in told[0]
    assert len(told[0]) < 300


def test_a_folder_that_cannot_be_written_keeps_its_picture_and_is_named(tmp_path: Path) -> None:
    told: list[str] = []

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    assert drawn([tmp_path / "a.png"], refuse, told.append) == []
    assert told == [f"No picture is drawn: {tmp_path} cannot be written (Permission denied)."]


def test_an_interrupt_goes_through(tmp_path: Path) -> None:
    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn([tmp_path / "a.png"], stop, pytest.fail)


def test_settings_of_the_process_are_as_before() -> None:
    before = dict(matplotlib.rcParams)
    with own_settings():
        matplotlib.rcParams["font.size"] = 3.0
    assert dict(matplotlib.rcParams) == before
