"""`--hf-job`: the command is sent to Hugging Face Jobs in place of being run here."""

import sys
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import typer

from hf_llc.errors import LaunchError, SettingsError

from .output import Form, write_agent, write_json, write_line, write_pairs
from .progress import ProgressBar
from .push_to_hub import require_permission

if TYPE_CHECKING:
    from hf_llc.hub.publication import PublishSettings
    from hf_llc.integrations.hf_jobs import JobSettings, SentJob

OPTION = "--hf-job"


def submitted(
    context: typer.Context,
    push: "PublishSettings | None",
    form: Form,
    operations: Callable[[], float] | None = None,
) -> bool:
    """False without `--hf-job`; else sends the command of this process as a job, says where it runs, and is True.

    Args:
        operations: floating-point operations of the run; None if they are not known beforehand.

    Raises:
        SettingsError: the job could not do what is asked, or its results would be lost. HfLlcError: see `hf_jobs.send`.
    """
    from hf_llc.execution.machine import launched
    from hf_llc.integrations.hf_jobs import require_visible, send

    if context.params["hf_job"] is None:
        if orphans := [
            name for name in ("timeout", "bucket", "package") if context.params[f"hf_job_{name}"] is not None
        ]:
            raise SettingsError(f"--hf-job-{orphans[0]} needs --hf-job FLAVOR: add it.")
        return False
    settings = _settings(context)
    if launched():
        raise LaunchError("--hf-job must not run below a launcher: run the command by itself.")
    _refuse_what_stays_here(context)
    for dataset in context.params["dataset"]:
        require_visible(context.params["model"], dataset, context.params.get("base_model"))
    _require_place(context, settings, push)
    arguments = own_words(sys.argv[1:])
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        require_permission(context.params["model"], push, observer)
        _write(send(arguments, settings, observer, operations), form)
    return True


def own_words(arguments: Sequence[str]) -> list[str]:
    """The words of a command without the options that send it."""
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        if word == "--":
            return [*kept, word, *rest]
        name, joined, _ = word.partition("=")
        if name == OPTION or name.startswith(f"{OPTION}-"):
            if not joined:
                next(rest)
            continue
        kept.append(word)
    return kept


def _settings(context: typer.Context) -> "JobSettings":
    from hf_llc.integrations.hf_jobs import JobSettings, seconds_of

    parameters = context.params
    timeout = parameters["hf_job_timeout"]
    return JobSettings(
        flavor=parameters["hf_job"],
        seconds=None if timeout is None else seconds_of(timeout),
        bucket=parameters["hf_job_bucket"],
        requirement=parameters["hf_job_package"],
    )


def _refuse_what_stays_here(context: typer.Context) -> None:
    """Raise SettingsError if an option names a file of this disk or asks for what a job cannot do."""
    parameters = context.params
    if parameters["dry_run"]:
        raise SettingsError("--dry-run and --hf-job exclude each other: leave out one of them.")
    if (parameters["num_machines"] or 1) > 1:
        raise SettingsError(
            "--hf-job starts one machine: leave out --num-machines, or send a scan as several jobs with --shard I/N."
        )
    for option, advice in (
        ("settings", "give its settings on the command line"),
        ("step_map", "choose checkpoints with their step in their names"),
    ):
        if parameters.get(option) is not None:
            name = option.replace("_", "-")
            raise SettingsError(f"--{name} {parameters[option]} is a local file, which a job cannot see: {advice}.")
    for text in parameters.get("revisions") or []:
        for term in text.split(","):
            if term.removeprefix("repos:").startswith("@"):
                raise SettingsError(f"--revisions {term} is a local file, which a job cannot see: list the names.")


def _require_place(context: typer.Context, settings: "JobSettings", push: "PublishSettings | None") -> None:
    from hf_llc.integrations.hf_jobs import MOUNTED

    folder = context.params["output_dir"]
    mounted = folder is not None and PurePosixPath(MOUNTED) in PurePosixPath(folder).parents
    if settings.bucket is not None and not mounted:
        raise SettingsError(
            f"--hf-job-bucket is mounted at {MOUNTED} in the job: give --output-dir {MOUNTED}/NAME to write there."
        )
    if settings.bucket is None and mounted:
        raise SettingsError(
            f"--output-dir {folder} needs --hf-job-bucket ORG/NAME, which is mounted at {MOUNTED} in the job."
        )
    if settings.bucket is None and push is None:
        raise SettingsError(
            "The disk of a job is deleted when it ends: give --push-to-hub (with --repo or "
            "--dataset-repo) to keep the results, or --hf-job-bucket to keep the whole run."
        )


def _write(sent: "SentJob", form: Form) -> None:
    if form is Form.JSON:
        write_json(sent.to_dict())
    elif form is Form.AGENT:
        write_agent(sent.to_dict())
    elif form is Form.QUIET:
        write_line(sent.job)
    else:
        import shlex

        from hf_llc.results.progress import duration

        rows = [
            ("job", sent.job),
            ("page", sent.url),
            ("flavor", sent.flavor),
            ("stopped after", duration(sent.timeout)),
        ]
        write_pairs("Sent", [*rows, ("command", shlex.join(sent.command))])
