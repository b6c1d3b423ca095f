"""A YAML document with the place of every part in the text, so that one can be changed alone (ruamel.yaml)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

BLOCK_SCALARS = ("|", ">")
NEWLINE = re.compile(r"\r\n|\r|\n")


class CardError(Exception):
    """A card cannot be changed as it stands: `problem` in a few words, and the `line`, from 1, that has it."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem, self.line = problem, line


@dataclass(frozen=True, kw_only=True)
class Node:
    """A mapping, a sequence, a scalar or an alias.

    Attributes:
        start, end: where it stands in the text, anchor and tag included; a block ends with its last value.
        column: how far a block is indented: the column of its first key or of its dashes.
        value: text of a scalar, name of an alias. style: of a scalar, None if it is plain. flow: in brackets or braces.
    """

    kind: Literal["mapping", "sequence", "scalar", "alias"]
    start: int
    end: int
    line: int
    column: int
    value: str = ""
    style: str | None = None
    flow: bool = False
    anchor: str | None = None
    tag: str | None = None
    items: tuple["Node", ...] = ()
    pairs: tuple[tuple["Node", "Node"], ...] = ()

    @property
    def is_null(self) -> bool:
        """True for a scalar that stands for nothing."""
        plain = self.style is None and self.tag is None and self.value in {"", "~", "null", "Null", "NULL"}
        return self.kind == "scalar" and (plain or self.tag == "tag:yaml.org,2002:null")

    @property
    def merges(self) -> bool:
        """True for a mapping that takes keys from elsewhere (`<<`, which in quotes is a key like any other)."""
        return any(name.value == "<<" and name.style is None for name, _ in self.pairs)

    def get(self, key: str) -> "Node | None":
        """The value below a key of a mapping, None if there is none or this is no mapping."""
        return next((value for name, value in self.pairs if name.kind == "scalar" and name.value == key), None)


@dataclass(frozen=True, kw_only=True)
class Document:
    """The one mapping of a YAML text; `root` is None where there is nothing but remarks.

    Attributes:
        anchors: the parts that have a name. used: the names that an alias refers to.
    """

    text: str
    root: Node | None
    anchors: dict[str, Node] = field(default_factory=dict)
    used: frozenset[str] = frozenset()

    def resolved(self, node: Node | None) -> Node | None:
        """The node itself, or the one that an alias stands for."""
        return self.anchors.get(node.value) if node is not None and node.kind == "alias" else node

    def at(self, node: Node | None, *keys: str) -> Node | None:
        """What stands below these keys, aliases followed; None if there is nothing."""
        node_there = self.resolved(node)
        for key in keys:
            node_there = self.resolved(node_there.get(key)) if node_there is not None else None
        return node_there


def parse(text: str) -> Document:
    """The mapping in the text.

    Raises:
        CardError: it is not YAML, or no mapping, or holds a key twice, an alias of nothing or a second document.
    """
    try:
        events = list(YAML(typ="safe", pure=True).parse(text))
        return _document(text, events)
    except YAMLError as error:
        raise _problem(error, text) from error
    except RecursionError as error:
        raise CardError("brackets are nested too deeply", 1) from error


def _document(text: str, events: list[Event]) -> Document:
    documents = [event for event in events if isinstance(event, DocumentStartEvent)]
    if len(documents) > 1:
        raise CardError("a second document begins", _line(documents[1]))
    dots = next((event for event in events if isinstance(event, DocumentEndEvent) and event.explicit), None)
    if dots is not None:
        raise CardError("the document ends here, and nothing can be added below", _line(dots))
    builder = _Builder(text)
    stream = (event for event in events if isinstance(event, _CONTENT))
    first = next(stream, None)
    if first is None:
        return Document(text=text, root=None)
    root = builder.node(first, stream)
    if root.kind != "mapping":
        raise CardError("there is no mapping of keys to values", root.line)
    return Document(text=text, root=root, anchors=builder.anchors, used=frozenset(builder.used))


_CONTENT = (AliasEvent, ScalarEvent, MappingStartEvent, MappingEndEvent, SequenceStartEvent, SequenceEndEvent)


def _problem(error: YAMLError, text: str) -> CardError:
    mark = getattr(error, "problem_mark", None)
    place = getattr(error, "position", 0) if mark is None else mark.index
    # What is missing at the end is missing in the last line that says something.
    place = min(place, len(text.rstrip()))
    line = 1 + len(NEWLINE.findall(text, 0, place))
    return CardError(str(getattr(error, "problem", None) or "a character that YAML does not allow"), line)


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


class _Builder:
    """Builds nodes from ruamel's events."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.anchors: dict[str, Node] = {}
        self.used: set[str] = set()

    def node(self, event: Any, events: Iterator[Event]) -> Node:
        """The node that begins with this event."""
        place: dict[str, Any] = {
            "start": event.start_mark.index,
            "line": _line(event),
            "anchor": event.anchor,
        }
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise CardError(f"nothing has the name *{event.anchor}", _line(event))
            self.used.add(event.anchor)
            place |= {"anchor": None, "value": event.anchor, "end": event.end_mark.index}
            return Node(kind="alias", column=event.start_mark.column, **place)
        place["tag"] = event.tag
        if isinstance(event, ScalarEvent):
            end = event.end_mark.index
            if event.style in BLOCK_SCALARS:
                end = len(self._text[:end].rstrip(" "))
            parsed = Node(
                kind="scalar", end=end, column=event.start_mark.column, value=event.value, style=event.style, **place
            )
        elif isinstance(event, SequenceStartEvent):
            parsed = self._sequence(event, events, place)
        else:
            parsed = self._mapping(event, events, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = parsed
        return parsed

    def _sequence(self, event: Any, events: Iterator[Event], place: dict[str, Any]) -> Node:
        items = []
        while not isinstance(inner := next(events), SequenceEndEvent):
            items.append(self.node(inner, events))
        end = inner.end_mark.index if event.flow_style or not items else items[-1].end
        # The first dash is part of the event only where the sequence is not indented.
        column = event.end_mark.column - (self._text[event.end_mark.index] != "-") if items else event.start_mark.column
        return Node(kind="sequence", end=end, column=column, flow=bool(event.flow_style), items=tuple(items), **place)

    def _mapping(self, event: Any, events: Iterator[Event], place: dict[str, Any]) -> Node:
        pairs: list[tuple[Node, Node]] = []
        seen = set()
        while not isinstance(inner := next(events), MappingEndEvent):
            key = self.node(inner, events)
            if key.kind == "scalar" and (key.value, key.tag) in seen:
                raise CardError(f"the key {key.value} stands there twice", key.line)
            seen.add((key.value, key.tag))
            pairs.append((key, self._value(key, next(events), events)))
        end = inner.end_mark.index if event.flow_style or not pairs else pairs[-1][1].end
        column = event.start_mark.column if event.flow_style else event.end_mark.column
        return Node(kind="mapping", end=end, column=column, flow=bool(event.flow_style), pairs=tuple(pairs), **place)

    def _value(self, key: Node, event: Event, events: Iterator[Event]) -> Node:
        node = self.node(event, events)
        if node.start != node.end:
            return node
        # ruamel puts a value that is not written at the next token; it belongs right behind the colon.
        colon = self._text.find(":", key.end)
        place = colon + 1 if colon >= 0 else key.end
        return Node(kind="scalar", start=place, end=place, line=key.line, column=key.column)
