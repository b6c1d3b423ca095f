"""What the Hub's answers must be like; whatever else a server, a proxy or a login page sends is refused."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePosixPath
from typing import Any, TypeVar

from huggingface_hub import constants, get_session
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, HFValidationError
from huggingface_hub.hf_api import RepoFile

from hf_llc.errors import SettingsError
from hf_llc.hub.address import require_web_address
from hf_llc.hub.reference import is_commit, is_id

T = TypeVar("T")

MOST_REQUESTS = 2000
"""Requests of one call. The longest listings that are known have about 1,500 names, a thousand to a page."""
LONGEST_DETAIL = 80
LONGEST_NAME = 96
"""Characters of the name of an account; huggingface_hub (2.4) allows an id that many."""

_HTTP: Any = sys.modules[HfHubHTTPError.__bases__[0].__module__.partition(".")[0]]  # httpx2, or httpx
_SHAPE_ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
    OverflowError,
    _HTTP.InvalidURL,
)
"""What huggingface_hub raises where an answer lacks a field, has another type than it takes, or names no address."""


class AnswerError(Exception):
    """An answer that no Hub gives; the text says in a few words what is wrong with it."""


def understood(call: Callable[[], T]) -> T:
    """What `call` returns, one call of huggingface_hub's API.

    Raises:
        SettingsError: see `watch`.
        AnswerError: the Hub's answer is not JSON, or of another shape than documented; a page of it refers to one that
            was there before, or there are more than MOST_REQUESTS.
        Whatever else `call` raises, the Hub's refusals (a status, an invalid id, an invalid card) among them.
    """
    try:
        with _bounded():
            return call()
    except (HfHubHTTPError, HFValidationError):
        raise
    except json.JSONDecodeError as error:
        raise AnswerError("it is not JSON") from error
    except UnicodeDecodeError as error:
        raise AnswerError("it is not UTF-8") from error
    except _SHAPE_ERRORS as error:
        if isinstance(error.__cause__, BadRequestError):
            raise  # what the Hub has against the content of a card
        raise AnswerError(_detail(error)) from error


def _detail(error: BaseException) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    what = f"it lacks {text}" if isinstance(error, KeyError) else f"{type(error).__name__}: {text}"
    return what if len(what) <= LONGEST_DETAIL else what[: LONGEST_DETAIL - 1] + "…"


def commit_of(value: object) -> str:
    """A full commit SHA.

    Raises:
        AnswerError: it is none.
    """
    if not isinstance(value, str) or not is_commit(value):
        raise AnswerError(f"{_shown(value)} is no commit")
    return value


def text_of(value: object, what: str) -> str:
    """A text that is not empty.

    Raises:
        AnswerError: it is none; the message calls it `what`.
    """
    if not isinstance(value, str) or not value:
        raise AnswerError(f"{_shown(value)} is no {what}")
    return value


def account_of(value: object) -> str:
    """The name of a user or an organization, with which ids of repositories begin.

    Raises:
        AnswerError: it is none.
    """
    name = text_of(value, "name of an account")
    if "/" in name or len(name) > LONGEST_NAME or not is_id(name):
        raise AnswerError(f"{_shown(value)} is no name of an account")
    return name


def revision_of(value: object) -> str:
    """The name of a branch or tag, in which git allows no space, no control character, no `..` and no empty part.

    Raises:
        AnswerError: it is none.
    """
    name = text_of(value, "name of a revision")
    if (
        ".." in name
        or "" in name.split("/")
        or any(c.isspace() or c in "\\~^:?*[" or ord(c) < 32 or ord(c) == 127 for c in name)
    ):
        raise AnswerError(f"{_shown(value)} is no name of a revision")
    return name


def files_of(entries: Iterable[object]) -> list[RepoFile]:
    """The files of a listing, folders left out.

    Raises:
        AnswerError: a path leads out of its repository or stands there twice, or a size or hash is none.
    """
    files: dict[str, RepoFile] = {}
    for entry in entries:
        if not isinstance(entry, RepoFile):
            continue
        path = inner_path(entry.path)
        if path in files:
            raise AnswerError(f"it lists {_shown(path)} twice")
        if not _is_size(entry.size):
            raise AnswerError(f"{_shown(entry.size)} is no size of {_shown(path)}")
        text_of(entry.blob_id, f"hash of {_shown(path)}")
        if entry.lfs is not None and not (_is_sha256(entry.lfs.sha256) and entry.lfs.size == entry.size):
            raise AnswerError(f"the size or the hash of {_shown(path)} is none")
        _require_name(str(entry.xet_hash or ""), f"the content of {_shown(path)}")
        files[path] = entry
    return list(files.values())


def inner_path(value: object) -> str:
    """The path of a file of a repository, which git allows no `..` and no empty part.

    Raises:
        AnswerError: it is none, or would lead out of the folder that it is downloaded to.
    """
    path = text_of(value, "path of a file")
    parts = path.replace("\\", "/").split("/")
    drive = len(parts[0]) == 2 and parts[0][1] == ":"
    if "\0" in path or drive or PurePosixPath(path).is_absolute() or {"", ".", "..", ".git"} & set(parts):
        raise AnswerError(f"the path {_shown(path)} leads out of the repository")
    return path


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= LONGEST_DETAIL else text[: LONGEST_DETAIL - 1] + "…"


_asked: ContextVar[list[str] | None] = ContextVar("_asked", default=None)
"""The addresses of the requests of the present call; one that is tried again stands there twice."""


@contextmanager
def _bounded() -> Iterator[None]:
    """A block whose requests from this thread come to an end, however the pages of a listing refer to each other."""
    watch()
    token = _asked.set([])
    try:
        yield
    finally:
        _asked.reset(token)


def watch() -> None:
    """Hold every response that huggingface_hub gets in this process to what a Hub may send.

    Raises:
        SettingsError: HF_ENDPOINT or a proxy that the environment names is no address.
    """
    require_web_address(constants.ENDPOINT)
    hooks = _session().event_hooks
    if _inspect not in hooks["response"]:
        _session().event_hooks = {**hooks, "response": [*hooks["response"], _inspect]}


_NAMES = ("etag", "x-linked-etag", "x-repo-commit", "x-xet-hash")
"""Headers by which huggingface_hub calls what it puts into its cache."""


def _require_name(name: str, what: str) -> None:
    """Raise AnswerError if a name would lead out of the folder of the cache that a file of this name belongs to."""
    if name.startswith("/") or "\\" in name or ".." in name.split("/"):
        raise AnswerError(f"{_shown(name)} is no name of {what}")


def _inspect(response: Any) -> None:
    """What each response of the Hub is held to; `watch` makes the client call this."""
    for header in _NAMES:
        _require_name(response.headers.get(header, "").removeprefix("W/").strip('"'), f"a file ({header})")
    asked = _asked.get()
    if asked is None:
        return
    asked.append(str(response.request.url))
    following = str(response.links.get("next", {}).get("url") or "")
    if following and str(_HTTP.URL(following)) in asked:
        raise AnswerError("its pages refer to each other in a circle")
    if len(asked) > MOST_REQUESTS:
        raise AnswerError(f"its pages do not end after {MOST_REQUESTS} requests")


def _session() -> Any:
    try:
        return get_session()
    except (ValueError, ImportError, OSError) as error:
        raise SettingsError(
            f"Requests cannot be made ({type(error).__name__}); check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and "
            "SSL_CERT_FILE."
        ) from error
