"""`hf-llc susceptibilities`: how components answer to a change of the data, from runs that recorded losses."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .estimate_table import with_error
from .output import Form, chosen, write_agent, write_json, write_line, write_pairs, write_table
from .progress import ProgressBar
from .recorded import OutputDir, Recording, drawn_and_written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hf_llc.results.susceptibility import Susceptibility

Runs = Annotated[
    list[str],
    typer.Argument(
        help="Run folders (run_dir) of estimates that recorded losses, one of all weights and others of components, or "
        "folders that contain them."
    ),
]
MOST_TEXTS = 16
"""Components whose tokens are drawn as text."""
STEM = "susceptibilities"
"""Beginning of the names of all files; that of another recording than the one without `--recording` follows."""
LONGEST = 80
"""Characters of a component's name in that of a file."""
LARGEST = 3
"""Items that are printed of a component."""


def susceptibilities(
    runs: Runs,
    recording: Recording = None,
    output_dir: OutputDir = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Print how components of a model answer to a change of the data: susceptibilities.

    Needs runs with recorded losses (estimate --keep losses) at the same settings: one of all weights, and one for each
    component. Both parts of a susceptibility are given apart, the covariance and the shift of the mean, each with its
    error and a verdict: resolved, partly-resolved or noise. The covariance is compared with itself at nβ = 0, where it
    is that of the localizing prior: differs, same or noise. All numbers are written to susceptibilities.parquet, the
    picture to susceptibilities.png; those of another --recording to files with its name, such as
    susceptibilities-token-losses.parquet.

    Examples:

    \b
    hf-llc estimate ORG/NAME --probe text.jsonl --keep losses --keep token-losses --component full,l0h0,l0h1
    --output-dir runs
    hf-llc susceptibilities runs
    hf-llc susceptibilities runs --recording token-losses
    """
    form = chosen(format, as_json, quiet)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        from hf_llc.measures.susceptibility.of_runs import folders_of
        from hf_llc.measures.susceptibility.of_runs import susceptibilities as of_runs

        result = of_runs(runs, recording)
        folder = output_dir or Path(runs[0])
        _write(result, form)
        stem = stem_of(folders_of(runs)[0], recording)
        pictures: dict[str, Callable[[], Figure]] = {f"{stem}.png": result.plot}
        if result.items_are_tokens:
            texts = result.components[:MOST_TEXTS]
            files = text_files(texts, stem)
            pictures |= {file: partial(result.text, name) for file, name in zip(files, texts, strict=True)}
        drawn_and_written(result, pictures, folder, observer, is_named=output_dir is not None)


def stem_of(run: Path, recording: str | None) -> str:
    """Beginning of the names of the files of this recording, so that those of one do not replace those of another."""
    from hf_llc.errors import NotFoundError
    from hf_llc.measures.recorded import place_of

    name = place_of(run, recording)[1].name
    try:
        default = place_of(run)[1].name
    except NotFoundError:  # There are several of probes, none of which is read unless it is named.
        default = ""
    return STEM if name == default else f"{STEM}-{name}"


def text_files(components: Sequence[str], stem: str = STEM) -> list[str]:
    """Names of files for the components' texts: patterns of parameters may have characters that no file may."""
    names = [re.sub(r"[^\w.-]+", "_", name)[:LONGEST] for name in components]
    numbers = [""] * len(names) if len(set(names)) == len(names) else [f"{place}-" for place in range(len(names))]
    return [f"{stem}-{number}{name}.png" for number, name in zip(numbers, names, strict=True)]


def _write(result: "Susceptibility", form: Form) -> None:
    if form is Form.QUIET:
        write_line(result.quality.verdict)
    elif form is Form.JSON:
        write_json(result.to_dict())
    elif form is Form.AGENT:
        write_agent(
            {
                "quality": result.quality.to_dict(),
                "total_quality": result.total_quality.to_dict(),
                "control_quality": None if result.control_quality is None else result.control_quality.to_dict(),
                "ratios": dict(zip(result.components, result.ratios, strict=True)),
            }
        )
    else:
        write_pairs(
            f"Susceptibilities of {len(result.components)} components to {len(result.items)} items",
            [
                ("draws", f"{result.draws} of each, at n_beta {result.n_beta:.4g} and gamma {result.gamma:.4g}"),
                ("covariance", str(result.quality)),
                ("with shift", str(result.total_quality)),
                (
                    "at nβ = 0",
                    "not known from chains" if result.control_quality is None else str(result.control_quality),
                ),
            ],
        )
        write_line()
        headers = ["component", "verdict", "shift / covariance", "covariance, nats²", "#", "item"]
        table = [row for place in range(len(result.components)) for row in _rows(result, place)]
        write_table(
            f"Of each component the {LARGEST} items farthest from 0 in standard errors", headers, table, texts=(0, 5)
        )


def _rows(result: "Susceptibility", place: int) -> list[list[str]]:
    """The entries of a component that lie farthest from 0 in units of their errors; none of what is noise."""
    from hf_llc.results.matrix import MatrixVerdict

    values, errors = result.covariance[place], result.covariance_stderr[place]
    order = sorted(range(len(values)), key=lambda item: -abs(values[item]) / max(errors[item], 1e-300))
    ratio, verdict = result.ratios[place], result.qualities[place].verdict
    first = [result.components[place], str(verdict), "–" if ratio is None else f"{ratio:.2g}"]
    if verdict is MatrixVerdict.NOISE:
        return [[*first, "–", "", ""]]
    return [
        [
            *(first if number == 0 else ["", "", ""]),
            with_error(values[item], errors[item]),
            str(item),
            result.item_in_text(item),
        ]
        for number, item in enumerate(order[:LARGEST])
    ]
