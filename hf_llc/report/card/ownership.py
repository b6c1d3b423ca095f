"""Which parts of a front matter are ours, what they say, and what all the rest is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_llc.report.card.escaping import yaml_text
from hf_llc.report.card.yaml_tree import Document, Node, parse

TAGS, TAG, KEY, INDEX, CONFIGS = "tags", "llc", "hf-llc", "model-index", "configs"
METRIC, MARK = "llc", "hf_llc_version"
"""A metric of this type that has this among its `args` is one that hf-llc wrote."""
SOURCE = "hf-llc"
"""How the source of our results is called in `model-index`."""
OWN_KEYS = frozenset({"schema", "results", "settings", "picture"})
"""What stands below our key."""
TARGET = ("model_revision", "token_fingerprint", "n", "context_length", "n_beta", "gamma", "params", "component")
"""The `args` that say what was measured. The others say how well: a better run of the same replaces a worse one."""


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What hf-llc owns in a front matter, besides the tag.

    Attributes:
        name: of the model, for an entry of `model-index`. results: of `model-index`, each with one metric.
        configs: of a dataset, told apart by `config_name`. key: what stands below `hf-llc`.
    """

    name: str
    results: Sequence[Mapping[str, Any]] = ()
    configs: Sequence[Mapping[str, Any]] = ()
    key: Mapping[str, Any]

    def whole(self) -> dict[str, Any]:
        """The front matter of a card that has none."""
        values: dict[str, Any] = {TAGS: [TAG]}
        if self.results:
            values[INDEX] = [self.own_index(self.results)]
        if self.configs:
            values[CONFIGS] = list(self.configs)
        return {**values, KEY: dict(self.key)}

    def own_index(self, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """An entry of `model-index` with these results."""
        return {"name": self.name, "results": list(results)}


def holds(document: Document, entries: Entries) -> bool:
    """True if the document has all our entries."""
    identities = {identity_of(document, home, metric) for home, metric in metrics_of(document)}
    configs = document.at(document.root, CONFIGS)
    named = {config_name(document, item) for item in configs.items} if configs is not None else set()
    key = document.at(document.root, KEY)
    return (
        any(is_tag(item) for item in tags_of(document))
        and {wanted_metric(result)[0] for result in entries.results} <= identities
        and {config["config_name"] for config in entries.configs} <= named
        and key is not None
        and same(key, entries.key)
    )


def is_tag(item: Node) -> bool:
    """Whether an item of the tags is ours."""
    return item.kind == "scalar" and item.value == TAG


def wanted_metric(result: Mapping[str, Any]) -> tuple[tuple[Any, ...], Node]:
    """The identity of one of our results, and its metric."""
    document = parse(yaml_text(dict(result)))
    assert document.root is not None
    (metric,) = own_metrics(document, document.root)
    return identity_of(document, document.root, metric), metric


def tags_of(document: Document) -> tuple[Node, ...]:
    """The tags, of which one alone may stand without a list."""
    node = document.at(document.root, TAGS)
    if node is None or node.is_null:
        return ()
    return node.items if node.kind == "sequence" else (node,)


def metrics_of(document: Document) -> Iterator[tuple[Node, Node]]:
    """Each metric of `model-index` that hf-llc wrote, after the result that it belongs to."""
    index = document.at(document.root, INDEX)
    for entry in index.items if index is not None else ():
        results = document.at(entry, "results")
        for item in results.items if results is not None else ():
            result = document.resolved(item)
            if result is not None:
                yield from ((result, metric) for metric in own_metrics(document, result))


def is_all_own(document: Document, result: Node) -> bool:
    """True if hf-llc wrote every metric of a result."""
    return len(own_metrics(document, result)) == len(_items(document, result))


def own_metrics(document: Document, result: Node) -> list[Node]:
    """The metrics of a result that hf-llc wrote."""
    metrics = [document.resolved(item) for item in _items(document, result)]
    return [metric for metric in metrics if metric is not None and _is_own(document, metric)]


def _items(document: Document, result: Node) -> tuple[Node, ...]:
    metrics = document.at(result, "metrics")
    return metrics.items if metrics is not None else ()


def _is_own(document: Document, metric: Node) -> bool:
    kind = document.at(metric, "type")
    return kind is not None and kind.value == METRIC and document.at(metric, "args", MARK) is not None


def identity_of(document: Document, result: Node, metric: Node) -> tuple[Any, ...]:
    """What was measured: task, text, checkpoint, and the settings of the posterior."""
    where = [("task", "type"), *(("dataset", name) for name in ("type", "config", "split", "revision"))]
    parts = [document.at(result, *path) for path in where]
    parts += [document.at(metric, "args", name) for name in TARGET]
    values = [None if part is None else plain(part) for part in parts]
    if str(values[-len(TARGET) - 1]).startswith("sha256:"):
        values[1] = None  # of a text that is on no Hub, and is known by its content, the type says nothing
    return tuple(None if each == "" else each for each in values)


def home_of(document: Document, index: Node, name: str) -> Node | None:
    """The entry of `model-index` to which a new result belongs: ours, that of our name, or the only one there is."""
    free = [entry for entry in index.items if entry.kind == "mapping" and _takes_results(document, entry)]
    ours = [entry for entry in free if any(_around(entry, result) for result, _ in metrics_of(document))]
    named = [entry for entry in free if (title := document.at(entry, "name")) is not None and title.value == name]
    only = free if len(index.items) == 1 else []
    return next(iter([*ours, *named, *only]), None)


def _takes_results(document: Document, entry: Node) -> bool:
    results = entry.get("results")
    if results is None or results.kind == "alias" or {entry.anchor, results.anchor} & document.used:
        return False
    return results.kind == "sequence" or results.is_null


def _around(outer: Node, inner: Node) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def config_name(document: Document, config: Node) -> str | None:
    """What a configuration of a dataset is called."""
    name = document.at(config, "config_name")
    return None if name is None else name.value


def same(node: Node, value: Mapping[str, Any]) -> bool:
    """Whether a part says what the value says."""
    wanted = parse(yaml_text(dict(value))).root
    assert wanted is not None
    return bool(plain(node) == plain(wanted))


def plain(node: Node) -> Any:
    """What a part says, in whichever order and way; numbers that are equal are the same. Aliases are not followed."""
    if node.kind == "mapping":
        return {key.value: plain(value) for key, value in node.pairs}
    if node.kind == "sequence":
        return [plain(item) for item in node.items]
    if node.kind == "alias":
        return node
    if node.is_null:
        return None
    try:
        return float(node.value)
    except ValueError:
        return node.value


def others_of(document: Document, entries: Entries) -> list[Any]:
    """All that is not ours, in a form that is equal as long as nothing of it but remarks has changed."""
    root = document.root
    assert root is not None
    others: list[Any] = []
    for key, value in root.pairs:
        name = key.value if key.kind == "scalar" else None
        if name == TAGS:
            others += [("tag", item.kind, item.value, item.tag) for item in tags_of(document) if not is_tag(item)]
        elif name in {INDEX, CONFIGS} and (value.kind == "sequence" or value.is_null):
            without_own = _results_left if name == INDEX else _config_left
            # No list, an empty one, and one that holds only ours are the same.
            others += [
                (name, form) for item in value.items if (form := without_own(document, item, entries)) is not None
            ]
        elif name != KEY:
            others.append((_form(key), _form(value)))
    return others


def _results_left(document: Document, entry: Node, entries: Entries) -> Any:
    """An entry of `model-index` without the metrics that hf-llc wrote; None if it was made for them."""
    if entry.kind != "mapping":
        return _form(entry)
    pairs: list[Any] = []
    results: list[Any] = []
    for key, value in entry.pairs:
        if key.value != "results" or not (value.kind == "sequence" or value.is_null):
            pairs.append((_form(key), _form(value)))
            continue
        for result in value.items:
            own = [id(metric) for metric in own_metrics(document, result)]
            others = [_form(item) for item in _items(document, result) if id(document.resolved(item)) not in own]
            if not own:
                results.append(_form(result))
            elif others:
                results.append(others)
    title = document.at(entry, "name")
    made_for_ours = len(pairs) == 1 and title is not None and title.value == entries.name and not results
    return None if made_for_ours else (entry.anchor, pairs, results)


def _config_left(document: Document, config: Node, entries: Entries) -> Any:
    ours = {each["config_name"] for each in entries.configs}
    return None if config_name(document, config) in ours else _form(config)


def _form(node: Node) -> tuple[Any, ...]:
    """A part as it is written, place and remarks apart."""
    items = tuple(_form(item) for item in node.items)
    pairs = tuple((_form(key), _form(value)) for key, value in node.pairs)
    return node.kind, node.value, node.style, node.flow, node.anchor, node.tag, items, pairs
