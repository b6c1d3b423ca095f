"""Options of the commands: those of settings are generated from the fields of their dataclasses.

`with_options` gives a command the options of settings dataclasses and of groups of options, so that none of them is
listed in a signature. `--help` lists what people touch, `--help-all` everything.
"""

import os
import re
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer

from hf_llc.settings.machines import PORT
from hf_llc.settings.option import Option, Setting, settings_in
from hf_llc.settings.requested import LARGEST_INTEGER, LONGEST, MOST_PROCESSES, MOST_TOKENS

from .output import Form, chosen

C = TypeVar("C", bound=Callable[..., None])

SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def bytes_of(text: str) -> int:
    """Bytes from `20GB`, `1.5 TiB` or `300000`.

    Raises:
        BadParameter: it is no size above 0.
    """
    read = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    size = float(read[1]) * SIZES[read[2] or ""] if read else 0.0
    if not 1 <= size <= LARGEST_INTEGER:
        raise typer.BadParameter(f"{text!r} is no size; write it like 20GB.")
    return round(size)


def seconds_of(text: str | float) -> float:
    """Seconds from `90s`, `15m`, `1.5h` or `300`; a default comes as a number.

    Raises:
        BadParameter: it is no time above 0.
    """
    read = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(text).lower())
    seconds = float(read[1]) * UNITS[read[2]] if read else 0.0
    if not 0 < seconds <= LONGEST:
        raise typer.BadParameter(f"{text!r} is no time; write it like 15m.")
    return seconds


def path_of(text: str | Path) -> Path:
    """The path, where `~` is the home of a user; a default comes as a path.

    Raises:
        BadParameter: it is empty, as a variable is that nobody has set.
    """
    if not str(text).strip():
        raise typer.BadParameter("it is empty.")
    return Path(os.path.expanduser(text))


