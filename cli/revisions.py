"""`hf-llc revisions`: the checkpoints of a series, before anything is downloaded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_llc.results.progress import size

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_table
from .progress import ProgressBar

if TYPE_CHECKING:
    from hf_llc.checkpoints.checkpoint import Checkpoint
    from hf_llc.checkpoints.selection import Selection
    from hf_llc.scans.shard import Shard

HEADERS = ("revision", "commit", "step", "tokens", "weights", "size", "cached", "same weights as")


def revisions(
    model: o.Series,
    revisions: o.Revisions = None,
    every: o.Every = None,
    tokens_per_step: o.TokensPerStep = None,
    step_map: o.StepMap = None,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: o.QuietNames = False,
) -> None:
    """List the checkpoints of a series, and which of them hold the very same weights.

    Reads names, commits and file listings only; no weights are downloaded.

    Examples:

    \b
    hf-llc revisions EleutherAI/pythia-70m
    hf-llc revisions EleutherAI/pythia-2.8b --revisions log:20
    hf-llc revisions allenai/OLMo-2-0425-1B --revisions 're:stage1-step.*' --every 50000
    hf-llc revisions ./my-trainer-run --json
    hf-llc revisions org/model --revisions 'subfolder:step-*,log:8'
    hf-llc revisions google --revisions 'repos:multiberts-seed_0-step_*'
    """
    from hf_llc.checkpoints.selection import Selection

    form = chosen(format, as_json, quiet)
    write_listing(model, Selection.parse(revisions or [], every), tokens_per_step, step_map, form)


def write_listing(
    model: str,
    selection: "Selection",
    tokens_per_step: int | None,
    step_map: Path | None,
    form: Form,
    part: "Shard | None" = None,
) -> None:
    """The checkpoints that are meant on stdout; those of one part of a scan if it is given."""
    from hf_llc.checkpoints.find import find_checkpoints, without_weights
    from hf_llc.checkpoints.step_names import read_steps

    with ProgressBar(quiet=form is Form.QUIET) as observer:
        checkpoints = find_checkpoints(
            model,
            selection,
            tokens_per_step=tokens_per_step,
            steps=read_steps(step_map) if step_map else None,
            tell=observer.tell,
        )
        checkpoints = listing(checkpoints, part)
        write_checkpoints(model, checkpoints, form)
        if sentence := without_weights(checkpoints):
            observer.tell(sentence)


def listing(checkpoints: list["Checkpoint"], part: "Shard | None") -> list["Checkpoint"]:
    """Those of one part of a scan, if it is given."""
    if part is None:
        return checkpoints
    own = set(part.own(checkpoints))
    return [each for each in checkpoints if each.name in own]


def write_checkpoints(model: str, checkpoints: Sequence["Checkpoint"], form: Form) -> None:
    """The checkpoints on stdout."""
    if form is Form.JSON:
        write_json([each.to_dict() for each in checkpoints])
    elif form is Form.AGENT:
        write_agent(
            {each.name: {k: v for k, v in each.to_dict().items() if k not in _LEFT_OUT} for each in checkpoints}
        )
    elif form is Form.QUIET:
        for each in checkpoints:
            write_line(each.name)
    else:
        same = sum(each.duplicate_of is not None for each in checkpoints)
        noted = f", {same} with the weights of another" if same else ""
        write_table(f"{model}: {len(checkpoints)} checkpoints{noted}", HEADERS, [_row(each) for each in checkpoints])


_LEFT_OUT = {"name", "model"}


def _row(each: "Checkpoint") -> Sequence[str]:
    return (
        each.name,
        (each.sha or "")[:12],
        "" if each.step is None else f"{each.step}",
        "" if each.tokens is None else f"{each.tokens:.3g}",
        each.weights or "none",
        "" if each.size is None else size(each.size),
        "yes" if each.cached else "no",
        each.duplicate_of or "",
    )
