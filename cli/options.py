"""Options and arguments that several commands share; those of settings are generated from their dataclasses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hf_llc.integrations.trackers import TRACKERS
from hf_llc.settings.limits import MOST_PROCESSES, MOST_TOKENS
from hf_llc.settings.machines import PORT
from hf_llc.settings.option import Option

from .generated import with_options as with_options
from .output import Form, chosen
from .parsing import bytes_of
from .parsing import path_of as path_of

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
            help=f"Report each point when it is there: {' or '.join(TRACKERS)}; repeatable. (project hf-llc; folder "
            "tensorboard of the run)",
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
