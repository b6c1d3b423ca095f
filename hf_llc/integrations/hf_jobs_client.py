"""Commands sent to Hugging Face Jobs (huggingface_hub)."""

import json
import warnings
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_llc.errors import AccessError, HfLlcError, NotFoundError, OfflineError, SettingsError, SourceError
from hf_llc.execution.redaction import add_secret, watch_logs
from hf_llc.hub.errors import FAILURES, Tell, endpoint, patiently, status_of, what_happened

TAKEN_FOR_FILES = (".py", ".sh", ".yaml", ".yml", ".toml")
"""Endings of words that the client looks for on this disk, and fails if they are not there."""
SECRET = "HF_TOKEN"


class Started(NamedTuple):
    """A job by its id, and the page that shows it."""

    id: str
    url: str


def token() -> str:
    """The token in use.

    Raises:
        AccessError: there is none.
    """
    secret = huggingface_hub.get_token()
    if secret is None:
        raise AccessError("--hf-job needs a token: log in with `hf auth login`, or set HF_TOKEN.")
    # The client logs what it sends, as curl commands, where HF_DEBUG is set.
    add_secret(secret)
    watch_logs()
    return secret


def require_sendable(arguments: Sequence[str]) -> None:
    """Raise if the client would not send each word as it is, or one of them holds the token.

    Raises:
        SettingsError: it would upload a file in place of a word, or take one for a file that is missing.
    """
    secret = token()
    for word in arguments:
        if secret in word:
            raise SettingsError("The command contains the token, which the job's page would show; leave it out.")
        if Path(word).is_file():
            raise SettingsError(f"{word} is a local file, which a job cannot see; rename or move it.")
        if Path(word).suffix in TAKEN_FOR_FILES:
            raise SettingsError(f"{word} would be read as a local file, which a job cannot see; use another name.")


def flavors(tell: Tell) -> list[str]:
    """Names of the hardware that there is; none if the Hub does not say."""
    try:
        return [each.name for each in patiently(HfApi().list_jobs_hardware, tell)]
    except FAILURES:
        return []


PACKAGE = "hf-llc[peft]"


def package() -> str:
    """The requirement by which a job gets this program: from where this one came, else by its version.

    With peft, since whether a model is an adapter shows when its files are read.
    """
    installed = distribution("hf-llc")
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    url, vcs = origin.get("url", ""), origin.get("vcs_info")
    if vcs and url.startswith("https://"):
        return f"{PACKAGE} @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"{PACKAGE} @ {url}" if url.startswith("https://") else f"{PACKAGE}=={installed.version}"


def start(
    arguments: Sequence[str], *, flavor: str, seconds: int, requirement: str, bucket: str | None, mounted: str
) -> Started:
    """The job that runs `hf-llc` with these words; the token goes with it as a secret. Never tried twice.

    Args:
        bucket: id of one that is there, to be mounted at `mounted`.

    Raises:
        SettingsError: the Hub refuses what was asked for. AccessError: the token may not, or the account cannot pay.
        NotFoundError, OfflineError, SourceError: whichever it was.
    """
    # One object for both: what reads the token twice could read two.
    secret = token()
    if secret in requirement:
        raise SettingsError("--hf-job-package contains the token, which the job's page would show; leave it out.")
    more: dict[str, Any] = {"volumes": [_volume(bucket, mounted)]} if bucket else {}
    try:
        with warnings.catch_warnings():
            # It calls itself experimental on stderr each time.
            warnings.simplefilter("ignore")
            job = HfApi(token=secret).run_uv_job(
                "hf-llc",
                script_args=list(arguments),
                dependencies=[requirement],
                secrets={SECRET: secret},
                flavor=flavor,
                timeout=seconds,
                **more,
            )
    except FAILURES as error:
        raise _translate(error) from error
    return Started(job.id, job.url)


def _volume(bucket: str, mounted: str) -> Any:
    kind = getattr(huggingface_hub, "Volume", None)
    if kind is None:
        raise SettingsError("This huggingface_hub cannot mount buckets; upgrade it, or give --push-to-hub.")
    return kind(type="bucket", source=bucket, mount_path=mounted, read_only=False)


def _translate(error: BaseException) -> HfLlcError:
    status, place = status_of(error), endpoint()
    answer = " ".join((getattr(error, "server_message", None) or "").split())[:200]
    if status == 401:
        return AccessError(f"{place} does not know the token in use; log in with `hf auth login`.")
    if status == 402:
        return AccessError(f"Jobs cost money, and the account has none to spend (402); see {place}/settings/billing.")
    if status == 403:
        return AccessError(
            f"The token in use may not start jobs (403); create one that may at {place}/settings/tokens."
        )
    if status == 404:
        return NotFoundError(
            f"{place} offers no jobs to this account, or has no such bucket (404); see {place}/docs/hub/jobs."
        )
    if status == 429:
        return SourceError(f"{what_happened(error)}; no job was started. Try again in a few minutes.")
    if isinstance(error, HfHubHTTPError) and status is not None and status < 500:
        return SettingsError(f"{place} refuses the job: {answer or status}.")
    lost = f"whether a job was started is not known; look at {place}/settings/jobs before trying again."
    return (SourceError if status else OfflineError)(f"{what_happened(error)}: {lost}")
