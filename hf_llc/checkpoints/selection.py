"""Which checkpoints of a series are meant: the language of `--revisions`.

all                      every name with a step; every name, if none has one
step512,main             names; full or short commit SHAs
step*                    a glob        re:step(\\d+)    a regular expression for the whole name
1000..143000:10000       steps from, to and apart; either end may be left out
log:20  linear:20        so many, evenly spaced in the logarithm of the step or in the step
every:10000              steps that are multiples
first:5  last:5          so many from either end
@file                    any of these, one a line

Where the checkpoints are, if they are not the branches and tags; the terms above choose among them:

commits:main             commits of a branch
subfolder:step-*         folders of a repository or of a local folder; a * stays within one name
repos:org/name-step-*    whole repositories, by a glob over an organisation's or one by one; repos:@file
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Self

from hf_llc.checkpoints.step_names import Place
from hf_llc.errors import NotFoundError, SettingsError, did_you_mean
from hf_llc.results.curve import training_order
from hf_llc.settings.bounds import Bounds, check_fields, checked, shown
from hf_llc.settings.files import LARGEST_LIST, read_text

DIGITS = 18
"""Of a step, at most: Python refuses to read numbers of thousands of digits."""
_RANGE = re.compile(r"(\D*\d+)?\.\.(\D*\d+)?(?::(\d+))?")
_COUNTED = re.compile(r"(log|linear|every|first|last):(.*)")
_COMMITS, _SUBFOLDER, _REPOS = _LOCATIONS = ("commits:", "subfolder:", "repos:")
_HEX = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Terms that are looked up in the names of a series.

    Attributes:
        terms: each adds what it matches.
        commits: a branch whose commits are the checkpoints.
        subfolder: a glob of folders that are the checkpoints.
        repos: repositories that are, by id or by globs; a name without a slash is in the model's organisation. With
            none of the three the branches and tags of a repository are, or the folders directly inside a local one.
        every: keeps of all that only steps that are a multiple of it.
    """

    terms: tuple[str, ...] = ("all",)
    commits: str | None = None
    subfolder: str | None = None
    repos: tuple[str, ...] = ()
    every: Annotated[int | None, Bounds(low=1, high=10**DIGITS)] = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.terms:
            raise SettingsError("terms must not be empty, got (); leave them out for every checkpoint")
        for term in self.terms:
            _check(term)
        if self.subfolder is not None and _leads_out(self.subfolder):
            raise SettingsError(f"subfolder must be a glob of folders inside, got {shown(self.subfolder)}")

    @classmethod
    def parse(cls, texts: Sequence[str], every: int | None = None) -> Self:
        """The selection that these `--revisions` ask for; none at all means `all`.

        Raises:
            SettingsError: a number, a range or an expression that makes no sense.
            NotFoundError: there is no such @file.
        """
        texts = checked("revisions", texts, Sequence[str])
        everything = [term for text in texts for term in _terms(text)]
        if texts and not everything:
            raise SettingsError("`revisions` must not be empty; leave it out for every checkpoint.")
        terms = tuple(term for term in everything if not term.startswith(_LOCATIONS))
        located = {
            kind: list(dict.fromkeys(term.removeprefix(kind) for term in everything if term.startswith(kind)))
            for kind in _LOCATIONS
        }
        commits, subfolders, repos = located.values()
        if len(commits) > 1 or "" in commits:
            raise SettingsError("`revisions`: commits: takes the name of one branch, such as commits:main.")
        if len(subfolders) > 1 or any(_leads_out(glob) for glob in subfolders):
            raise SettingsError("`revisions`: subfolder: takes one glob of folders, such as subfolder:step-*.")
        if any(not re.fullmatch(r"[^/]+(/[^/]+)?", name) for name in repos):
            raise SettingsError("`revisions`: repos: takes repositories by id or glob, such as repos:org/name-step-*.")
        if sum(map(bool, (commits, subfolders, repos))) > 1:
            raise SettingsError("`revisions` takes only one of commits:, subfolder: and repos:.")
        return cls(
            terms=terms or ("all",),
            commits=next(iter(commits), None),
            subfolder=next(iter(subfolders), None),
            repos=tuple(repos),
            every=every,
        )

    def choose(self, places: Mapping[str, Place], what: str) -> list[str]:
        """The names that are meant, in order of training, those without a step last; commits that no name is for, too.

        Args:
            places: every name there is. what: the series in the user's words.

        Raises:
            NotFoundError: a term that matches nothing; the message has near names.
        """
        known = sorted(places, key=lambda name: training_order(places[name].stage, places[name].step))
        chosen: dict[str, None] = {}
        for term in self.terms:
            matches = _match(term, known, places)
            if not matches:
                raise NotFoundError(
                    f"{what} has no checkpoint {term}{did_you_mean(term, known)} Choose with `revisions`."
                )
            chosen.update(dict.fromkeys(matches))
        if self.every is not None:
            kept = [name for name in chosen if _place(name, places).step is not None]
            chosen = dict.fromkeys(name for name in kept if (_place(name, places).step or 0) % self.every == 0)
            if not chosen:
                raise NotFoundError(f"No chosen checkpoint of {what} has a step that is a multiple of {self.every}.")
        return sorted(chosen, key=lambda name: training_order(_place(name, places).stage, _place(name, places).step))


