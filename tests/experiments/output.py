"""What every experiment writes: its numbers as JSON, its picture beside them."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


def run_script(name: str, experiment: Callable[[], Any], picture: Callable[[Any], Figure]) -> None:
    """Runs the experiment for the command line and writes `NAME.json` and `NAME.png` into the folder that is named."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.experiments.{name}")
    parser.add_argument("folder", type=Path, help="where the numbers and the picture go")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    numbers = experiment()
    (folder / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    picture(numbers).savefig(folder / f"{name}.png", dpi=110)


def axes(width: float = 6.0, height: float = 4.5, columns: int = 1) -> tuple[Figure, list[Any]]:
    """A figure without a window, and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    subplots = figure.subplots(1, columns, squeeze=False)
    return figure, list(subplots[0])
