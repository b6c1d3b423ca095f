"""Cards that hold LLC results: metadata that the Hub reads, and a section that people read (jinja2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FunctionLoader, StrictUndefined

from hf_llc.hub.publication import Kind
from hf_llc.hub.reference import is_id
from hf_llc.report.card import escaping as text
from hf_llc.report.card.metadata import (
    COMPONENT_PICTURE,
    COMPONENT_ROWS,
    PICTURE,
    RESULTS,
    SETTINGS,
    dataset_entries,
    hub_task,
    model_entries,
)
from hf_llc.report.card.ownership import KEY, Entries
from hf_llc.report.card.section import BEGIN, END
from hf_llc.results.component_curves import ComponentCurves
from hf_llc.results.curve import Curve, Point
from hf_llc.results.estimate import SCHEMA, Estimate
from hf_llc.settings.data import SEPARATOR
from hf_llc.settings.posterior import of_no_use

MOST_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Content:
    """What a card is made from.

    Attributes:
        curve: without paths of this machine; it has an estimate at least.
        name: of the model, as it stands in titles. headline: the points whose numbers become metadata.
        command: what makes these numbers again; None writes it out with every setting.
        home: where the results can be read back from, as `hf-llc show` takes it; "" leaves that out.
        url: the web address of the results file; "" leaves that out. picture: it could be drawn.
        components: numbers of single components beside those of the curve. component_picture: theirs could be drawn.
    """

    curve: Curve
    name: str
    headline: Sequence[Point]
    command: str | None = None
    home: str = ""
    url: str = ""
    picture: bool = True
    components: ComponentCurves | None = None
    component_picture: bool = True

    @property
    def reproduced_by(self) -> str:
        """The command that makes these numbers again."""
        return self.command or text.command(self.curve.model, self.curve.points)


def without_paths(estimate: Estimate, root: Path) -> Estimate:
    """The estimate with every local path given relative to `root`, or as a bare name where it lies elsewhere."""
    return replace(
        estimate,
        model=_relative(estimate.model, root) if text.is_local(estimate) else estimate.model,
        base_model=Path(estimate.base_model or "").name if text.is_local_base(estimate) else estimate.base_model,
        run_dir=_relative(estimate.run_dir, root),
        dataset=replace(
            estimate.dataset,
            id=SEPARATOR.join(
                _relative(id_, root) if revision.startswith("sha256:") else id_
                for id_, revision in estimate.dataset.parts
            ),
        ),
    )


def own_entries(content: Content, kind: Kind) -> Entries:
    """What belongs into the front matter of a card of that kind of repository."""
    if kind == "dataset":
        return dataset_entries(content.name, picture=content.picture)
    return model_entries(content.name, content.headline, url=content.url, picture=content.picture)


def render_section(content: Content) -> str:
    """Our section of a card as Markdown, markers included."""
    return _render("section.md.jinja", _words(content))


def render_meaning(content: Content) -> str:
    """What the number says and what it does not say, as Markdown."""
    return _render("meaning.md.jinja", _words(content))


def _front(content: Content) -> dict[str, Any]:
    """The front matter of a model's new card."""
    last = text.last_estimate(content.curve.points)
    adapter = {"library_name": "peft"}
    if last.base_model is not None and not text.is_local_base(last):
        adapter |= {"base_model": last.base_model}
    return {
        **({"library_name": "transformers"} if last.base_model is None else adapter),
        "pipeline_tag": hub_task(last),
        **own_entries(content, "model").whole(),
    }


def render_model_card(content: Content, *, about: str = "") -> str:
    """A whole card for a model's repository that has none.

    Args:
        about: one paragraph on what the model is.
    """
    front = _front(content)
    return _render("new_card.md.jinja", {**_whole(content, front), "about": about})


