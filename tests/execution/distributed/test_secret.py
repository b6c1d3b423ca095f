"""The secret of a launch: given by the variable, or shared by a file that only this user can read."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from hf_llc.errors import LaunchError
from hf_llc.execution.distributed import secret
from hf_llc.execution.distributed.signed import SignedStore, meet
from tests.execution.distributed.test_message_store import at_once

SOON = timedelta(seconds=5)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HF_HOME, which is not there yet; nothing is said about a secret."""
    monkeypatch.delenv(secret.VARIABLE, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_variable_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret.VARIABLE, "0123456789abcdef")
    assert secret.shared_secret() == "0123456789abcdef"
    assert not home.exists()


@pytest.mark.parametrize("given", ["", "short", "012345678 abcde"])
def test_a_short_secret_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv(secret.VARIABLE, given)
    with pytest.raises(LaunchError, match=rf"HF_LLC_SECRET has {len(given)} characters; .* at least 16\. Set "):
        secret.shared_secret()


def test_processes_of_one_user_have_one_file_that_nobody_else_reads(home: Path) -> None:
    (first, *others) = at_once([secret.shared_secret] * 8)
    assert {first} == set(others)
    assert isinstance(first, str)
    assert len(first) == 64
    (path,) = home.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: path.write_text("")])
def test_a_file_that_is_no_secret_is_refused(home: Path, spoil: object) -> None:
    secret.shared_secret()
    (path,) = home.iterdir()
    spoil(path)  # type: ignore[operator]
    with pytest.raises(LaunchError, match=r"hf-llc-secret-\d+ is no valid secret: .* Remove it\. Set HF_LLC_SECRET"):
        secret.shared_secret()


def test_a_link_to_somebody_elses_file_is_refused(home: Path, tmp_path: Path) -> None:
    secret.shared_secret()
    (path,) = home.iterdir()
    planted = path.rename(tmp_path / "planted")
    planted.chmod(0o600)
    path.symlink_to(planted)
    with pytest.raises(LaunchError, match="is no valid secret"):
        secret.shared_secret()


def test_a_home_that_cannot_be_written_is_told_with_the_way_out(home: Path) -> None:
    home.write_text("a file")
    with pytest.raises(LaunchError, match=r"cannot hold the secret of this launch .* Set HF_LLC_SECRET to one random"):
        secret.shared_secret()


def store(server: TCPStore) -> TCPStore:
    return TCPStore("127.0.0.1", server.port, is_master=False, timeout=SOON)


def test_processes_with_different_secrets_do_not_work_together() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON, wait_for_workers=False)
    ends = [store(server) for _ in range(2)]
    told = at_once([partial(meet, ends[rank], rank, 2, f"secret {rank}", SOON) for rank in range(2)])
    for error in told:
        assert isinstance(error, LaunchError)
        assert "have different secrets" in str(error)


def test_each_launch_has_a_key_of_its_own() -> None:
    digests = set()
    for _ in range(2):
        server = TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON, wait_for_workers=False)
        ends = [store(server) for _ in range(2)]
        first, second = at_once([partial(meet, ends[rank], rank, 2, "secret", SOON) for rank in range(2)])
        assert isinstance(first, SignedStore)
        assert isinstance(second, SignedStore)
        first.put("name", b"content")
        assert second.wait_for("name") == b"content"
        digests.add(first.signer.seal("name", b"content"))
    assert len(digests) == 2


def test_replayed_messages_of_an_earlier_launch_are_refused() -> None:
    earlier, later = (TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON, wait_for_workers=False) for _ in range(2))
    at_once([partial(meet, store(earlier), rank, 2, "secret", SOON) for rank in range(2)])

    def say_again() -> None:
        listener, speaker = store(earlier), store(later)
        speaker.wait(["hf-llc-0/here/0"], SOON)
        for key in ("here/0", "hf-llc/hello/1", "here/1"):
            speaker.set(f"hf-llc-0/{key}", listener.get(f"hf-llc-0/{key}"))  # type: ignore[arg-type]

    acts: list[Callable[[], object]] = [partial(meet, store(later), 0, 2, "secret", SOON), say_again]
    error, _ = at_once(acts)
    assert isinstance(error, LaunchError)
    assert "'hello/1' does not have the signature" in str(error)


def test_the_secret_is_not_in_what_travels() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, timeout=SOON, wait_for_workers=False)
    meet(store(server), 0, 1, "0123456789abcdef", SOON)
    anybody = store(server)
    for key in ("hf-llc-0/here/0", "hf-llc-0/hf-llc/hello/0"):
        assert b"0123456789abcdef" not in anybody.get(key)
    assert os.environ.get(secret.VARIABLE) is None
