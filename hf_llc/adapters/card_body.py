"""Where our section stands in the Markdown of a card, as a reader of it sees it (markdown-it)."""

from collections.abc import Sequence

from markdown_it import MarkdownIt

from hf_llc.adapters.yaml_tree import CardError

BEGIN, END = "<!-- hf-llc:begin -->", "<!-- hf-llc:end -->"


def section_lines(lines: Sequence[str]) -> range | None:
    """The lines of our section, markers included; None if there is none, and one would be seen at the end.

    Markers that are shown as code do not count.

    Raises:
        CardError: the markers are not one pair, or something that was not closed would swallow a section at the end.
    """
    text = [line.rstrip("\r\n") for line in lines]
    probe = [*text, "", BEGIN, "", "# words"]
    parsed = MarkdownIt("commonmark").parse("\n".join(probe))
    blocks = [(block.type, block.map[0], block.map[1]) for block in parsed if block.map]
    html = {number for kind, first, last in blocks if kind == "html_block" for number in range(first, last)}
    marks = [number for number in sorted(html) if number < len(text) and text[number].strip() in {BEGIN, END}]
    if [text[number].strip() for number in marks] == [BEGIN, END]:
        return range(marks[0], marks[1] + 1)
    if marks:
        raise CardError(f"there is not one {BEGIN} with one {END} after it", marks[-1] + 1)
    end = len(probe) - 1
    kind, first, _ = next(block for block in blocks if block[2] > end)
    if kind != "heading_open":
        raise CardError(f"what begins with {text[first].strip()[:20]} never ends", first + 1)
    return None
