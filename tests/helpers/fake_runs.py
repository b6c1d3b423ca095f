"""Finished runs made up on the spot, and pictures that take no time."""

import json
from dataclasses import replace
from pathlib import Path

from hf_llc.results.curve import Curve


def write_run(folder: Path, curve: Curve) -> Path:
    """The folder, in which now is the scan that left this curve."""
    folder.mkdir(parents=True, exist_ok=True)
    result = replace(curve, run_dir=str(folder.resolve()))
    (folder / "scan.json").write_text(json.dumps(result.to_dict(), allow_nan=False))
    return folder


def quick_picture(path: Path, points: object, *, name: str, view: object = None) -> None:
    """A stand-in for `plots.series`: its content differs where the points do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes({".png": b"\x89PNG", ".svg": b"<?xml"}[path.suffix] + f"{name}{points}".encode())
