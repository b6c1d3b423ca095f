"""Whether λ̂ of several curves may be compared, in plain words."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hf_llc.results.curve import Curve
from hf_llc.settings.component import moves_all
from hf_llc.settings.data import SEPARATOR


@dataclass(frozen=True)
class _Aspect:
    """Something that two comparable curves have in common.

    Attributes:
        value: what must be equal. subject: what it is the value of. description: it, for one curve. why: what follows.
        tasks: those whose curves have it; empty for all.
    """

    value: Callable[[Curve], str]
    subject: str
    description: Callable[[Curve], str]
    why: str
    tasks: tuple[str, ...] = ()

    def value_of(self, curve: Curve) -> str:
        """What must be equal; "" of a curve of another task."""
        return "" if self.tasks and _task(curve) not in self.tasks else self.value(curve)

    def told_of(self, curve: Curve) -> str:
        """Subject and value within a sentence."""
        return f"{self.subject[0].lower()}{self.subject[1:]} {self.description(curve)}"


def differences(names: Sequence[str], curves: Sequence[Curve]) -> list[str]:
    """Why the numbers of these curves are not comparable, one sentence a reason; none if nothing speaks against it.

    Sampler, step size, chains and seed are no reason: with them the same number is estimated more or less well. Curves
    without a number are left out.
    """
    numbered = [(name, curve) for name, curve in zip(names, curves, strict=True) if curve.settings]
    changing = [name for name, curve in numbered if not {"gamma", "n_beta"} <= curve.settings.keys()]
    sentences = [f"γ or nβ changes along the curve of {name}." for name in changing]
    steady = [(name, curve) for name, curve in numbered if name not in changing]
    sentences += filter(None, [_told(RESOLUTION, steady)])
    sentences += filter(None, [_told(TASK, numbered)])
    texts = [sentence for aspect in TEXTS if (sentence := _told(aspect, numbered))]
    # Other text, or more of it, has other tokens in any case.
    sentences += texts or filter(None, [_told(TOKENS, numbered)])
    sentences += filter(None, [_told(aspect, numbered) for aspect in (PARAMS, PRIOR, BATCH_NORM)])
    return sentences


def comparable_sets(curves: Sequence[Curve]) -> list[tuple[str, list[int]]]:
    """Places of the curves of one model whose numbers may be compared, set by set in the order of the first of each.

    Before each stands what tells it from the others, in words; nothing if there is one set. Curves need a number each.
    """
    sets: dict[tuple[str, ...], list[int]] = {}
    for place, curve in enumerate(curves):
        sets.setdefault(tuple(aspect.value_of(curve) for aspect in ASPECTS), []).append(place)
    apart = [index for index, values in enumerate(zip(*sets, strict=True)) if len(set(values)) > 1]
    if any(ASPECTS[index] in TEXTS for index in apart):
        apart = [index for index in apart if ASPECTS[index] is not TOKENS]
    return [
        (", ".join(ASPECTS[index].told_of(curves[places[0]]) for index in apart), places) for places in sets.values()
    ]


def _told(aspect: _Aspect, named: Iterable[tuple[str, Curve]]) -> str | None:
    """One sentence, None if all are alike."""
    alike: dict[str, list[tuple[str, Curve]]] = {}
    for name, curve in named:
        if aspect.tasks and _task(curve) not in aspect.tasks:
            continue
        alike.setdefault(aspect.value(curve), []).append((name, curve))
    if len(alike) < 2:
        return None
    groups = [
        f"{aspect.description(group[0][1])} for {_listed([name for name, _ in group])}" for group in alike.values()
    ]
    return f"{aspect.subject} {', '.join(groups)}: {aspect.why}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _task(curve: Curve) -> str:
    return str(curve.dataset.get("task", "text-generation"))


def _resolution(curve: Curve) -> str:
    """γ/nβ to six digits: what differs further behind is rounding; NaN where either changes along the curve."""
    if not {"gamma", "n_beta"} <= curve.settings.keys():
        return "nan"
    n_beta = curve.settings["n_beta"]
    return f"{curve.settings['gamma'] / n_beta if n_beta else math.inf:.6g}"


def _text(curve: Curve) -> str:
    # The revision of a file is the hash of its content, wherever it lies.
    return " ".join(str(curve.dataset[name]) for name in ("revision", "config", "split", "text_column"))


def _describe_text(curve: Curve) -> str:
    data = curve.dataset
    config = f" ({data['config']})" if data["config"] else ""
    revision = SEPARATOR.join(each.removeprefix("sha256:")[:12] for each in str(data["revision"]).split(SEPARATOR))
    return f"{data['text_column']} of {data['id']}{config} {data['split']} at {revision}"


def _describe_targets(loss_on: str | None) -> str:
    if loss_on is None:
        return "all tokens of packed text"
    return "all tokens of each row" if loss_on == "all" else f"the tokens of the {loss_on}"


def _describe_params(curve: Curve) -> str:
    params = curve.settings.get("params")
    of_adapter = any(point.estimate is not None and point.estimate.base_sha is not None for point in curve.points)
    component = curve.settings.get("component")
    if component and not moves_all(component):
        return f"only the component {component}"
    return f"only {params}" if params else "those of the adapter" if of_adapter else "all weights"


def _describe_resolution(curve: Curve) -> str:
    resolution = float(_resolution(curve))
    return "not the same at all checkpoints" if math.isnan(resolution) else f"{resolution:.4g}"


RESOLUTION = _Aspect(_resolution, "γ/nβ is", _describe_resolution, "curvatures below it are not seen")
TASK = _Aspect(_task, "The task is", _task, "the losses are different ones")
TEXTS = (
    _Aspect(_text, "The data is", _describe_text, "the loss is that of other items"),
    _Aspect(
        lambda curve: str(curve.dataset.get("loss_on")),
        "What counts are",
        lambda curve: _describe_targets(curve.dataset.get("loss_on")),
        "the loss is that of other tokens",
        ("text-generation",),
    ),
    _Aspect(
        lambda curve: str(curve.settings.get("context_length")),
        "A sequence has",
        lambda curve: f"{curve.settings.get('context_length')} tokens",
        "the loss of a token depends on those around it",
        ("text-generation", "fill-mask"),
    ),
    _Aspect(
        lambda curve: str(curve.settings.get("n")),
        "The loss is over",
        lambda curve: f"{curve.settings.get('n')} items",
        "other data is another loss",
    ),
)
TOKENS = _Aspect(
    lambda curve: str(curve.dataset.get("fingerprint")),
    "The items are",
    lambda curve: str(curve.dataset.get("fingerprint")).removeprefix("sha256:")[:12],
    "the data is tokenized or packed differently, or processed in another way, so losses are not comparable",
)
PARAMS = _Aspect(_describe_params, "What moves is", _describe_params, "λ̂ counts different directions")
PRIOR = _Aspect(
    lambda curve: str(curve.settings.get("prior", "isotropic")),
    "The localizing prior is",
    lambda curve: str(curve.settings.get("prior", "isotropic")),
    "γ has another unit in each",
)
BATCH_NORM = _Aspect(
    lambda curve: str(curve.settings.get("batch_norm", "frozen")),
    "The statistics of batch norm are",
    lambda curve: str(curve.settings.get("batch_norm", "frozen")),
    "the models are different functions",
)
MODEL = _Aspect(lambda curve: curve.model, "The model is", lambda curve: curve.model, "")
ASPECTS = (MODEL, RESOLUTION, TASK, *TEXTS, TOKENS, PARAMS, PRIOR, BATCH_NORM)
"""What curves share that may stand in one row, a column a checkpoint."""