Model = Annotated[
    str,
    typer.Argument(
        help="Hub id (org/name, org/name@revision), hf:// URI, web URL, local folder (a Trainer checkpoint-N too) or "
        ".gguf file."
    ),
]
Series = Annotated[
    str,
    typer.Argument(
        help="Hub id of a repository with checkpoints as branches, tags or folders, or a local folder of checkpoints; "
        "with repos: an organisation."
    ),
]
Revisions = Annotated[
    list[str] | None,
    typer.Option(
        "--revisions",
        help="Names or SHAs (comma list), globs, re:REGEX, FROM..TO[:APART] by step, all, log:N, linear:N, every:K, "
        "first:N, last:N, @file; repeatable. They choose among branches and tags, or among commits:BRANCH, "
        "subfolder:GLOB or repos:GLOB. (default: all that have a step in their name)",
        rich_help_panel="Model",
    ),
]
Every = Annotated[
    int | None,
    typer.Option("--every", help="Keep only steps that are a multiple of this.", rich_help_panel="Model"),
]
TokensPerStep = Annotated[
    int | None,
    typer.Option(
        "--tokens-per-step",
        min=1,
        max=MOST_TOKENS,
        help="Training tokens in a step, where names say only steps.",
        rich_help_panel="Model",
    ),
]
StepMap = Annotated[
    Path | None,
    typer.Option(
        "--step-map",
        parser=path_of,
        metavar="<path>",
        help="File of lines NAME STEP, for names that do not say it.",
        rich_help_panel="Model",
    ),
]
AllowDuplicates = Annotated[
    bool,
    typer.Option(
        "--allow-duplicates",
        help="Estimate checkpoints with the very same weights one by one, and draw them so.",
        rich_help_panel="Model",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        parser=path_of,
        metavar="<path>",
        help="YAML or JSON file with options by name (n_beta: 30), or a result; options given here win.",
    ),
]
NumProcesses = Annotated[
    int | None,
    typer.Option(
        "--num-processes",
        min=1,
        max=MOST_PROCESSES,
        metavar="<int>",
        help="Processes to share the chains. (default: one per GPU; on a CPU by chains, cores and memory)",
        rich_help_panel="Machine",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or mps. (default: the best there is)", rich_help_panel="Machine"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its name in a settings file, such as start=anchor or burn_in=400; repeatable. It wins "
        "over --settings, and the setting's own option over it.",
    ),
]
MaxDisk = Annotated[
    int | None,
    typer.Option(
        "--max-disk",
        metavar="SIZE",
        parser=bytes_of,
        help="Room for downloads, such as 20GB: they go to the scan's folder and are removed once used. (default: they "
        "go to the Hub's cache and stay)",
        rich_help_panel="Machine",
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=path_of,
        metavar="<path>",
        help="Folder of the run; one that is there is resumed. (default: hf-llc-runs/<model>/<sha>/<key>)",
        rich_help_panel="Output",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print size, memory, tokens and time, and stop before any download.", rich_help_panel="Output"
    ),
]
X = Annotated[
    str,
    typer.Option("--x", help="x axis of the pictures: log, linear or auto.", rich_help_panel="Output"),
]
XTokens = Annotated[
    bool,
    typer.Option(
        "--x-tokens", help="Training tokens along x, where all checkpoints say them.", rich_help_panel="Output"
    ),
]
Repo = Annotated[
    str | None, typer.Option("--repo", help="The model's repository on the Hub.", rich_help_panel="Publishing")
]
DatasetRepo = Annotated[
    str | None,
    typer.Option("--dataset-repo", help="A dataset repository; made if it is not there.", rich_help_panel="Publishing"),
]
CreatePr = Annotated[
    bool,
    typer.Option(
        "--create-pr",
        help="Propose it in a pull request; one of yours that is open is updated.",
        rich_help_panel="Publishing",
    ),
]
Private = Annotated[
    bool, typer.Option("--private", help="Make a new dataset repository private.", rich_help_panel="Publishing")
]
Format = Annotated[
    str, typer.Option("--format", help="human, agent (key=value), json or quiet.", rich_help_panel="Output")
]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel="Output")]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the number alone.", rich_help_panel="Output")
]
QuietNames = Annotated[
    bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the names alone.", rich_help_panel="Output")
]


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """How the result is written."""

    format: Annotated[str, Option(help="human, agent (key=value), json or quiet.", panel="Output")] = "auto"
    as_json: Annotated[bool, Option(help="Short for --format json.", panel="Output", flag="--json", common=True)] = (
        False
    )
    quiet: Annotated[
        bool,
        Option(help="Short for --format quiet: the number alone.", panel="Output", flag="-q/--quiet", common=True),
    ] = False

    @property
    def form(self) -> Form:
        """The one form that the options name.

        Raises:
            SettingsError: two of them are given, or there is no such form.
        """
        return chosen(self.format, self.as_json, self.quiet)


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Publishing at the end of a run."""

    push_to_hub: Annotated[
        bool, Option(help="Publish at the end, as hf-llc publish --yes does.", panel="Publishing", common=True)
    ] = False
    repo: Annotated[str | None, Option(help="The model's repository on the Hub.", panel="Publishing")] = None
    dataset_repo: Annotated[
        str | None, Option(help="A dataset repository; made if it is not there.", panel="Publishing")
    ] = None
    create_pr: Annotated[
        bool,
        Option(help="Propose it in a pull request; one of yours that is open is updated.", panel="Publishing"),
    ] = False
    private: Annotated[bool, Option(help="Make a new dataset repository private.", panel="Publishing")] = False


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where points are reported while a run goes on."""

    trackio: Annotated[
        str | None,
        Option(
            help=r"Report to this Trackio project: pip install 'hf-llc\[trackio]'.", panel="Output", metavar="PROJECT"
        ),
    ] = None
    report_to: Annotated[
        tuple[str, ...],
        Option(
            help="trackio (project hf-llc) or tensorboard (folder tensorboard of the run): each point when it is "
            "there; repeatable.",
            panel="Output",
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Several machines that share one command."""

    num_machines: Annotated[
        int | None,
        Option(
            help="Machines that share the work, each by this command; they need no shared disk, and --num-processes "
            "counts the processes of all. (default: 1)",
            panel="Machine",
        ),
    ] = None
    machine_rank: Annotated[
        int | None, Option(help="Which of them this is, from 0; rank 0 prints the result.", panel="Machine")
    ] = None
    main_process_ip: Annotated[
        str | None, Option(help="Address of the machine of rank 0, the same on all.", panel="Machine")
    ] = None
    main_process_port: Annotated[int, Option(help="Free port there, the same on all.", panel="Machine")] = PORT


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Running the command as a job of Hugging Face Jobs."""

    hf_job: Annotated[
        str | None,
        Option(
            help="Run this very command as a job on rented hardware of that name, such as a10g-small; needs "
            "--push-to-hub.",
            panel="Hugging Face Jobs",
            metavar="FLAVOR",
        ),
    ] = None
    hf_job_timeout: Annotated[
        str | None,
        Option(
            help="Stop the job after this, such as 90m, 6h or 2d. (default: hours, from the expected length of an "
            "estimate; 12h for a scan)",
            panel="Hugging Face Jobs",
            metavar="TIME",
        ),
    ] = None
    hf_job_bucket: Annotated[
        str | None,
        Option(
            help="Bucket for the run, in place of --push-to-hub: it is /results there; give --output-dir "
            "/results/NAME.",
            panel="Hugging Face Jobs",
            metavar="ORG/NAME",
        ),
    ] = None
    hf_job_package: Annotated[
        str | None,
        Option(
            help="How the job installs hf-llc. (default: from where this one came, or this version)",
            panel="Hugging Face Jobs",
            metavar="SPEC",
        ),
    ] = None


def option_of(setting: Setting, *, hidden: bool = False) -> Any:
    """The option of a setting as an annotation that Typer reads."""
    option, kind = setting.option, setting.kind
    kinds = get_args(kind) or (kind,)
    if get_origin(kind) is tuple:
        kind = list[str] | None
    flag = f"{setting.flag}/{option.negative}" if option.negative else setting.flag
    flags = flag.split("/") if flag.startswith("-q/") else [flag]
    extra: dict[str, Any] = {"parser": seconds_of} if option.metavar == "TIME" and float in kinds else {}
    info = typer.Option(
        *flags, help=option.help, rich_help_panel=option.panel, metavar=option.metavar, hidden=hidden, **extra
    )
    return Annotated[kind, info]


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
