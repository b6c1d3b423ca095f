"""Where our section stands in the Markdown of a card, as a reader of it sees it (markdown-it)."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt

from hf_llc.report.card.yaml_tree import CardError

BEGIN, END = "<!-- hf-llc:begin -->", "<!-- hf-llc:end -->"
MOST_NESTED = 400
"""Levels of lists and quotations that are followed; markdown-it by itself stops at twenty, ten lists."""

_OWN = re.compile(r"#+ Local learning coefficient\s*|.*\bhf-llc\b.*")
"""A line that every section of ours has."""


def section_lines(lines: Sequence[str]) -> range | None:
    """The lines of our section, markers included; None if there is none, and one would be seen at the end.

    Markers that are shown as code do not count.

    Raises:
        CardError: the markers are not one pair or have somebody else's words between them, or something that was not
            closed would swallow a section at the end.
    """
    text = [line.rstrip("\r\n") for line in lines]
    probe = [*text, "", BEGIN, "", "# words"]
    try:
        blocks_only = MarkdownIt("commonmark", {"maxNesting": MOST_NESTED}).disable("inline")
        parsed = blocks_only.parse("\n".join(probe))
    except RecursionError as error:
        raise CardError("lists or quotations are nested too deeply", 1) from error
    blocks = [(block.type, block.map[0], block.map[1]) for block in parsed if block.map]
    html = {number for kind, first, last in blocks if kind == "html_block" for number in range(first, last)}
    marks = [number for number in sorted(html) if number < len(text) and text[number].strip() in {BEGIN, END}]
    if [text[number].strip() for number in marks] == [BEGIN, END]:
        inner = [line for line in text[marks[0] + 1 : marks[1]] if line.strip()]
        if inner and not any(_OWN.fullmatch(line.strip()) for line in inner):
            raise CardError(f"hf-llc did not write what stands below {BEGIN}; take the markers away", marks[0] + 1)
        return range(marks[0], marks[1] + 1)
    if marks:
        raise CardError(f"there is not one {BEGIN} with one {END} after it", marks[-1] + 1)
    end = len(probe) - 1
    kind, first, _ = next(block for block in blocks if block[2] > end)
    if kind in {"bullet_list_open", "ordered_list_open", "blockquote_open"}:  # which end by themselves
        raise CardError("lists or quotations are nested too deeply", first + 1)
    if kind != "heading_open":
        raise CardError(f"what begins with {text[first].strip()[:20]} never ends", first + 1)
    return None
