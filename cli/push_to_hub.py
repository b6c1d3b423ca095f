"""`--push-to-hub`: what `estimate` and `scan` do at their end, asked about before they begin."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hf_llc.errors import SettingsError

if TYPE_CHECKING:
    from hf_llc.hub.publication import PublishSettings
    from hf_llc.results.progress import Observer

    from .options import PushOptions


def asked_push(asked: "PushOptions") -> "PublishSettings | None":
    """Where to publish at the end; None if that was not asked for.

    Raises:
        SettingsError: options that say where, without the one that says so; or see `PublishSettings`.
    """
    from hf_llc.hub.publication import PublishSettings

    if not asked.push_to_hub:
        if asked.repo is not None or asked.dataset_repo is not None or asked.create_pr or asked.private:
            raise SettingsError("--repo, --dataset-repo, --create-pr and --private need --push-to-hub: add it.")
        return None
    return PublishSettings(
        repo=asked.repo, dataset_repo=asked.dataset_repo, create_pr=asked.create_pr, private=asked.private
    )


def require_permission(model: str, push: "PublishSettings | None", observer: "Observer") -> None:
    """Asks the Hub before hours are spent whether the result may be published.

    Raises:
        HfLlcError: it may not; see `destination.require_writable`.
    """
    # Of a user's own launch, one process asks for all.
    if push is not None and os.environ.get("RANK", "0") == "0":
        from hf_llc.report.destination import model_place, require_writable

        require_writable(*model_place(model), push, observer)


def push_run(run_dir: str, push: "PublishSettings | None", observer: "Observer") -> None:
    """Publishes a run that is finished and kept.

    Raises:
        PublishError: it was not published; the message has the command to try again.
    """
    if push is not None:
        from hf_llc.report.publish import publish_finished

        publication = publish_finished(Path(run_dir), push, observer=observer)
        observer.tell(
            f"Published at {publication.url}."
            if publication.changed
            else f"Already published at {publication.url}, nothing changed."
        )