def render_trainer_card(content: Content, training: Mapping[str, str]) -> str:
    """A whole card for a model that a transformers Trainer has left in a folder.

    Args:
        training: names and values of what is known of the training.
    """
    front = _front(content)
    front["tags"] = ["trainer", *front["tags"]]
    return _render("trainer_card.md.jinja", {**_whole(content, front), "training": training})


def render_dataset_card(content: Content) -> str:
    """A whole card for a new repository of results."""
    front = {"pretty_name": f"LLC over the training of {content.name}", **own_entries(content, "dataset").whole()}
    # An id that is none could lead anywhere.
    on_hub = not text.is_local(text.last_estimate(content.curve.points)) and is_id(content.curve.model)
    values = {"model": content.curve.model, "link": text.Verbatim(quote(content.curve.model)) if on_hub else ""}
    return _render("dataset_card.md.jinja", {**_whole(content, front), **values})


def render_space_card(name: str, page: str) -> bytes:
    """The README.md of a Space that shows a page of ours.

    Args:
        name: of the model. page: the file.
    """
    front = {
        "title": f"LLC of {name}",
        "emoji": "📉",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "static",
        "app_file": page,
        "pinned": False,
        "tags": ["llc"],
        KEY: {"schema": SCHEMA, "page": page},
    }
    return _render("space_card.md.jinja", {"front_matter": text.front_matter(front), "name": name}).encode()


def settings_file(content: Content) -> str:
    """`llc/settings.yaml`: what all points share, and the command. `hf-llc estimate --settings` takes it."""
    curve = content.curve
    return text.yaml_text(
        {
            "schema": SCHEMA,
            "model": curve.model,
            "command": content.reproduced_by,
            "settings": _asked(curve.settings),
            "dataset": dict(curve.dataset),
            "versions": dict(curve.versions),
        }
    )


def _asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What one can ask for of the settings that all points share."""
    return {name: value for name, value in settings.items() if name not in of_no_use(settings)}


def _whole(content: Content, front: Mapping[str, Any]) -> dict[str, Any]:
    return {**_words(content), "front_matter": text.front_matter(front), "name": content.name}


def _words(content: Content) -> dict[str, Any]:
    """Everything that the section's template names."""
    points = content.curve.points
    last = text.last_estimate(points)
    settings, is_text = last.settings, last.dataset.task == "text-generation"
    resolution, slope = last.diagnostics.resolution, last.diagnostics.gamma_slope
    shown = _shown(points, content.headline)
    shared = len({tuple(_comparable(point.estimate).items()) for point in points if point.estimate is not None}) == 1
    return {
        "begin": text.Verbatim(BEGIN),
        "end": text.Verbatim(END),
        "picture": text.Verbatim(PICTURE) if content.picture else "",
        "results": text.Verbatim(RESULTS),
        "settings_file": text.Verbatim(SETTINGS),
        "rows": [_row(point) for point in shown],
        "left_out": len(points) - len(shown),
        "settings": settings,
        "shared": shared,
        "several": len(points) > 1,
        "n_beta": f"{settings.n_beta:.4g}",
        "gamma": f"{settings.gamma:.4g}",
        "lr": f"{settings.lr:.3g}",
        "resolution": "∞" if resolution is None else f"{resolution:.3g}",
        "by_draws": settings.by_draws,
        "step_checked": last.diagnostics.step_size_stderr is not None,
        "slope": "" if slope is None else f"{slope:+.2f} ± {last.diagnostics.gamma_slope_stderr or 0.0:.2f}",
        "last": [point.revision for point in points if point.estimate is not None][-1],
        **_base_words(last),
        **_component_words(content),
        "dataset": text.dataset_name(last),
        "dataset_revision": text.short_revision(last),
        "fingerprint": last.dataset.fingerprint.removeprefix("sha256:")[:12],
        "split": last.dataset.split,
        "unit": last.dataset.unit,
        "is_text": is_text,
        "loss_on": last.dataset.loss_on or "",
        "data": "text" if is_text else "data",
        "items": last.dataset.items,
        "relative": settings.prior == "relative",
        "reestimated": settings.batch_norm == "reestimated",
        "version": last.versions.get("hf-llc", ""),
        "command": text.code_block(content.reproduced_by, "bash"),
        "show": text.code_block(f"hf-llc show {content.home}", "bash") if content.home else "",
    }