def _place(name: str, places: Mapping[str, Place]) -> Place:
    return places[name] if name in places else Place()


def _terms(text: str) -> list[str]:
    """A comma list in parts; an expression is one part, since it may hold commas itself.

    In a list that begins with `repos:` every part with a slash is a repository.
    """
    text = text.strip()
    if text.startswith("re:"):
        return [text]
    terms: list[str] = []
    for part in map(str.strip, text.split(",")):
        if part.startswith("@"):
            terms += _lines(Path(part[1:]))
        elif part.startswith(f"{_REPOS}@"):
            terms += [f"{_REPOS}{name}" for name in _lines(Path(part.partition("@")[2]))]
        elif text.startswith(_REPOS) and "/" in part and not part.startswith(_REPOS):
            terms.append(f"{_REPOS}{part}")
        else:
            terms.append(part)
    return [part for part in terms if part]


def _lines(path: Path) -> list[str]:
    lines = read_text(path, "--revisions @", LARGEST_LIST).splitlines()
    return [term for line in lines for term in _terms(line.partition("#")[0]) if not term.startswith("@")]


def _leads_out(glob: str) -> bool:
    return not glob or glob.startswith("/") or ".." in glob.split("/")


def _check(term: str) -> None:
    if term.startswith("re:"):
        try:
            re.compile(term[3:])
        except (re.error, OverflowError, RecursionError) as error:
            raise SettingsError(f"`revisions`: {term} is not a regular expression ({error}).") from error
    elif counted := _COUNTED.fullmatch(term):
        if not counted[2].isdecimal() or len(counted[2]) > DIGITS or int(counted[2]) < 1:
            raise SettingsError(f"`revisions`: {counted[1]}: takes a whole number ≥ 1, got {term}.")
    elif bounds := _RANGE.fullmatch(term):
        if any(sum(map(str.isdecimal, part or "")) > DIGITS for part in bounds.groups()):
            raise SettingsError(f"`revisions`: a step has at most {DIGITS} digits, got {shown(term)}.")
        low, high = _bound(bounds[1], 0), _bound(bounds[2], math.inf)
        if low > high or bounds[3] == "0":
            raise SettingsError(
                f"`revisions`: a range goes from a lower to a higher step, such as 0..1000:100, got {term}."
            )


def _bound(text: str | None, otherwise: float) -> float:
    return int("".join(c for c in text if c.isdecimal())) if text else otherwise


def _match(term: str, known: Sequence[str], places: Mapping[str, Place]) -> list[str]:
    """The names that one term means, in the order of `known`."""
    if term in places:
        return [term]
    ordered = [name for name in known if places[name].step is not None]
    if term == "all":
        return list(ordered or known)
    if term.startswith("re:"):
        return [name for name in known if re.fullmatch(term[3:], name)]
    if counted := _COUNTED.fullmatch(term):
        return _counted(counted[1], int(counted[2]), ordered, places)
    if bounds := _RANGE.fullmatch(term):
        low, high, apart = _bound(bounds[1], 0), _bound(bounds[2], math.inf), int(bounds[3] or 1)
        steps = {name: places[name].step or 0 for name in ordered}
        return [name for name, step in steps.items() if low <= step <= high and (step - low) % apart == 0]
    if any(c in term for c in "*?["):
        return [name for name in known if fnmatchcase(name, term)]
    return [term] if _HEX.fullmatch(term) else []


def _counted(kind: str, count: int, ordered: Sequence[str], places: Mapping[str, Place]) -> list[str]:
    if kind == "first":
        return list(ordered[:count])
    if kind == "last":
        return list(ordered[-count:])
    if kind == "every":
        return [name for name in ordered if (places[name].step or 0) % count == 0]
    return _spread(ordered, _positions(ordered, places), count, math.log2 if kind == "log" else float)


def _positions(ordered: Sequence[str], places: Mapping[str, Place]) -> list[int]:
    """Steps, counted on over the stages where each begins anew."""
    positions: list[int] = []
    before, stage = 0, None
    for name in ordered:
        if places[name].stage != stage and positions:
            before = positions[-1]
        stage = places[name].stage
        positions.append(before + (places[name].step or 0))
    return positions


def _spread(names: Sequence[str], steps: Sequence[int], count: int, scale: Callable[[float], float]) -> list[str]:
    """At most `count` names, the first and the last among them, as evenly as there are steps for."""
    if count >= len(names):
        return list(names)
    if count == 1:
        return [names[-1]]
    where = [scale(step + 1.0) for step in steps]
    low, high = where[0], where[-1]
    remaining = set(range(1, len(names) - 1))
    chosen = {0, len(names) - 1}
    for index in range(1, count - 1):
        target = low + (high - low) * index / (count - 1)
        best = min(remaining, key=lambda i: (abs(where[i] - target), i))
        remaining.discard(best)
        chosen.add(best)
    return [names[i] for i in sorted(chosen)]
