"""Options that follow from dataclasses: those of settings, and those of groups that several commands share.

`with_options` gives a command the options of settings dataclasses and of its groups, so that none of them is listed in
a signature. `--help` lists what people touch, `--help-all` everything.
"""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from hf_llc.settings.option import Setting, settings_in

from .parsing import seconds_of

C = TypeVar("C", bound=Callable[..., None])


def option_of(setting: Setting, *, hidden: bool = False) -> Any:
    """The option of a setting as an annotation that Typer reads."""
    option, kind = setting.option, setting.kind
    kinds = get_args(kind) or (kind,)
    if _takes_several(kind):
        kind = list[str] | None
    flag = f"{setting.flag}/{option.negative}" if option.negative else setting.flag
    flags = flag.split("/") if flag.startswith("-q/") else [flag]
    extra: dict[str, Any] = {"parser": seconds_of} if option.metavar == "TIME" and float in kinds else {}
    info = typer.Option(
        *flags, help=option.help, rich_help_panel=option.panel, metavar=option.metavar, hidden=hidden, **extra
    )
    return Annotated[kind, info]


def _takes_several(kind: Any) -> bool:
    """Whether an option is repeatable: of a tuple, or of one string or a sequence of them."""
    return any(get_origin(each) in {tuple, Sequence} for each in (kind, *get_args(kind)))


def _show_all(context: typer.Context, asked: bool) -> None:
    if asked:
        for parameter in context.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
        typer.echo(context.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show every option, and exit."),
]


def with_options(
    *kinds: type[Any], only: Collection[str] | None = None, without: Collection[str] = (), rare: Collection[str] = ()
) -> Callable[[C], Callable[..., None]]:
    """Gives a command the options of settings dataclasses and of its groups of options.

    A parameter that is annotated with a dataclass of options is a group: the command is called with an instance. The
    fields of `kinds` become options of the command, found in `context.params`; a parameter of a field's name, without
    an option of its own, takes the value, and its default in place of the field's.

    Args:
        kinds: settings dataclasses. only: names of the fields that the command has options for; None means all but
            `without`.
        rare: options of the signature itself that only `--help-all` lists.
    """

    def decorate(function: C) -> Callable[..., None]:
        declared = signature(function, eval_str=True).parameters
        groups: dict[str, type[Any]] = {
            name: each.annotation
            for name, each in declared.items()
            if isinstance(each.annotation, type) and is_dataclass(each.annotation)
        }
        own = declared.keys() - groups
        wanted = [
            each
            for each in (setting for kind in kinds for setting in settings_in(kind))
            if each.name not in without and (only is None or each.name in only)
        ] + [each for kind in groups.values() for each in settings_in(kind)]
        generated = [_parameter(each, declared.get(each.name)) for each in wanted]
        names = {each.name for each in generated}
        plain = [_hidden(each) if name in rare else each for name, each in declared.items() if name in own - names]
        leading = [each for each in plain if each.default is Parameter.empty]
        parameters = [*leading, *generated, *(each for each in plain if each not in leading)]
        if rare or not all(each.option.common for each in wanted):
            help_all = Parameter("help_all", Parameter.KEYWORD_ONLY, default=False, annotation=HelpAll)
            parameters.append(help_all)

        @wraps(function)
        def command(**values: Any) -> None:
            built = {
                name: kind(**{each.field: _value(each, values[each.name]) for each in settings_in(kind)})
                for name, kind in groups.items()
            }
            function(**{name: values[name] for name in own}, **built)

        keyword = [each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
        command.__signature__ = Signature(keyword)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in keyword}
        return command

    return decorate


def _parameter(setting: Setting, declared: Parameter | None) -> Parameter:
    default = setting.default if declared is None else declared.default
    default = None if default == () else default
    if _takes_several(setting.kind) and isinstance(default, str):
        default = [default]
    annotation = option_of(setting, hidden=not setting.option.common)
    return Parameter(setting.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _hidden(parameter: Parameter) -> Parameter:
    """The parameter, listed by `--help-all` only."""
    kind, info = get_args(parameter.annotation)
    hidden = copy(info)  # other commands list it
    hidden.hidden = True
    return parameter.replace(annotation=Annotated[kind, hidden])


def _value(setting: Setting, value: Any) -> Any:
    """The value as its field has it: Typer knows lists, and None for one that is left out."""
    return tuple(value or ()) if get_origin(setting.kind) is tuple else value
