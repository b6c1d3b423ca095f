"""Option types shared by commands. Their defaults are those of hf_llc.settings.requested."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from hf_llc.settings.requested import (
    LARGEST_INTEGER,
    LONGEST,
    MOST_CHAINS,
    MOST_PROCESSES,
    MOST_TOKENS,
    DataSettings,
    SamplerSettings,
)

SIZES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def bytes_of(text: str) -> int:
    """Bytes from `20GB`, `1.5 TiB` or `300000`.

    Raises:
        BadParameter: it is no size above 0.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", text.lower())
    size = float(found[1]) * SIZES[found[2] or ""] if found else 0.0
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


DATA = DataSettings()
SAMPLER = SamplerSettings()

_MODEL, _TEXT, _CHAINS, _WHERE, _OUT, _HUB = "Model", "Text", "Sampling", "Machine", "Output", "Publishing"

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
        rich_help_panel=_MODEL,
    ),
]
Every = Annotated[
    int | None,
    typer.Option("--every", help="Keep only steps that are a multiple of this.", rich_help_panel=_MODEL),
]
TokensPerStep = Annotated[
    int | None,
    typer.Option(
        "--tokens-per-step",
        min=1,
        max=MOST_TOKENS,
        help="Training tokens in a step, where names say only steps.",
        rich_help_panel=_MODEL,
    ),
]
StepMap = Annotated[
    Path | None,
    typer.Option(
        "--step-map",
        parser=path_of,
        metavar="<path>",
        help="File of lines NAME STEP, for names that do not say it.",
        rich_help_panel=_MODEL,
    ),
]
AllowDuplicates = Annotated[
    bool,
    typer.Option(
        "--allow-duplicates",
        help="Estimate checkpoints with the very same weights one by one, and draw them so.",
        rich_help_panel=_MODEL,
    ),
]
Revision = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of the model.", rich_help_panel=_MODEL)
]
GgufFile = Annotated[
    str | None, typer.Option("--gguf-file", help="GGUF file inside the repository.", rich_help_panel=_MODEL)
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the model code that the repository ships.", rich_help_panel=_MODEL),
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
Dataset = Annotated[
    str,
    typer.Option("--dataset", help="Hub dataset id, or a local .txt, .jsonl or .parquet file.", rich_help_panel=_TEXT),
]
DatasetConfig = Annotated[
    str | None, typer.Option("--dataset-config", help="Its configuration.", rich_help_panel=_TEXT)
]
Split = Annotated[str, typer.Option("--split", help="Its split.", rich_help_panel=_TEXT)]
DatasetRevision = Annotated[
    str | None, typer.Option("--dataset-revision", help="Its branch, tag or commit.", rich_help_panel=_TEXT)
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column", help="Column that holds the text. (default: text, or the only one)", rich_help_panel=_TEXT
    ),
]
MaxSequences = Annotated[
    int,
    typer.Option("--max-sequences", help="Use at most this many packed sequences; 0 for all.", rich_help_panel=_TEXT),
]
ContextLength = Annotated[
    int | None,
    typer.Option(
        "--context-length",
        help="Tokens per sequence. (default: min(1024, the model's own))",
        rich_help_panel=_TEXT,
    ),
]
CHAINS = "auto, sgld (the paper's), sgld-lm, rmsprop-sgld, baoab, badodab, sgnht or mala"
SAMPLERS = f"{CHAINS}; or importance: independent draws, without chains."
Sampler = Annotated[str, typer.Option("--sampler", help=SAMPLERS, rich_help_panel=_CHAINS)]
NBeta = Annotated[
    float | None,
    typer.Option("--n-beta", help="nβ, the inverse temperature times n. (default: n / log n)", rich_help_panel=_CHAINS),
]
Gamma = Annotated[
    float | None,
    typer.Option(
        "--gamma",
        help="γ, the localisation. (default: measured, so that the loss stays close)",
        rich_help_panel=_CHAINS,
    ),
]
Lr = Annotated[
    float | None,
    typer.Option("--lr", help="ε, the step size. (default: from the measured curvature)", rich_help_panel=_CHAINS),
]
BurnInLr = Annotated[
    float | None,
    typer.Option(
        "--burn-in-lr",
        help="ε that the burn-in begins with and falls from. (default: --lr, or from stability where --lr is left out)",
        rich_help_panel=_CHAINS,
    ),
]
Momentum = Annotated[
    float | None,
    typer.Option(
        "--momentum",
        help="Share of momentum that a step keeps. (default: from gradient noise)",
        rich_help_panel=_CHAINS,
    ),
]
Start = Annotated[
    str,
    typer.Option(
        "--start",
        help="Where chains begin: anchor (the weights themselves), localiser (a draw around them), both, laplace (a "
        "draw that knows the curvature) or auto.",
        rich_help_panel=_CHAINS,
    ),
]
Gradient = Annotated[
    str,
    typer.Option(
        "--gradient",
        help="minibatch, control-variate (less noise, twice the cost) or auto.",
        rich_help_panel=_CHAINS,
    ),
]
Batches = Annotated[
    str,
    typer.Option(
        "--batches",
        help="independent, reshuffled (every sequence once an epoch: its noise cancels) or auto.",
        rich_help_panel=_CHAINS,
    ),
]
Baseline = Annotated[
    str,
    typer.Option(
        "--baseline",
        help="What a draw's loss is compared with: paired (the loss of the same sequences at the weights themselves), "
        "linear (that and its slope: less noise, a third of a step more a draw) or auto.",
        rich_help_panel=_CHAINS,
    ),
]
Chains = Annotated[
    int | None,
    typer.Option(
        "--chains",
        help="Independent chains; fewer than 4 are never called converged. (default: 4; with --target-stderr or "
        "--budget as many short ones as it takes)",
        rich_help_panel=_CHAINS,
    ),
]
Draws = Annotated[
    int | None,
    typer.Option(
        "--draws",
        help="Draws per chain. (default: 200; where --target-stderr or --budget end chains about 50; of importance as "
        "many as these need)",
        rich_help_panel=_CHAINS,
    ),
]
BurnIn = Annotated[
    int | None,
    typer.Option(
        "--burn-in", help="Steps thrown away first. (default: from the relaxation time)", rich_help_panel=_CHAINS
    ),
]
Thin = Annotated[int, typer.Option("--thin", help="Steps from one draw to the next.", rich_help_panel=_CHAINS)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Sequences per minibatch. (default: 32; of importance about 1,024 tokens)",
        rich_help_panel=_CHAINS,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Every random number derives from it.", rich_help_panel=_CHAINS)]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--params",
        help="Move only parameters that match this glob or re:REGEX (repeatable): the weight-refined LLC.",
        rich_help_panel=_CHAINS,
    ),
]
TargetStderr = Annotated[
    float | None,
    typer.Option(
        "--target-stderr",
        help="Go on until the standard error is this share of the LLC, or say why it will not be. (default: 0.05 with "
        "--budget and of importance; else as many chains as --chains)",
        rich_help_panel=_CHAINS,
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        parser=seconds_of,
        metavar="TIME",
        help="Stop drawing after this time (90s, 15m, 2h) from the start of the command, with what there is.",
        rich_help_panel=_CHAINS,
    ),
]
MaxChains = Annotated[
    int,
    typer.Option(
        "--max-chains",
        min=2,
        max=MOST_CHAINS,
        help="At most so many, with --target-stderr or --budget.",
        rich_help_panel=_CHAINS,
    ),
]
CrossCheck = Annotated[
    str | None,
    typer.Option(
        "--cross-check",
        help="Also the number by another way: sgld, short chains beside independent draws; draws, independent draws "
        "beside chains; or lanczos, the loss's quadratic part without sampling.",
        rich_help_panel=_CHAINS,
    ),
]
Checks = Annotated[
    bool,
    typer.Option(
        "--checks/--no-checks",
        help="Also run short chains at ε/2, without noise, and at a larger γ.",
        rich_help_panel=_CHAINS,
    ),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="float32, or bfloat16: matrix products in 16 bits, for GPUs; weights, noise and updates stay float32.",
        rich_help_panel=_WHERE,
    ),
]
MicroBatchSize = Annotated[
    int | None,
    typer.Option(
        "--micro-batch-size",
        help="Sequences per forward pass; lower it when memory is short. (default: by size of the logits)",
        rich_help_panel=_WHERE,
    ),
]
NumProcesses = Annotated[
    int | None,
    typer.Option(
        "--num-processes",
        min=1,
        max=MOST_PROCESSES,
        help="Processes to share the chains. (default: one per GPU; on a CPU by chains, cores and memory)",
        rich_help_panel=_WHERE,
    ),
]
DevicesPerChain = Annotated[
    int,
    typer.Option(
        "--devices-per-chain",
        help="Devices that hold one model together (FSDP2), for a model too big for one; --num-processes is a multiple "
        "of it.",
        rich_help_panel=_WHERE,
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda or mps. (default: the best there is)", rich_help_panel=_WHERE)
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="CPU threads per process. (default: cores / chains)", rich_help_panel=_WHERE),
]
MaxDisk = Annotated[
    int | None,
    typer.Option(
        "--max-disk",
        metavar="SIZE",
        parser=bytes_of,
        help="Room for downloads, such as 20GB: they go to the scan's folder and are removed once used. (default: they "
        "go to the Hub's cache and stay)",
        rich_help_panel=_WHERE,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        parser=path_of,
        metavar="<path>",
        help="Folder of the run; one that is there is resumed. (default: hf-llc-runs/<model>/<sha>/<key>)",
        rich_help_panel=_OUT,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print size, memory, tokens and time, and stop before any download.", rich_help_panel=_OUT
    ),
]
Trackio = Annotated[
    str | None,
    typer.Option(
        "--trackio",
        metavar="PROJECT",
        help=r"Report to this Trackio project: pip install 'hf-llc\[trackio]'.",
        rich_help_panel=_OUT,
    ),
]
ReportTo = Annotated[
    list[str] | None,
    typer.Option(
        "--report-to",
        help="trackio (project hf-llc) or tensorboard (folder tensorboard of the run): each point when it is there; "
        "repeatable.",
        rich_help_panel=_OUT,
    ),
]
X = Annotated[
    str,
    typer.Option("--x", help="x axis of the pictures: log, linear or auto.", rich_help_panel=_OUT),
]
XTokens = Annotated[
    bool,
    typer.Option("--x-tokens", help="Training tokens along x, where all checkpoints say them.", rich_help_panel=_OUT),
]
Repo = Annotated[str | None, typer.Option("--repo", help="The model's repository on the Hub.", rich_help_panel=_HUB)]
DatasetRepo = Annotated[
    str | None,
    typer.Option("--dataset-repo", help="A dataset repository; made if it is not there.", rich_help_panel=_HUB),
]
CreatePr = Annotated[
    bool,
    typer.Option(
        "--create-pr", help="Propose it in a pull request; one of yours that is open is updated.", rich_help_panel=_HUB
    ),
]
Private = Annotated[
    bool, typer.Option("--private", help="Make a new dataset repository private.", rich_help_panel=_HUB)
]
PushToHub = Annotated[
    bool,
    typer.Option("--push-to-hub", help="Publish at the end, as hf-llc publish --yes does.", rich_help_panel=_HUB),
]
Format = Annotated[str, typer.Option("--format", help="human, agent (key=value), json or quiet.", rich_help_panel=_OUT)]
Json = Annotated[bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=_OUT)]
Quiet = Annotated[
    bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the number alone.", rich_help_panel=_OUT)
]
QuietNames = Annotated[
    bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the names alone.", rich_help_panel=_OUT)
]
