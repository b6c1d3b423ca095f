"""How a setting is shown on the command line and in the settings reference: metadata of a dataclass's fields."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints


@dataclass(frozen=True, kw_only=True)
class Option:
    """The option of one field, as the field's annotation carries it: `Annotated[float | None, Option(…)]`.

    Attributes:
        help: what it is, and in parentheses what is taken where it is left out and no value can say that.
        panel: heading below which `--help` lists it.
        common: `--help` lists it; the others are listed by `--help-all`.
        name: its name on the command line and in settings files; None is the field's own. flag: its option, where that
            is not the name with dashes.
        negative: the flag that says no to it, for a field that is True by default.
        metavar: what stands for its value in `--help`; None is its type.
        published: a model card names its value. of_chains: independent draws have no use for it.
        also: what other tools call it; a message that refuses such a name proposes this setting.
    """

    help: str
    panel: str
    common: bool = False
    name: str | None = None
    flag: str | None = None
    negative: str | None = None
    metavar: str | None = None
    published: bool = True
    of_chains: bool = False
    also: tuple[str, ...] = ()


class Setting(NamedTuple):
    """A field of a settings dataclass that has an option.

    Attributes:
        field: its name in the dataclass. name: its name on the command line, with underscores, and in settings files.
        kind: its type, without metadata. default: its default. option: how it is shown.
    """

    field: str
    name: str
    kind: Any
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """`--context-length`."""
        return self.option.flag or "--" + self.name.replace("_", "-")


def settings_in(kind: type[Any]) -> Iterator[Setting]:
    """The fields of a settings dataclass that have an option, in their order."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        plain, *metadata = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        for option in metadata:
            if isinstance(option, Option):
                default = field.default if field.default is not MISSING else None
                yield Setting(field.name, option.name or field.name, plain, default, option)
