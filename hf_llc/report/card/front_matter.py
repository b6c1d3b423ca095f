"""An existing card's front matter with our entries added, and every other character unchanged."""

from collections.abc import Mapping, Sequence
from typing import Any

from hf_llc.report.card.escaping import yaml_text
from hf_llc.report.card.ownership import (
    CONFIGS,
    INDEX,
    KEY,
    OWN_KEYS,
    SOURCE,
    TAG,
    TAGS,
    Entries,
    config_name,
    holds,
    home_of,
    identity_of,
    is_all_own,
    is_tag,
    metrics_of,
    others_of,
    plain,
    same,
    tags_of,
    wanted_metric,
)
from hf_llc.report.card.yaml_edit import Editor, block
from hf_llc.report.card.yaml_tree import CardError, Document, Node, parse


def merged(text: str, entries: Entries, newline: str) -> str:
    """The YAML text, whole lines, with our entries added or replaced and nothing else touched.

    Raises:
        CardError: it cannot be read, or cannot take our entries without a change of something else.
    """
    document = parse(text)
    if document.root is None:
        return text + block(entries.whole(), 0, newline)
    new = _Merge(document, document.root, entries, newline).text()
    refusal = CardError("our entries cannot be added without a change of others", document.root.line)
    try:
        after = parse(new)
    except CardError as error:
        raise refusal from error
    if others_of(after, entries) != others_of(document, entries) or not holds(after, entries):
        raise refusal
    return new


class _Merge:
    """One document and our entries."""

    def __init__(self, document: Document, root: Node, entries: Entries, newline: str) -> None:
        self._document, self._root, self._entries = document, root, entries
        self._editor = Editor(document, root, newline)
        self._new_keys: dict[str, Any] = {}

    def text(self) -> str:
        """The text with our entries."""
        self._tag()
        self._results()
        self._configs()
        self._key()
        if self._new_keys:
            self._editor.add_keys(self._new_keys)
        return self._editor.text()

    def _tag(self) -> None:
        node = self._list_below(self._root, TAGS, [TAG])
        if node is None:
            return
        items = tags_of(self._document)
        if any(map(is_tag, items)):
            return
        if node.kind == "sequence":
            self._editor.append(node, TAG)
        elif node.kind == "mapping" or any(item.kind != "scalar" for item in items):
            raise CardError(f"{TAGS} is no list that could be added to", node.line)
        else:
            self._editor.write_list(node, items, TAG)

    def _results(self) -> None:
        missing = []
        for result in self._entries.results:
            identity, metric = wanted_metric(result)
            old = [
                (home, node)
                for home, node in metrics_of(self._document)
                if identity_of(self._document, home, node) == identity
            ]
            for home, node in old:
                if plain(node) != plain(metric):
                    self._editor.write_over(node, result["metrics"][0])
                self._source(home, result)
            missing += [] if old else [result]
        if missing:
            self._add_results(missing)

    def _source(self, home: Node, result: Mapping[str, Any]) -> None:
        """Where a result says that it comes from, if we said so and all of it is ours."""
        source = home.get("source")
        if source is None or source.anchor or "source" not in result or not is_all_own(self._document, home):
            return
        name, url = source.get("name"), source.get("url")
        ours = name is not None and name.value == SOURCE and {key.value for key, _ in source.pairs} == {"name", "url"}
        if ours and url is not None and not url.anchor and url.value != result["source"]["url"]:
            self._editor.write_over(url, yaml_text([result["source"]["url"]], flow=True).strip()[1:-1])

    def _add_results(self, results: Sequence[Mapping[str, Any]]) -> None:
        own = self._entries.own_index(results)
        index = self._list_below(self._root, INDEX, [own])
        if index is None:
            return
        if index.kind != "sequence":
            raise CardError(f"{INDEX} is no list that could be added to", index.line)
        home = home_of(self._document, index, self._entries.name)
        if home is None:
            self._editor.append(index, own)
        elif (old_results := self._list_below(home, "results", results)) is not None:
            for result in results:
                self._editor.append(old_results, result)

    def _configs(self) -> None:
        for config in self._entries.configs:
            node = self._list_below(self._root, CONFIGS, [config])
            if node is None:
                continue
            if node.kind != "sequence":
                raise CardError(f"{CONFIGS} is no list that could be added to", node.line)
            old = next(
                (item for item in node.items if config_name(self._document, item) == config["config_name"]), None
            )
            if old is None:
                self._editor.append(node, config)
            elif not same(old, config):
                if self._root.get(KEY) is None:
                    raise CardError(f"hf-llc did not write the configuration {config['config_name']}", old.line)
                self._editor.write_over(old, config)

    def _key(self) -> None:
        old = self._root.get(KEY)
        if old is None:
            self._new_keys[KEY] = dict(self._entries.key)
            return
        self._require_own_key(old)
        if not same(old, self._entries.key):
            self._editor.write_over(old, self._entries.key)

    def _require_own_key(self, old: Node) -> None:
        """Raise CardError if the value of our key was not written by hf-llc, or by a newer version."""
        node = self._document.resolved(old) or old
        if node.is_null:
            return
        schema = self._document.at(node, "schema")
        if node.kind != "mapping" or schema is None or not (schema.value.isascii() and schema.value.isdecimal()):
            raise CardError(f"hf-llc did not write what stands below {KEY}; give it another name", old.line)
        if int(schema.value) > self._entries.key["schema"]:
            raise CardError(
                f"{KEY} was written by a newer version (schema {schema.value}); update this one", schema.line
            )
        more = next((name for name, _ in node.pairs if name.value not in OWN_KEYS), None)
        if more is not None and int(schema.value) == self._entries.key["schema"]:
            raise CardError(f"hf-llc did not write {more.value} below {KEY}; move it elsewhere", more.line)

    def _list_below(self, parent: Node, key: str, values: Sequence[Any]) -> Node | None:
        """What stands below the key and is to be added to; None where there was nothing and now are the `values`."""
        pair = next((pair for pair in parent.pairs if pair[0].value == key), None)
        if pair is None:
            if parent.merges:
                raise CardError(f"{key} may come from elsewhere (<<); write it out", parent.line)
            self._new_keys[key] = list(values)
            return None
        name, node = pair
        if not node.is_null and not (node.kind == "sequence" and not node.items):
            return node
        self._editor.fill(parent, name, node, values)
        return None
