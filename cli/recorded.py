"""What commands have in common that read recorded losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_llc.results.progress import Observer

RecordedRun = Annotated[
    str, typer.Argument(help="Run folder (run_dir) of an estimate that recorded losses: --keep losses, or --probe.")
]
Recording = Annotated[
    str | None,
    typer.Option("--recording", help="Which of several recordings, by its folder. (default: the only one, or losses)"),
]


def folder_for(run: Path, recording: str | None, output_dir: Path | None) -> Path:
    """Where results go: beside the recording, if nothing else is said."""
    from hf_llc.measures.recorded import place_of

    return output_dir or place_of(run, recording)[1]


def drawn_and_written(
    result: Any, name: str, draw: Callable[[Path], None], folder: Path, observer: Observer
) -> None:  # fmt: skip
    """Writes `name.parquet` and draws `name.png` in the folder, and says so."""
    from hf_llc.results.figures.safely import drawn

    table, picture = folder / f"{name}.parquet", folder / f"{name}.png"
    folder.mkdir(parents=True, exist_ok=True)
    result.to_parquet(table)
    pictures = drawn([picture], draw, observer.tell)
    observer.tell(f"Written: {', '.join(map(str, [table, *pictures]))}.")
