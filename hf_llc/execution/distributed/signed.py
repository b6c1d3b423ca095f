"""Signed messages of the processes of one launch, over torch's key-value store, which knows no authentication.

A message carries an HMAC-SHA256 (RFC 2104) of its key and content under the secret of the launch. What does not verify
is refused before it is read: whoever else reaches the port can stop a run by that, but not say anything in it.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore, Store

from hf_llc.errors import LaunchError
from hf_llc.execution.distributed.secret import WAY_OUT

LOOK = 0.05
"""Seconds between looks at what another process is to say."""
AGAIN = "Finished work is kept: run the same command on every machine to resume."
DIGEST = hashlib.sha256().digest_size


class Signer:
    """Seals messages, and opens those that were sealed with the same key.

    Args:
        key: known to the processes of the launch alone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, name: str, content: bytes) -> bytes:
        """The content with its signature, which holds under that name only."""
        return self._digest(name, content) + content

    def open(self, name: str, message: bytes) -> bytes:
        """The content of a message of that name.

        Raises:
            LaunchError: it was not sealed under that name with this key.
        """
        content = message[DIGEST:]
        if not hmac.compare_digest(message[:DIGEST], self._digest(name, content)):
            raise LaunchError(
                f"The message {name!r} does not have the signature of this launch and was not read: the processes have "
                f"different secrets, or another program writes to their port. {WAY_OUT}, and close the port to "
                "others."
            )
        return content

    def _digest(self, name: str, content: bytes) -> bytes:
        label = name.encode()
        return hmac.digest(self._key, len(label).to_bytes(8, "big") + label + content, "sha256")


class SignedStore:
    """A store in which every process of the launch can read what every other one says. Safe for several threads.

    Every method raises LaunchError if the machine that keeps the store is gone, and if a message does not verify.
    """

    def __init__(self, store: Store, signer: Signer) -> None:
        self.signer = signer
        self._store = PrefixStore("hf-llc", store)
        self._turns: Counter[str] = Counter()

    def put(self, name: str, content: bytes) -> None:
        """Store the content for all processes."""
        with _answered():
            self._store.set(name, self.signer.seal(name, content))  # type: ignore[arg-type]

    def get(self, name: str) -> bytes | None:
        """The content that a process put there; None if none has."""
        with _answered():
            message = self._store.get(name) if self._store.check([name]) else None
        return None if message is None else self.signer.open(name, message)

    def put_first(self, name: str, content: bytes) -> bytes:
        """Store the content unless there is one already, and return the stored one."""
        message = self.signer.seal(name, content)
        with _answered():
            kept = self._store.compare_set(name, "", message)  # type: ignore[arg-type]
        return self.signer.open(name, kept)

    def remove(self, name: str) -> None:
        """Remove the content."""
        with _answered():
            self._store.delete_key(name)

    def turn(self, name: str) -> str:
        """A new name; the same in every process that has asked as often for that one."""
        self._turns[name] += 1
        return f"{name}/{self._turns[name]}"

    def wait_for(self, name: str, check: Callable[[], None] = lambda: None) -> bytes:
        """Wait for a content and return it.

        Args:
            check: called while it is not there; raises if it will not come.
        """
        while (content := self.get(name)) is None:
            check()
            time.sleep(LOOK)
        return content


def meet(store: Store, rank: int, world: int, secret: str, patience: timedelta) -> SignedStore:
    """The signed store of a launch, once all of its processes have shown that they have the secret.

    The key is made from the secret and from a random number of each process, so that messages of an earlier launch do
    not verify. Each takes its own number as it drew it: that in the store may be one that somebody has put back there.

    Raises:
        LaunchError: another process has another secret. DistError: some have not come.
    """
    attempt = PrefixStore(f"hf-llc-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    own, names = secrets.token_hex(16), [f"here/{other}" for other in range(world)]
    attempt.set(names[rank], own)
    attempt.wait(names, patience)
    numbers = [own.encode() if name == names[rank] else attempt.get(name) for name in names]
    label = b"".join(len(number).to_bytes(8, "big") + number for number in numbers)
    signed = SignedStore(attempt, Signer(hmac.digest(secret.encode(), label, "sha256")))
    signed.put(f"hello/{rank}", b"")
    attempt.wait([f"hf-llc/hello/{other}" for other in range(world)], patience)
    for other in range(world):
        signed.get(f"hello/{other}")
    return signed


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except DistError as error:
        raise LaunchError(f"The machine of the first process no longer answers. {AGAIN}") from error
