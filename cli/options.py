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
        help="Hub id (org/name, org/name@revision), hf:// URI, web URL, local folder (also a Trainer's "
        "checkpoint-N) or .gguf file."
    ),
]
Series = Annotated[
    str,
    typer.Argument(
        help="Hub id of a repository with checkpoints as branches, tags or folders, or a local folder of "
        "checkpoints; with repos:GLOB an organization."
    ),
]
Revisions = Annotated[
    list[str] | None,
    typer.Option(
        "--revisions",
        help="Names or SHAs (comma list), globs, re:REGEX, FROM..TO[:INTERVAL] by step, all, log:N, "
        "linear:N, every:K, first:N, last:N, @file; repeatable. They choose among branches and tags, "
        "or among commits:BRANCH, subfolder:GLOB or repos:GLOB. (default: all that have a step in "
        "their name)",
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
        help="Training tokens per step, where names give only steps.",
        rich_help_panel="Model",
    ),
]
StepMap = Annotated[
    Path | None,
    typer.Option(
        "--step-map",
        parser=path_of,
        metavar="<path>",
        help="File with lines NAME STEP, for names without a step.",
        rich_help_panel="Model",
    ),
]
AllowDuplicates = Annotated[
    bool,
    typer.Option(
        "--allow-duplicates",
        help="Estimate and draw checkpoints with identical weights separately.",
        rich_help_panel="Model",
    ),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        parser=path_of,
        metavar="<path>",
        help=(
            "YAML or JSON file with settings by name (n_beta: 30), or a result; options on the command "
            "line take precedence."
        ),
    ),
]
NumProcesses = Annotated[
    int | None,
    typer.Option(
        "--num-processes",
        min=1,
        max=MOST_PROCESSES,
        metavar="<int>",
        help="Processes that share the chains. (default: one per GPU; on a CPU from chains, cores and memory)",
        rich_help_panel="Machine",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or mps. (default: the best available)", rich_help_panel="Machine"),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting by its name in a settings file, such as start=anchor or burn_in=400; "
        "repeatable. It takes precedence over --settings, and the setting's own option over it.",
    ),
]
MaxDisk = Annotated[
    int | None,
    typer.Option(
        "--max-disk",
        metavar="SIZE",
        parser=bytes_of,
        help="Disk space for downloads, such as 20GB: they go to the scan's folder and are removed after "
        "use. (default: no limit; they stay in the Hub's cache)",
        rich_help_panel="Machine",
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=path_of,
        metavar="<path>",
        help="Folder of the run; an existing one is resumed. (default: hf-llc-runs/<model>/<sha>/<key>)",
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
        "--x-tokens", help="Plot over training tokens, where all checkpoints give them.", rich_help_panel="Output"
    ),
]
Repo = Annotated[
    str | None, typer.Option("--repo", help="The model's repository on the Hub.", rich_help_panel="Publishing")
]
DatasetRepo = Annotated[
    str | None,
    typer.Option(
        "--dataset-repo", help="A dataset repository; created if it does not exist.", rich_help_panel="Publishing"
    ),
]
CreatePr = Annotated[
    bool,
    typer.Option(
        "--create-pr",
        help="Open a pull request, or update your open one.",
        rich_help_panel="Publishing",
    ),
]
Private = Annotated[
    bool, typer.Option("--private", help="Create the new repository as private.", rich_help_panel="Publishing")
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
        str | None, Option(help="A dataset repository; created if it does not exist.", panel="Publishing")
    ] = None
    create_pr: Annotated[
        bool,
        Option(help="Open a pull request, or update your open one.", panel="Publishing"),
    ] = False
    private: Annotated[bool, Option(help="Create the dataset repository as private.", panel="Publishing")] = False


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
            help="Machines that share the work, each started with this command; no shared disk is needed, "
            "and --num-processes counts the processes of all machines. (default: 1)",
            panel="Machine",
        ),
    ] = None
    machine_rank: Annotated[
        int | None, Option(help="Number of this machine, from 0; rank 0 prints the result.", panel="Machine")
    ] = None
    main_process_ip: Annotated[
        str | None, Option(help="Address of the machine with rank 0, the same on all machines.", panel="Machine")
    ] = None
    main_process_port: Annotated[
        int, Option(help="Free port on that machine, the same on all machines.", panel="Machine")
    ] = PORT


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Running the command as a job of Hugging Face Jobs."""

    hf_job: Annotated[
        str | None,
        Option(
            help="Run this command as a job on rented hardware of this name, such as a10g-small; needs "
            "--push-to-hub or --hf-job-bucket.",
            panel="Hugging Face Jobs",
            metavar="FLAVOR",
        ),
    ] = None
    hf_job_timeout: Annotated[
        str | None,
        Option(
            help="Stop the job after this time, such as 90m, 6h or 2d. (default: from the expected length "
            "of an estimate; 12h for a scan)",
            panel="Hugging Face Jobs",
            metavar="TIME",
        ),
    ] = None
    hf_job_bucket: Annotated[
        str | None,
        Option(
            help="Bucket for the run, instead of --push-to-hub: it is mounted at /results; give "
            "--output-dir /results/NAME.",
            panel="Hugging Face Jobs",
            metavar="ORG/NAME",
        ),
    ] = None
    hf_job_package: Annotated[
        str | None,
        Option(
            help=(
                "Requirement by which the job installs hf-llc. (default: the source of this installation, "
                "or its version)"
            ),
            panel="Hugging Face Jobs",
            metavar="SPEC",
        ),
    ] = None
