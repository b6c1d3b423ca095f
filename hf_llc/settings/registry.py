"""Things of one kind that a user can name, each a file of one folder: to add one is to add its file.

An entry is a module that assigns one name, such as `SAMPLER = …`; its file `sgld_lm.py` is the entry `sgld-lm`. Names
are read from the text of the files, so that `--help` lists them without importing torch; a module is imported when its
entry is used.
"""

import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from hf_llc.errors import SettingsError, did_you_mean
from hf_llc.settings.bounds import shown

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The entries of a package by name, in alphabetical order.

    Args:
        package: where the files are. constant: the name that each of them assigns.
    """

    def __init__(self, package: str, constant: str) -> None:
        self._package, self._constant = package, constant

    def __iter__(self) -> Iterator[str]:
        return iter(_names(_folders(self._package), self._constant))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise KeyError(name)
        module = import_module(f"{self._package}.{name.replace('-', '_')}")
        entry: T = getattr(module, self._constant)
        return entry

    def check(self, field: str, name: Any, others: Sequence[str] = ()) -> None:
        """Raise SettingsError unless there is an entry of that name.

        Args:
            field: of the settings, as the message calls it. others: names that are allowed beside the entries.
        """
        names = [*others, *self]
        if name not in names:
            close = did_you_mean(str(name), names)
            hint = close if close.startswith("; did you mean") else "."
            raise SettingsError(f"{field} must be one of {', '.join(names)}, got {shown(name)}{hint}")


def _folders(package: str) -> tuple[str, ...]:
    """Where the files of a package are, which is not imported for it."""
    if package in sys.modules:
        return tuple(sys.modules[package].__path__)
    spec = find_spec(package)
    return tuple(spec.submodule_search_locations or ()) if spec else ()


@cache
def _names(folders: tuple[str, ...], constant: str) -> tuple[str, ...]:
    """Names of the modules in these folders that assign the constant."""
    assigns = re.compile(rf"^{constant}\b[^=\n]*=", re.MULTILINE)
    names = []
    for finder, name, _ in pkgutil.iter_modules(folders):
        spec = finder.find_spec(name, None)
        source = getattr(spec and spec.loader, "get_source", lambda _: None)(name)
        if source and assigns.search(source):
            names.append(name.replace("_", "-"))
    return tuple(sorted(names))
