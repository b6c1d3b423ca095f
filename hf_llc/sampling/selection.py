"""Which parameters move: a weight-refined LLC leaves the others at w* (Wang et al. 2024)."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from hf_llc.errors import NotFoundError, SettingsError, did_you_mean

REGULAR = "re:"


def select(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The names that match any pattern, in their own order; all of them if there is no pattern.

    Args:
        patterns: globs over the whole name (`*.attention.*`), or `re:` and a regular expression found anywhere in it.

    Raises:
        NotFoundError: a pattern matches nothing; names near matches.
        SettingsError: a regular expression is not one.
    """
    if not patterns:
        return list(names)
    chosen: set[str] = set()
    for pattern in patterns:
        matches = {name for name in names if _matches(name, pattern)}
        if not matches:
            bare = pattern.removeprefix(REGULAR).strip("*^$")
            raise NotFoundError(f"`params` {pattern} matches no parameter{did_you_mean(bare, list(names))}")
        chosen |= matches
    return [name for name in names if name in chosen]


def _matches(name: str, pattern: str) -> bool:
    if not pattern.startswith(REGULAR):
        return fnmatchcase(name, pattern)
    try:
        return re.search(pattern.removeprefix(REGULAR), name) is not None
    except (re.error, OverflowError, RecursionError) as error:
        raise SettingsError(f"`params` {pattern} is not a regular expression: {error}.") from error
