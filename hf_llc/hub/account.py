"""Who writes to the Hub, and what they may write to (huggingface_hub)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    BadRequestError,
    GatedRepoError,
    HfHubHTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

from hf_llc.errors import AccessError, HfLlcError, NotFoundError, OfflineError, SourceError, UnusableError
from hf_llc.hub.answers import AnswerError, account_of
from hf_llc.hub.errors import (
    FAILURES,
    Kind,
    Tell,
    ask,
    endpoint,
    page,
    status_of,
    translate,
    unreachable,
    what_happened,
)
from hf_llc.hub.publication import Target

MOVED = 412  # the branch has got a commit since its head was read
OTHER_KINDS = {"model": ("dataset", "space"), "dataset": ("model", "space"), "space": ("model", "dataset")}
OPTIONS = {"model": "--repo", "dataset": "--dataset-repo", "space": "--space"}


@dataclass(frozen=True, kw_only=True)
class Account:
    """The owner of the token.

    Attributes:
        name: of the user. namespaces: theirs and those of organizations that they may write to, in small letters.
        read_only: the token may write nowhere.
    """

    name: str
    namespaces: frozenset[str]
    read_only: bool

    def owns(self, repo_id: str) -> bool:
        """True if the repository lies in a namespace of the account."""
        return repo_id.partition("/")[0].lower() in self.namespaces


def account(tell: Tell) -> Account:
    """Who the token in use belongs to.

    Raises:
        AccessError: there is no token, or it is not valid. OfflineError: the Hub does not answer.
    """
    try:
        return ask(lambda: _account_of(HfApi().whoami(cache=True)), tell)
    except LocalTokenNotFoundError as error:
        raise AccessError("Publishing needs a token: log in with `hf auth login`, or set HF_TOKEN.") from error
    except FAILURES as error:
        if status_of(error) == 401:
            raise AccessError(f"{endpoint()} does not know the token in use; log in with `hf auth login`.") from error
        raise OfflineError(f"{what_happened(error)}, so nothing can be published now.") from error


def _account_of(answer: dict[str, Any]) -> Account:
    """The account in an answer of `whoami`."""
    orgs = [org for org in answer.get("orgs") or [] if org.get("roleInOrg") != "read"]
    role = ((answer.get("auth") or {}).get("accessToken") or {}).get("role")
    names = [account_of(each["name"]) for each in (answer, *orgs)]
    return Account(name=names[0], namespaces=frozenset(name.lower() for name in names), read_only=role == "read")


def require_permission(target: Target, owner: Account, tell: Tell) -> bool:
    """True if the repository is there and may be written to; False if it is to be made, in a namespace of the owner's.

    Raises:
        AccessError: the token may only read, or the repository is somebody else's or gated.
        NotFoundError: there is none, or it is of another kind. HfLlcError: see `written`.
    """
    if owner.read_only:
        raise AccessError(
            f"The token in use may only read; create one that may write at {endpoint()}/settings/tokens, "
            "then log in with `hf auth login`."
        )
    repo_id, kind = target.repo_id, target.kind
    with written(target):
        try:
            ask(lambda: HfApi().auth_check(repo_id, repo_type=kind, write=not target.create_pr), tell)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError as error:
            if other := _other_kind(repo_id, kind, tell):
                advice = f"give it with {OPTIONS[other]}, or another name"
                raise NotFoundError(f"{repo_id} is a {other}, not a {kind}; {advice}.") from error
            if kind != "model" and owner.owns(repo_id) and not target.create_pr:
                return False
            if owner.owns(repo_id):
                next_step = f"create it with `hf repos create {repo_id}` and upload the model first"
                raise NotFoundError(f"There is no {kind} {repo_id}; {next_step}.") from error
            raise
    return True


def is_private(target: Target, tell: Tell) -> bool:
    """True if the repository, which is there, is private.

    Raises:
        HfLlcError: see `written`.
    """
    with written(target):
        return bool(ask(lambda: HfApi().repo_info(target.repo_id, repo_type=target.kind), tell).private)


def create(target: Target, tell: Tell) -> None:
    """Makes the repository; one that is there already stays as it is.

    Raises:
        HfLlcError: see `written`.
    """
    with written(target):
        ask(
            lambda: HfApi().create_repo(
                target.repo_id,
                repo_type=target.kind,
                private=target.private or None,
                exist_ok=True,
                space_sdk="static" if target.kind == "space" else None,
            ),
            tell,
        )


@contextmanager
def written(target: Target) -> Iterator[None]:
    """Turns what huggingface_hub raises inside, while writing, into our errors. A token never enters a message.

    Raises:
        AccessError: not allowed. UnusableError: the Hub refuses the content. OfflineError: it does not answer.
        HfLlcError: see `errors.translate`.
    """
    try:
        yield
    except FAILURES as error:
        raise _translate(error, target) from error
    except ValueError as error:
        # What huggingface_hub makes of the Hub's opinion of a card.
        if not isinstance(error.__cause__, BadRequestError):
            raise
        raise UnusableError(f"{endpoint()} refuses the card of {target.repo_id}: {_line(str(error))}") from error


def _translate(error: BaseException, target: Target) -> HfLlcError:
    what, status = f"{target.kind} {target.repo_id}", status_of(error)
    if isinstance(error, RepositoryNotFoundError):
        return translate(error, target.repo_id, target.kind)
    if status in {401, 403}:
        instead = "" if target.create_pr else " Open a pull request with `create_pr`, or give your own `dataset_repo`."
        return AccessError(f"You may not write to the {what} ({page(target.repo_id, target.kind)}).{instead}")
    if status in {400, 413, 422} and isinstance(error, HfHubHTTPError):
        return UnusableError(f"{endpoint()} refuses what was to be written: {_line(error.server_message or '')}")
    if status == MOVED:
        return SourceError(f"The {what} got a new commit each time it was read; try again later.")
    if isinstance(error, AnswerError):
        return translate(error, target.repo_id, target.kind)
    if unreachable(error):
        return OfflineError(f"{what_happened(error)}; the {what} was not written to.")
    return translate(error, target.repo_id, target.kind)


def _line(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= 200 else line[:199] + "…"


def _other_kind(repo_id: str, kind: Kind, tell: Tell) -> str | None:
    """The kind of a repository of this name that is none of the `kind`."""
    for other in OTHER_KINDS[kind]:
        try:
            ask(lambda other=other: HfApi().repo_info(repo_id, repo_type=cast(Any, other)), tell)  # type: ignore[misc]
        except RepositoryNotFoundError:
            continue
        return other
    return None