def _base_words(estimate: Estimate) -> dict[str, str]:
    """What the template says of the base of an adapter; empty strings for a whole model."""
    base = estimate.base_model or ""
    return {
        "base": Path(base).name if text.is_local_base(estimate) else base,
        "base_revision": (estimate.base_sha or "").removeprefix("sha256:")[:12],
        "dimension": f"{estimate.diagnostics.dimension:,}",
    }


def _component_words(content: Content) -> dict[str, Any]:
    """What the template says of components; an empty list of rows without any."""
    if content.components is None:
        return {"component_rows": []}
    last = [(name, curve.points[-1]) for name, curve in content.components.curves.items() if curve.points]
    largest = sorted(last, key=lambda each: -(each[1].llc or 0.0))[:MOST_ROWS]
    shown = [(name, point) for name, point in last if name in dict(largest)]
    numbered = [point.estimate for _, point in last if point.estimate is not None]
    return {
        "component_rows": [
            {
                "name": name,
                "weights": f"{point.estimate.diagnostics.dimension:,}" if point.estimate else "",
                "llc": text.with_error(point.llc, point.stderr),
                "verdict": _row(point)["verdict"],
            }
            for name, point in shown
        ],
        "components_left_out": len(last) - len(shown),
        "component_picture": text.Verbatim(COMPONENT_PICTURE) if content.component_picture else "",
        "component_file": text.Verbatim(COMPONENT_ROWS),
        "component_checkpoint": last[-1][1].revision if last else "",
        "component_gamma": f"{numbered[-1].settings.gamma:.4g}" if numbered else "",
        "component_n_beta": f"{numbered[-1].settings.n_beta:.4g}" if numbered else "",
    }


def _shown(points: Sequence[Point], headline: Sequence[Point]) -> list[Point]:
    """The points of the table: all, or the headline and others spread evenly over the rest."""
    if len(points) <= MOST_ROWS:
        return list(points)
    places = {round(i * (len(points) - 1) / (MOST_ROWS - 1)) for i in range(MOST_ROWS)}
    names = {point.revision for point in headline}
    return [point for i, point in enumerate(points) if i in places or point.revision in names]


def _row(point: Point) -> dict[str, str]:
    estimate = point.estimate
    r_hat = None if estimate is None else estimate.diagnostics.r_hat
    verdict = "" if point.verdict is None else str(point.verdict)
    if point.duplicate_of is not None:
        verdict = f"{verdict} (weights of {point.duplicate_of})".strip()
    return {
        "revision": point.revision,
        "step": "" if point.step is None else str(point.step),
        "loss": "" if point.loss is None else f"{point.loss:.4f}",
        "llc": text.with_error(point.llc, point.stderr),
        "r_hat": "" if r_hat is None else f"{r_hat:.3f}",
        "verdict": verdict if estimate is not None else f"could not be used: {point.error}",
    }


def _comparable(estimate: Estimate) -> dict[str, Any]:
    """What must be equal for two numbers to be compared."""
    s = estimate.settings
    return {"n_beta": s.n_beta, "gamma": s.gamma, "text": estimate.dataset.fingerprint}


def _relative(path: str, root: Path) -> str:
    full, base = Path(path).expanduser().resolve(), root.resolve()
    if (inside := (base / path).resolve()).is_relative_to(base) and inside.exists():
        full = inside
    return full.relative_to(base).as_posix() if full.is_relative_to(base) else full.name


def _render(template: str, values: Mapping[str, Any]) -> str:
    folder = files("hf_llc.model_cards")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        undefined=StrictUndefined,
        autoescape=False,
        finalize=text.escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(values).rstrip("\n") + "\n"
