"""Griffe extension: one entry for each name where a docstring explains several together.

`low, high: bounds. why: a reason.` under `Attributes:` or `Args:` becomes entries of `low`, `high` and `why`. So do the
errors under `Raises:`.
"""

import re
from typing import Any

from griffe import Class, Extension, Function

SECTION = re.compile(r"^(Attributes|Args|Raises):\n((?:    .*\n)+)", flags=re.MULTILINE)
HEADS = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ")


class GroupedNames(Extension):
    """Rewrites the docstrings of classes and functions before they are parsed."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Names are those of the attributes."""
        _rewrite(cls, set(cls.members))

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Names are those of the parameters."""
        _rewrite(func, {parameter.name for parameter in func.parameters})


def _rewrite(subject: Class | Function, names: set[str]) -> None:
    if subject.docstring is not None:
        text = subject.docstring.value + "\n"
        subject.docstring.value = SECTION.sub(lambda found: f"{found[1]}:\n{_entries(found[2], names)}", text).rstrip()


def _entries(text: str, names: set[str]) -> str:
    """The entries of a section, one a name; the text as it is if it does not begin with a name."""
    joined = " ".join(text.split())
    found = [head for head in HEADS.finditer(joined) if all(_is_name(name, names) for name in head[1].split(", "))]
    if not found or found[0].start() > 0:
        return text
    lines = []
    for head, stop in zip(found, [*(head.start() for head in found[1:]), len(joined)], strict=True):
        first, *others = head[1].split(", ")
        meaning = joined[head.end() : stop].strip().rstrip(";")
        lines += [f"    {first}: {meaning}", *(f"    {name}: see `{first}`." for name in others)]
    return "\n".join(lines) + "\n"


def _is_name(name: str, names: set[str]) -> bool:
    return name in names or name.endswith("Error")
