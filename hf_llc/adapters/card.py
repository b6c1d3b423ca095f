"""Model cards that hold LLC results: metadata that the Hub reads, and a section that people read (jinja2)."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from hf_llc.adapters import card_text as text
from hf_llc.results import SCHEMA, Estimate

BEGIN, END = "<!-- hf-llc:begin -->", "<!-- hf-llc:end -->"
SOURCE = {"name": "hf-llc", "url": "https://arxiv.org/abs/2308.12108"}
RESULTS = "llc/results.jsonl"
NOT_PUBLISHED = {"micro_batch_size", "threads"}
"""Settings that say how a machine was used and change no more than the rounding."""


def without_paths(found: Estimate, root: Path) -> Estimate:
    """The estimate with every local path given relative to `root`, or as a bare name where it lies elsewhere."""
    return replace(
        found,
        model=_relative(found.model, root) if text.is_local(found) else found.model,
        run_dir=_relative(found.run_dir, root),
        dataset=replace(
            found.dataset,
            id=_relative(found.dataset.id, root) if found.dataset.revision.startswith("sha256:") else found.dataset.id,
        ),
    )


def model_index(name: str, headline: Sequence[Estimate]) -> list[dict[str, Any]]:
    """The `model-index` of a card: one result per headline estimate that has a number."""
    results = [_result(found) for found in headline if found.llc is not None]
    return [{"name": name, "results": results}] if results else []


def render_section(
    estimates: Sequence[Estimate], *, picture: str, results: str = RESULTS, command: str | None = None
) -> str:
    """Our section of a card as Markdown, markers included.

    Args:
        picture, results: paths inside the repository.
        command: what makes these numbers again; None writes out `hf-llc estimate` for the last of them.
    """
    return _render("section.md.jinja", _words(estimates, picture, results, command))


def render_new_card(
    estimates: Sequence[Estimate],
    *,
    name: str,
    picture: str,
    about: str = "",
    results: str = RESULTS,
    command: str | None = None,
) -> str:
    """A whole card for a repository that has none, its headline the last estimate.

    Args:
        name: of the model. about: one paragraph on what the model is.
        picture, results, command: see `render_section`.
    """
    metadata: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["llc"]}
    if index := model_index(name, estimates[-1:]):
        metadata["model-index"] = index
    metadata["hf-llc"] = {"schema": SCHEMA, "results": results}
    words = {
        **_words(estimates, picture, results, command),
        "front_matter": text.front_matter(metadata),
        "name": name,
        "about": about,
    }
    return _render("new_card.md.jinja", words)


def _result(found: Estimate) -> dict[str, Any]:
    """One entry of `model-index`, results: what was measured on which text, and everything the number depends on."""
    dataset = {
        "type": text.dataset_name(found),
        "name": text.dataset_name(found),
        "config": found.dataset.config,
        "split": found.dataset.split,
        "revision": found.dataset.revision,
    }
    settings = {name: value for name, value in found.settings.to_dict().items() if name not in NOT_PUBLISHED}
    arguments = {
        "model_revision": text.revision_name(found),
        "model_sha": found.sha,
        "step": found.step,
        "stderr": found.stderr,
        "verdict": str(found.verdict),
        **settings,
        "token_fingerprint": found.dataset.fingerprint,
        "hf_llc_version": found.versions.get("hf-llc"),
    }
    metric = {
        "type": "llc",
        "name": f"Local learning coefficient ({text.revision_name(found)})",
        "value": found.llc,
        "args": _known(arguments),
    }
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": _known(dataset),
        "metrics": [metric],
        "source": SOURCE,
    }


def _words(estimates: Sequence[Estimate], picture: str, results: str, command: str | None) -> dict[str, Any]:
    """Everything that the section's template names."""
    last = estimates[-1]
    settings = last.settings
    resolution, slope = last.diagnostics.resolution, last.diagnostics.gamma_slope
    shared = len({tuple(_comparable(found).items()) for found in estimates}) == 1
    return {
        "begin": text.Verbatim(BEGIN),
        "end": text.Verbatim(END),
        "picture": text.Verbatim(quote(picture)),
        "results": text.Verbatim(quote(results)),
        "rows": [_row(found) for found in estimates],
        "settings": settings,
        "shared": shared,
        "several": len(estimates) > 1,
        "n_beta": f"{settings.n_beta:.4g}",
        "gamma": f"{settings.gamma:.4g}",
        "lr": f"{settings.lr:.3g}",
        "resolution": "∞" if resolution is None else f"{resolution:.3g}",
        "step_checked": last.diagnostics.step_size_stderr is not None,
        "slope": "" if slope is None else f"{slope:+.2f} ± {last.diagnostics.gamma_slope_stderr or 0.0:.2f}",
        "last": text.revision_name(last),
        "dataset": text.dataset_name(last),
        "dataset_revision": last.dataset.revision.removeprefix("sha256:")[:12],
        "fingerprint": last.dataset.fingerprint.removeprefix("sha256:")[:12],
        "split": last.dataset.split,
        "version": last.versions.get("hf-llc", ""),
        "command": text.code_block(command or text.command(last), "bash"),
    }


def _row(found: Estimate) -> dict[str, str]:
    r_hat = found.diagnostics.r_hat
    return {
        "revision": text.revision_name(found),
        "step": "" if found.step is None else str(found.step),
        "loss": f"{found.init_loss:.4f}",
        "llc": text.with_error(found),
        "r_hat": "" if r_hat is None else f"{r_hat:.3f}",
        "verdict": str(found.verdict),
    }


def _comparable(found: Estimate) -> dict[str, Any]:
    """What must be equal for two numbers to be compared."""
    s = found.settings
    return {"n_beta": s.n_beta, "gamma": s.gamma, "text": found.dataset.fingerprint}


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _relative(path: str, root: Path) -> str:
    full, base = Path(path).expanduser().resolve(), root.resolve()
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.name


def _render(template: str, words: dict[str, Any]) -> str:
    folder = files("hf_llc.model_cards")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        autoescape=False,
        finalize=text.escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(words).rstrip("\n") + "\n"
