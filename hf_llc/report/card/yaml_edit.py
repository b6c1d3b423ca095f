"""Changes of a YAML text that leave every character outside of them as it was (ruamel.yaml)."""

import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from hf_llc.report.card.escaping import yaml_text
from hf_llc.report.card.yaml_tree import NEWLINE, CardError, Document, Node

_PLAIN_IN_BRACKETS = re.compile(
    r"[^\W_][^,\[\]{}]*(?<!:)|[-+.]?\.?\d[^,\[\]{}]*(?<!:)|~|[-+]?\.(inf|Inf|INF|nan|NaN|NAN)"
)
"""What can stand in brackets without quotes for every reader of YAML: PyYAML minds an indicator where a word begins."""


@dataclass(frozen=True)
class _Edit:
    """`text` in place of what stands from `start` to `end`."""

    start: int
    end: int
    text: str


class Editor:
    """Collects changes of a document that has a mapping; `text` makes them all.

    A part that an alias refers to is not changed, since it would change elsewhere too: CardError is raised instead.
    """

    def __init__(self, document: Document, root: Node, newline: str) -> None:
        self._document, self._root, self._newline = document, root, newline
        self._edits: list[_Edit] = []

    def text(self) -> str:
        """The text after all changes."""
        text = self._document.text
        # From the end, so that places stay true; at one place, what was asked for first comes first.
        for _, edit in sorted(enumerate(self._edits), key=lambda each: (each[1].start, each[0]), reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text

    def append(self, sequence: Node, value: Any) -> None:
        """One more item behind those that a sequence has."""
        self._require_free(sequence)
        if not sequence.flow:
            self._insert_lines(sequence.items[-1].end, self._lines([value], sequence.column))
        elif sequence.items:
            self._put(sequence.items[-1].end, f", {_flow(value)}")
        else:
            self._put(sequence.end - 1, _flow(value))

    def fill(self, parent: Node, key: Node, empty: Node, values: Sequence[Any]) -> None:
        """A list in place of null or of `[]` below a key of `parent`."""
        self._require_free(empty)
        text = self._document.text
        named = text[empty.start : empty.end] + " " if empty.anchor else ""
        if parent.flow or not isinstance(values[0], Mapping):
            space = " " if empty.start == empty.end else ""
            self._edits.append(_Edit(empty.start, empty.end, f"{space}{named}{_flow(values)}"))
            return
        start = len(text[: empty.start].rstrip(" ")) if not named else empty.end
        self._edits.append(_Edit(start, empty.end, ""))
        self._insert_lines(empty.end, self._lines(values, key.column))

    def write_over(self, node: Node, value: Any) -> None:
        """`value` in place of what stands there, in block style if that is a block mapping."""
        self._require_free(node)
        if node.kind != "mapping" or node.flow or not isinstance(value, Mapping):
            end = len(self._document.text[: node.end].rstrip())
            space = " " if node.start == node.end else ""
            self._edits.append(_Edit(node.start, max(end, node.start), space + _flow(value)))
            return
        lines = self._lines(value, node.column)[node.column :]
        whole_lines = self._document.text[node.end - 1] in "\r\n"
        self._edits.append(_Edit(node.pairs[0][0].start, node.end, lines if whole_lines else lines.rstrip("\r\n")))

    def write_list(self, node: Node, items: Sequence[Node], value: str) -> None:
        """A list of these scalars and one more, in place of a single scalar or of an alias."""
        if node.kind != "alias":
            self._require_free(node)
        end = len(self._document.text[: node.end].rstrip())
        self._edits.append(_Edit(node.start, end, f"[{', '.join([*map(self._in_brackets, items), _flow(value)])}]"))

    def add_keys(self, values: Mapping[str, Any]) -> None:
        """More keys at the end of the document."""
        root, text = self._root, self._document.text
        if not root.flow:
            self._put(len(text), self._lines(values, root.column))
            return
        inner = _flow(values)[1:-1]
        if root.pairs:
            self._put(root.pairs[-1][1].end, f", {inner}")
        else:
            self._put(root.end - 1, inner)

    def _in_brackets(self, scalar: Node) -> str:
        """A scalar as it can stand in brackets, of the same type and content as before."""
        if scalar.style in {"'", '"'}:
            return self._document.text[scalar.start : scalar.end]
        if scalar.style is None and _PLAIN_IN_BRACKETS.fullmatch(scalar.value):
            return scalar.value
        yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
        yaml.default_flow_style, yaml.width, yaml.allow_unicode = True, sys.maxsize, True
        yaml.default_style = '"'  # type: ignore[assignment]
        yaml.dump([scalar.value], stream)
        return stream.getvalue().strip()[1:-1]

    def _put(self, place: int, text: str) -> None:
        self._edits.append(_Edit(place, place, text))

    def _insert_lines(self, place: int, lines: str) -> None:
        """Puts whole lines below the one in which `place` is, or there if a line begins there."""
        text = self._document.text
        if place > 0 and text[place - 1] not in "\r\n":
            newline = NEWLINE.search(text, place)
            place = newline.end() if newline else len(text)
        self._put(place, lines)

    def _lines(self, value: Any, column: int) -> str:
        return block(value, column, self._newline)

    def _require_free(self, node: Node) -> None:
        for outer in _around(self._root, node):
            if outer.anchor in self._document.used:
                raise CardError(f"*{outer.anchor} refers to what would have to be changed", outer.line)


def block(value: Any, column: int, newline: str) -> str:
    """The value in block style, whole lines that begin at a column."""
    return "".join(f"{' ' * column}{line}{newline}" for line in yaml_text(value).splitlines())


def _flow(value: Any) -> str:
    return yaml_text(value, flow=True).strip() if isinstance(value, Mapping | list | tuple) else str(value)


def _around(outer: Node, node: Node) -> Iterator[Node]:
    """The parts of the document that the node is in, itself among them."""
    if outer.start <= node.start and node.end <= outer.end:
        yield outer
        for inner in (*outer.items, *(part for pair in outer.pairs for part in pair)):
            yield from _around(inner, node)
