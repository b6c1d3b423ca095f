"""A card with our entries and our section in it; every other byte stays as it was."""

import codecs
import re
from dataclasses import dataclass

from hf_llc.report.card.escaping import front_matter
from hf_llc.report.card.front_matter import merged
from hf_llc.report.card.ownership import CONFIGS, KEY, Entries
from hf_llc.report.card.section import section_lines
from hf_llc.report.card.yaml_tree import NEWLINE, CardError, parse

_NL = r"(?:\r\n|\r|\n)"
_FRONT = re.compile(rf"(\s*---[ \t]*{_NL})((?:[\s\S]*?{_NL})??)(---[ \t]*(?:{_NL}|\Z))")
_OPENED = re.compile(rf"\s*---[ \t]*{_NL}")
_FIRST_LINE = re.compile(rf"\s*(.+?)({_NL}|\Z)")
_CLOSED = re.compile(rf"{_NL}---[ \t]*(?:{_NL}|\Z)")


@dataclass(frozen=True, kw_only=True)
class _Card:
    """A card in pieces that make it whole again when they are joined; `yaml` is None without front matter."""

    mark: bytes
    opening: str
    yaml: str | None
    closing: str
    body: str
    newline: str


def merge(card: bytes, entries: Entries, section: str) -> bytes:
    """The card with our entries in its front matter and our section in its body, the rest untouched.

    Publishing the same again gives the same bytes. Spaces behind the `---` at the top are left out, where
    huggingface_hub (RepoCard, 2.4) reads no front matter.

    Args:
        section: Markdown from BEGIN to END.

    Raises:
        CardError: the card is not UTF-8, its front matter cannot be read, its markers or code blocks do not close, or
            something else would have to be changed. `line` counts from the top of the card.
    """
    pieces = _pieces(card)
    body = _with_section(pieces, section)
    if pieces.yaml is None:
        front = NEWLINE.sub(pieces.newline, front_matter(entries.whole()) + "\n")
        return pieces.mark + (front + body).encode()
    above = len(NEWLINE.findall(pieces.opening))
    try:
        front = merged(pieces.yaml, entries, pieces.newline)
    except CardError as error:
        raise CardError(error.problem, error.line + above) from error
    opening = re.sub(r"---[ \t]+", "---", pieces.opening)
    ended = pieces.closing if pieces.closing.endswith(("\r", "\n")) else pieces.closing + pieces.newline
    return pieces.mark + (opening + front + ended + body).encode()


def results_path(card: bytes) -> str | None:
    """Where a card says that its results are; None if it does not say so.

    Raises:
        CardError: its front matter cannot be read.
    """
    return _own_path(card, "results")


def page_path(card: bytes) -> str | None:
    """Where the README.md of a Space says that its page of ours is; None if it does not say so.

    Raises:
        CardError: its front matter cannot be read.
    """
    return _own_path(card, "page")


def _own_path(card: bytes, name: str) -> str | None:
    yaml = _pieces(card).yaml
    document = parse(yaml) if yaml is not None else None
    node = document.at(document.root, KEY, name) if document is not None else None
    return None if node is None else node.value


def body_of(card: bytes) -> str:
    """What stands below the front matter."""
    return _pieces(card).body


def has_configs(card: bytes) -> bool:
    """True if a card says itself which files are data.

    Raises:
        CardError: its front matter cannot be read.
    """
    yaml = _pieces(card).yaml
    document = parse(yaml) if yaml is not None else None
    return document is not None and document.at(document.root, CONFIGS) is not None


def _pieces(card: bytes) -> _Card:
    mark = codecs.BOM_UTF8 if card.startswith(codecs.BOM_UTF8) else b""
    try:
        text = card.removeprefix(mark).decode()
    except UnicodeDecodeError as error:
        raise CardError("the text is not UTF-8", card[: error.start].count(b"\n") + 1) from error
    first = NEWLINE.search(text)
    newline = first.group() if first else "\n"
    front = _FRONT.match(text)
    if front is not None:
        opening, yaml, closing = front.groups()
        return _Card(mark=mark, opening=opening, yaml=yaml, closing=closing, body=text[front.end() :], newline=newline)
    if opened := _OPENED.match(text):
        raise CardError("a front matter begins and never ends", len(NEWLINE.findall(opened.group())))
    _require_no_front_matter(text)
    return _Card(mark=mark, opening="", yaml=None, closing="", body=text, newline=newline)


def _require_no_front_matter(text: str) -> None:
    """Raise CardError if some readers would see a front matter at the top of a text, and others none.

    That is one whose `---` has a remark, or a character that is not seen, beside it.
    """
    first = _FIRST_LINE.match(text)
    if first is None or _CLOSED.search(text, first.end(1)) is None:
        return
    seen = "".join(" " if c.isspace() else c for c in first[1] if c.isspace() or c.isprintable()).strip()
    if seen == "---" or seen.startswith("--- "):
        line = 1 + len(NEWLINE.findall(text, 0, first.start(1)))
        raise CardError("--- is not alone in its line, so that readers differ on whether a front matter begins", line)


def _with_section(card: _Card, section: str) -> str:
    """The body with the section in place of the old one, or at the end."""
    above = len(NEWLINE.findall(card.opening + (card.yaml or "") + card.closing))
    text = NEWLINE.sub(card.newline, section.rstrip("\r\n"))
    lines = _lines(card.body)
    try:
        place = section_lines(lines)
    except CardError as error:
        raise CardError(error.problem, error.line + above) from error
    if place is not None:
        last = lines[place.stop - 1]
        ending = last[len(last.rstrip("\r\n")) :]
        return "".join([*lines[: place.start], text + ending, *lines[place.stop :]])
    ended = card.body if not card.body or card.body.endswith(("\r", "\n")) else card.body + card.newline
    return f"{ended}{card.newline}{text}{card.newline}"


def _lines(text: str) -> list[str]:
    """The lines, each with its ending; unlike `str.splitlines` these are only those that an editor shows."""
    ends = [newline.end() for newline in NEWLINE.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if start < end]
