"""What commands have in common that read recorded losses."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hf_llc.results.progress import Observer

from . import options as o

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RecordedRun = Annotated[
    str, typer.Argument(help="Run folder (run_dir) of an estimate that recorded losses: --keep losses, or --probe.")
]
Recording = Annotated[
    str | None,
    typer.Option(
        "--recording",
        help="Which of several recordings: losses, token-losses, or the name of a folder. (default: the one that fits)",
    ),
]


OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=o.path_of,
        metavar="<path>",
        help="Folder for the table and the pictures. (default: that of the runs or of their recording)",
        rich_help_panel="Output",
    ),
]


def folder_for(run: Path, recording: str | None, kind: str, output_dir: Path | None) -> Path:
    """Where results go: beside the recording, if nothing else is said."""
    from hf_llc.measures.recorded import place_of

    return output_dir or place_of(run, recording, kind)[1]


def drawn_and_written(
    result: Any,
    pictures: Mapping[str, "Callable[[], Figure]"],
    folder: Path,
    observer: Observer,
    is_named: bool,
) -> None:
    """Writes the table in the folder, named as the first picture, draws these pictures there, and says so.

    Args:
        pictures: by the names of their files.
        is_named: the user named the folder; if it cannot be written to, that is an error.
    """
    from hf_llc.results.figures.safely import drawn
    from hf_llc.results.figures.style import save

    table = (folder / next(iter(pictures))).with_suffix(".parquet")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        result.to_parquet(table)
    except OSError as error:
        if is_named:
            raise
        # The numbers are printed: a run in a folder that may only be read is as good as any other.
        observer.tell(f"Nothing is written, since {folder} cannot be: {error.strerror}. Name a folder by --output-dir.")
        return
    paths = {folder / file: draw for file, draw in pictures.items()}
    present = drawn(list(paths), lambda path: save(paths[path](), path), observer.tell)
    observer.tell(f"Written: {', '.join(map(str, [table, *present]))}.")
