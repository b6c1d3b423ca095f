"""Texts as token ids, one after the other, with a bound on the memory that the tokenizer takes."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator

from hf_llc.tasks.text.tokenizer import TextTokenizer

BATCH_CHARACTERS = 1_000_000  # bounds the memory of one call of the tokenizer, about 130 bytes a character
OVERLAP_CHARACTERS = 2_000
"""By how much two windows of a long text overlap, for a place at which their tokens agree."""

_AGREEING = 8  # tokens in a row after which two windows of a text are taken to go on in the same way
_BORDER = re.compile(r"\w(?= \w)")

Text = str | Iterable[str]
"""One document: whole, or in pieces that are read as they are needed."""


def token_ids(tokenizer: TextTokenizer, texts: Iterable[Text], enough: int = 0) -> Iterator[list[int]]:
    """The ids of each text, without special tokens and never cut to the model's length; texts are taken in batches.

    Args:
        enough: of one text no more than this many ids are needed, and the rest need not be looked at; 0 means all.

    Raises:
        UnusableError: see `TextTokenizer.ids`.
    """
    batch: list[str] = []
    characters = 0
    for text in texts:
        if not isinstance(text, str) or len(text) > BATCH_CHARACTERS:
            yield from tokenizer.ids(batch) if batch else []
            yield _long_ids(tokenizer, [text] if isinstance(text, str) else text, enough)
            batch, characters = [], 0
            continue
        batch.append(text)
        characters += len(text)
        if characters >= BATCH_CHARACTERS:
            yield from tokenizer.ids(batch)
            batch, characters = [], 0
    if batch:
        yield from tokenizer.ids(batch)


def _long_ids(tokenizer: TextTokenizer, pieces: Iterable[str], enough: int) -> list[int]:
    """The ids of a text that is too long for the tokenizer's memory at once.

    It is read in windows that overlap, joined where both have the same tokens: the first tokens of a window may differ
    from those of the whole text (where the tokenizer puts a blank before every text), and so may its last ones.
    """
    source = _short(pieces)
    window, more = _filled("", source)
    ids, starts = _encoded(tokenizer, window, more)
    done: list[int] = []
    while more and not (enough and len(done) >= enough):
        border = _border(window)
        window, more = _filled(window[border:], source)
        next_ids, next_starts = _encoded(tokenizer, window, more)
        kept, first = _junction(ids, [start - border for start in starts], next_ids, next_starts)
        done += ids[:kept]
        ids, starts = next_ids[first:], next_starts[first:]
    return done + ids


def _short(pieces: Iterable[str]) -> Iterator[str]:
    for piece in pieces:
        for start in range(0, len(piece), BATCH_CHARACTERS):
            yield piece[start : start + BATCH_CHARACTERS]


def _filled(window: str, source: Iterator[str]) -> tuple[str, bool]:
    """The window with more text, and whether there may be text after it."""
    while len(window) < BATCH_CHARACTERS:
        piece = next(source, None)
        if piece is None:
            return window, False
        window += piece
    return window, True


def _encoded(tokenizer: TextTokenizer, window: str, more: bool) -> tuple[list[int], list[int]]:
    """The ids of a window and where they begin; of a tokenizer that does not tell, those up to the window's border."""
    if (encoded := tokenizer.ids_with_starts(window)) is not None:
        return encoded
    ids = tokenizer.ids([window[: _border(window)] if more else window])[0]
    return ids, []


def _border(window: str) -> int:
    """Where the next window begins: before a blank between two words, so that most tokenizers see a border there."""
    stop = len(window) - min(OVERLAP_CHARACTERS, BATCH_CHARACTERS // 4)
    borders = [match.end() for match in _BORDER.finditer(window, max(0, stop - 1000), stop)]
    return borders[-1] if borders else stop


def _junction(ids: list[int], starts: list[int], next_ids: list[int], next_starts: list[int]) -> tuple[int, int]:
    """How many of the first ids to keep, and the first of the next ids to go on with.

    Args:
        starts, next_starts: characters from the beginning of the next window; empty if they are not known.
    """
    if not starts or not next_starts:
        return len(ids), 0
    first = bisect_left(starts, 0)
    at = {start: index for index, start in reversed(list(enumerate(starts[first:], first)))}
    for index, start in enumerate(next_starts):
        other = at.get(start)
        if other is None or (index and next_starts[index - 1] == start):
            continue
        first_run, second_run = slice(other, other + _AGREEING), slice(index, index + _AGREEING)
        if (
            len(ids[first_run]) == _AGREEING
            and ids[first_run] == next_ids[second_run]
            and starts[first_run] == next_starts[second_run]
        ):
            return other, index
    return first, 0
