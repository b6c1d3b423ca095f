"""How the Hub's failures are met: what passes is waited out, the rest become one sentence each (huggingface_hub)."""

import errno
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import (
    CorruptedCacheException,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_llc.errors import (
    AccessError,
    HfLlcError,
    NotFoundError,
    OfflineError,
    ResourceError,
    SettingsError,
    SourceError,
    is_read_only,
)
from hf_llc.hub.answers import AnswerError, understood, watch

Kind = Literal["model", "dataset", "space"]
Tell = Callable[[str], None]
T = TypeVar("T")

MAX_TRIES = 5
MAX_CONNECTIONS = 3  # tries where not even an answer comes
MAX_WAIT = 60.0  # seconds before one try
MAX_TOTAL_WAIT = 180.0  # seconds for one call; the Hub's rate limits are per 5 minutes

# The root of the HTTP library's errors, which huggingface_hub lets out: httpx2 under version 2, httpx under version 1.
_HTTP_ERROR: type[BaseException] = HfHubHTTPError.__bases__[0]
FAILURES = (
    OSError,
    HFValidationError,
    json.JSONDecodeError,
    CorruptedCacheException,
    RuntimeError,
    AnswerError,
    _HTTP_ERROR,
)
"""What calls of huggingface_hub raise for reasons outside this program; RuntimeError comes from hf_xet's transfers."""


def endpoint() -> str:
    """The Hub's address without credentials, for requests' messages and for telling Hub URLs from others."""
    try:
        parts = urlsplit(constants.ENDPOINT)
    except ValueError:
        return "HF_ENDPOINT"  # which is no address; the first request says so
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def patiently(
    call: Callable[[], T],
    tell: Tell,
    *,
    connections: int = MAX_CONNECTIONS,
    sleep: Callable[[float], None] | None = None,
) -> T:
    """What `call` returns, tried again after rate limits, server errors, broken connections and short downloads.

    Args:
        connections: how many tries without any answer from the Hub are enough.
        sleep: waits so many seconds; None is `time.sleep`.

    Raises:
        SettingsError: HF_ENDPOINT is no web address. What the last try raised.
    """
    waited = 0.0
    for attempt in range(1, MAX_TRIES + 1):
        try:
            watch()
            return call()
        except FAILURES as error:
            tries = MAX_TRIES if status_of(error) is not None else connections
            wait = wait_before_retry(error, attempt)
            if wait is None or attempt >= tries or waited + wait > MAX_TOTAL_WAIT:
                raise
            tell(f"{what_happened(error)}; trying again in {math.ceil(wait)} s ({attempt + 1} of {tries}).")
            (sleep or time.sleep)(wait)
            waited += wait
    raise AssertionError("unreachable: the last try returns or raises")


def ask(call: Callable[[], T], tell: Tell, *, connections: int = MAX_CONNECTIONS) -> T:
    """Call the Hub's API once, retried like `patiently`; an answer of another shape than documented is a failure.

    Raises:
        AnswerError: the last try had such an answer. SettingsError: HF_ENDPOINT is no web address.
        What the last try raised.
    """
    return patiently(lambda: understood(call), tell, connections=connections)


def unreachable(error: BaseException) -> bool:
    """True if the Hub gave no answer, or only that it cannot answer now."""
    error = _root(error)
    status = status_of(error)
    if status is not None:
        return status in {408, 429} or status >= 500
    return isinstance(error, (ConnectionError, TimeoutError, json.JSONDecodeError, AnswerError, _HTTP_ERROR))


def is_disk_full(error: BaseException) -> bool:
    """True if there was no room to write; hf_xet's transfers say so in words only."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return "No space left on device" in str(error)


@contextmanager
def explained(repo_id: str, kind: Kind) -> Iterator[None]:
    """Turns what huggingface_hub raises inside into our errors. A token never enters a message.

    Raises:
        NotFoundError, AccessError, OfflineError, SourceError, ResourceError, SettingsError: whichever it was.
    """
    try:
        yield
    except FAILURES as error:
        raise translate(error, repo_id, kind) from error


def page(repo_id: str, kind: Kind) -> str:
    """The repository's web page."""
    return f"{endpoint()}/{'' if kind == 'model' else f'{kind}s/'}{repo_id}"


def translate(error: BaseException, repo_id: str, kind: Kind) -> HfLlcError:
    """Our error for one of huggingface_hub's."""
    error = _root(error)
    status = status_of(error)
    what = f"{kind} {repo_id}"
    if isinstance(error, HFValidationError):
        return SettingsError(f"{repo_id!r} is not a Hub id; it should look like org/name.")
    if isinstance(error, GatedRepoError):
        return AccessError(
            f"The {what} is gated: ask for access at {page(repo_id, kind)}, then log in with `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return NotFoundError(
            f"There is no {what} at {endpoint()}, or it is private; check the spelling, or log in with `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return NotFoundError(f"The {what} has no such revision; look at {page(repo_id, kind)}/tree/main.")
    if isinstance(error, RemoteEntryNotFoundError):
        return NotFoundError(f"A file of the {what} is gone from {page(repo_id, kind)}.")
    if status in {401, 403}:
        return AccessError(
            f"You may not read the {what}; ask for access at {page(repo_id, kind)}, then log in with `hf auth login`."
        )
    if isinstance(error, AnswerError | json.JSONDecodeError):
        return SourceError(f"{what_happened(error)}, when asked for the {what}; check HF_ENDPOINT and the network.")
    if status is not None:
        return SourceError(f"{what_happened(error)} when asked for the {what}; try again later.")
    if unreachable(error):
        return OfflineError(f"{what_happened(error)}, and the {what} is not in the cache; try again with a network.")
    if isinstance(error, LocalEntryNotFoundError):
        return OfflineError(f"The {what} is incomplete on this machine; try again with a network.")
    return _translate_local(error, what)


def _translate_local(error: BaseException, what: str) -> HfLlcError:
    if is_disk_full(error):
        return ResourceError(
            f"The disk of {constants.HF_HUB_CACHE} is full; free some space, or set HF_HOME to another disk."
        )
    if isinstance(error, OSError) and is_read_only(error):
        place = error.filename or constants.HF_HUB_CACHE
        return ResourceError(f"{place} cannot be written; set HF_HOME to a folder of yours.")
    if _is_short_download(error):
        return SourceError(f"The download of the {what} kept breaking off; try again.")
    return SourceError(f"The {what} could not be read ({type(error).__name__}); set HF_DEBUG=1 to see more.")


def _root(error: BaseException) -> BaseException:
    """The Hub's answer behind what huggingface_hub and datasets raise when their caches are no help."""
    cause = error.__cause__
    if isinstance(error, HfHubHTTPError | OfflineModeIsEnabled) or not isinstance(error, OSError):
        return error
    return _root(cause) if isinstance(cause, FAILURES) else error


def status_of(error: BaseException) -> int | None:
    """The status that the Hub answered with, None if it did not answer."""
    error = _root(error)
    return int(error.response.status_code) if isinstance(error, HfHubHTTPError) else None


def _is_short_download(error: BaseException) -> bool:
    return type(error) is OSError and "Consistency check failed" in str(error)


def wait_before_retry(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait, as the server asks or doubling from half a second; None if trying again is no use."""
    error = _root(error)
    if isinstance(error, OfflineModeIsEnabled) or not (unreachable(error) or _is_short_download(error)):
        return None
    asked = asked_wait(error)
    return min(0.5 * 2 ** (attempt - 1) if asked is None else asked, MAX_WAIT)


def asked_wait(error: BaseException) -> float | None:
    """Seconds from `Retry-After: 3` or `RateLimit: "api";r=0;t=3`; None if the Hub names none."""
    error = _root(error)
    if not isinstance(error, HfHubHTTPError):
        return None
    headers = error.response.headers
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    limit = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
    return float(limit[1]) if limit else None


def what_happened(error: BaseException) -> str:
    """The failure as the beginning of a sentence."""
    error = _root(error)
    status = status_of(error)
    if status == 429:
        return f"{endpoint()} limits requests (429)"
    if status is not None:
        return f"{endpoint()} answered {status}"
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if _is_short_download(error):
        return "A download broke off"
    if isinstance(error, AnswerError):
        return f"{endpoint()} gave an invalid answer ({error})"
    if isinstance(error, json.JSONDecodeError):
        return f"{endpoint()} gave an invalid answer (it is not JSON)"
    return f"{endpoint()} cannot be reached ({type(error).__name__})"
