"""`hf-llc components`: the parts of a model that can move alone, before anything is downloaded."""

from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.settings.component import KINDS

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar

if TYPE_CHECKING:
    from hf_llc.tasks.components import Part

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help=f"Only these (repeatable): {', '.join(KINDS)}.", metavar="KIND"),
]


def components(
    model: o.Model,
    kind: Kinds = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.QuietNames = False,
) -> None:
    """List the parts of a model that --component can name: heads, MLPs, layers, embeddings.

    Reads the model's config only; no weights are downloaded.

    Examples:

    \b
    hf-llc components EleutherAI/pythia-70m
    hf-llc components EleutherAI/pythia-70m --kind heads
    hf-llc components ./my-model --kind attention --kind mlps --json
    """
    from hf_llc.tasks.components import find_components

    form = chosen(format, as_json, quiet)
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        parts = find_components(model, kind or "all", tell=observer.tell)
    _write(model, parts, form)


def _write(model: str, parts: "list[Part]", form: Form) -> None:
    if form is Form.JSON:
        write_json([part._asdict() for part in parts])
    elif form is Form.AGENT:
        write_agent({part.name: {"kind": part.kind, "weights": part.weights} for part in parts})
    elif form is Form.QUIET:
        for part in parts:
            write_line(part.name)
    else:
        rows = [(part.name, part.kind, f"{part.weights:,}") for part in parts]
        write_table(f"{model}: {len(parts)} components", ("component", "kind", "weights"), rows)
