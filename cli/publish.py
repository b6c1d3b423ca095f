"""`hf-llc publish`: a finished run to the Hub."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_llc.errors import SettingsError
from hf_llc.results.progress import size

from . import options as o
from .output import Form, chosen, write_agent, write_json, write_line, write_lines, write_pairs
from .progress import ProgressBar
from .signals import INTERRUPTED

if TYPE_CHECKING:
    from hf_llc.hub.publication import Change, Publication
    from hf_llc.report.draft import Draft
    from hf_llc.results.progress import Observer

Run = Annotated[
    str,
    typer.Argument(help="Run folder of scan, merge, estimate or demo (its run_dir), or hf://… of a published run."),
]
Headline = Annotated[
    list[str] | None,
    typer.Option("--headline", help="Revision whose number becomes metadata too (repeatable). (default: the last one)"),
]
Message = Annotated[str | None, typer.Option("--message", "-m", help="Title of the commit or pull request.")]
Components = Annotated[
    Path | None,
    typer.Option(
        "--components",
        parser=o.path_of,
        metavar="<path>",
        help="Folder of an estimate or scan of several components: their table and heat map go to the card too.",
    ),
]
Space = Annotated[
    str | None,
    typer.Option(
        "--space",
        help="A static Space for the page that hf-llc report writes, in place of a card; created if it does not exist.",
        rich_help_panel="Publishing",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the full diff, and write nothing to the Hub.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Short for --format quiet: the address alone.")]


def publish(
    run: Run,
    repo: o.Repo = None,
    dataset_repo: o.DatasetRepo = None,
    space: Space = None,
    create_pr: o.CreatePr = False,
    headline: Headline = None,
    private: o.Private = False,
    message: Message = None,
    components: Components = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    format: o.Format = "auto",
    as_json: o.Json = False,
    quiet: Quiet = False,
) -> None:
    """Publish a finished run: metadata and a section of the model's card, every number, settings, picture.

    Says where it would go, shows what would change, and asks. One commit; of a card that is there, only what belongs
    to hf-llc is added or replaced. Without --repo or --dataset-repo it goes to the model's repository if you may write
    to it, else to a dataset repository of yours. The same command again replaces, and never adds twice.

    Examples:

    \b
    hf-llc publish hf-llc-runs/me__my-model/scan-0123456789ab
    hf-llc publish RUN --repo me/my-model --headline step512 --dry-run
    hf-llc publish RUN --repo EleutherAI/pythia-70m --create-pr
    hf-llc publish RUN --dataset-repo me/llc-EleutherAI__pythia-70m --private --yes
    hf-llc publish RUN --space me/llc-my-model
    """
    form = chosen(format, as_json, quiet)
    if not (yes or dry_run) and not (form is Form.HUMAN and sys.stdin is not None and sys.stdin.isatty()):
        raise SettingsError(
            "Publishing needs a confirmation, and stdin is no terminal: see the changes with --dry-run, "
            "then publish with --yes."
        )
    from hf_llc.hub.publication import PublishSettings
    from hf_llc.report.publish import prepare, push

    settings = PublishSettings(
        repo=repo,
        dataset_repo=dataset_repo,
        space=space,
        create_pr=create_pr,
        headline=tuple(headline or ()),
        private=private,
        message=message,
        components=None if components is None else str(components),
    )
    with ProgressBar(quiet=form is Form.QUIET) as observer:
        draft = prepare(run, settings, observer=observer)
        if dry_run:
            _write_plan(draft, form, observer)
            return
        if not yes:
            for line in where(draft):
                observer.tell(line)
            if any(change.state != "same" for change in draft.changes) and (code := _refused(draft)):
                observer.tell(f"Nothing was written to the Hub. The files are in {draft.folder}.")
                raise typer.Exit(code)
        _write(push(draft, observer=observer), form)
        observer.tell(f"A copy of the files is in {draft.folder}.")


def where(draft: "Draft") -> list[str]:
    """Where a draft goes and what becomes of each file, in lines for people."""
    target = draft.target
    new = "" if target.exists else f", a new {'private' if target.private else 'public'} repository"
    open_one = draft.base.pull_request if draft.base is not None else None
    how = "as one commit"
    if target.create_pr:
        how = (
            "in a pull request" if open_one is None else f"as one more commit of pull request {open_one}, which is open"
        )
    lines = [f"To {draft.url}{new}, {how}:"]
    return lines + [f"  {change.path}: {_state(change)}" for change in draft.changes]


def _state(change: "Change") -> str:
    if change.state == "same" or not change.diff:
        return f"{change.state}, {size(change.size)}"
    body = change.diff.splitlines()[2:]
    added, removed = (sum(line.startswith(sign) for line in body) for sign in "+-")
    return f"{change.state}, {added} lines added, {removed} removed"


def _refused(draft: "Draft") -> int:
    """Shows what becomes of the card, and asks: 0 for a yes, else the exit code. No answer is a no."""
    card = draft.changes[0]
    write_lines(f"\n{card.diff}", stderr=True)
    write_lines("\nPublish this? [y/N] ", stderr=True)
    try:
        return 0 if sys.stdin.readline().strip().lower() in {"y", "yes"} else 1
    except KeyboardInterrupt:
        write_lines("\n", stderr=True)
        return INTERRUPTED


def _write_plan(draft: "Draft", form: Form, observer: "Observer") -> None:
    pull_request = draft.base.pull_request if draft.base is not None else None
    changed = tuple(change.path for change in draft.changes if change.state != "same")
    plan = draft.to_publication(None, pull_request, changed).to_dict()
    diff = "".join(change.diff for change in draft.changes)
    if form is Form.JSON:
        write_json({**plan, "diff": diff})
        return
    for line in where(draft):
        observer.tell(line)
    write_lines(diff)


def _write(publication: "Publication", form: Form) -> None:
    if form is Form.JSON:
        write_json(publication.to_dict())
    elif form is Form.AGENT:
        write_agent(publication.to_dict())
    elif form is Form.QUIET:
        write_line(publication.url)
    else:
        write_pairs("Published" if publication.changed else "Already published, nothing changed", rows(publication))


def rows(publication: "Publication") -> list[tuple[str, str]]:
    """Names and values of the human table."""
    listed = [
        ("page", publication.url),
        ("repository", f"{publication.repo} ({publication.repo_type})"),
        ("commit", publication.commit or ""),
    ]
    listed += [("pull request", str(publication.pull_request))] if publication.pull_request is not None else []
    return [*listed, ("changed", ", ".join(publication.changed) or "nothing")]
