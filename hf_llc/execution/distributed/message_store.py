"""What processes on several machines tell each other without a shared disk: finished parts, and who makes which.

It is torch's key-value store, which the first process or its launcher keeps; every message is signed. Every process
shows now and then that it is alive. One that is not, or that has ended with an error, is an error for whoever needs the
others: never a wait.
"""

import json
import threading
import time
from contextlib import suppress

from hf_llc.errors import LaunchError, RankError
from hf_llc.execution.distributed.signed import AGAIN, SignedStore

BEAT = 5.0
"""Seconds between two signs of life of a process."""
LEASE = 60.0
"""Seconds without a sign of life after which a process counts as lost."""
PARTING = 0.5
"""Seconds that the process which may keep the store leaves the others to see that it has failed."""


class MachineStore:
    """One process's end of it. Safe for several threads.

    Every method raises LaunchError if the machine that keeps the store is gone, and if a message is not signed.

    Args:
        machine: its number. speaks: it is the one that tells people on this machine what went wrong on another.
    """

    def __init__(
        self,
        store: SignedStore,
        rank: int,
        world: int,
        *,
        machine: int,
        speaks: bool = True,
        beat: float = BEAT,
        lease: float = LEASE,
    ) -> None:
        self.rank, self._world, self._lease = rank, world, lease
        self._machine, self._speaks = machine, speaks
        self._store = store
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._over = threading.Event()
        self._beats = 0
        self._show_life()
        threading.Thread(target=self._beat, args=(beat,), daemon=True).start()

    def put(self, key: str, content: bytes) -> None:
        """Store the content for all processes."""
        self._store.put(key, content)

    def get(self, key: str) -> bytes | None:
        """The content that a process put there; None if none has."""
        return self._store.get(key)

    def turn(self, name: str) -> str:
        """A new key; the same in every process that has asked as often for that name."""
        return self._store.turn(name)

    def wait_for(self, key: str, owner: int) -> bytes:
        """Wait for the content from that process and return it.

        Raises:
            LaunchError: it has ended without.
        """
        return self._store.wait_for(key, lambda: self.require(owner))

    def claim(self, key: str) -> bool:
        """True if this process alone may make the part now; False if another process is making it.

        Raises:
            LaunchError: that other one is lost.
        """
        holder = int(self._store.put_first(f"claim/{key}", str(self.rank).encode()))
        if holder == self.rank:
            return True
        self.require(holder)
        return False

    def release(self, key: str) -> None:
        """Let other processes claim it."""
        self._store.remove(f"claim/{key}")

    def check(self) -> None:
        """Raise RankError if a process has failed; it tells by itself on its own machine."""
        if (content := self.get("failed")) is not None:
            failure = json.loads(content)
            reason = "" if failure["machine"] == self._machine or not self._speaks else failure["why"]
            raise RankError(reason and f"Machine {failure['machine']}: {reason}", failure["code"])

    def require(self, rank: int) -> None:
        """Raise LaunchError if that process is no longer alive, RankError if any has failed (see `check`)."""
        self.check()
        beat, now = self.get(f"beat/{rank}"), time.monotonic()
        known, since = self._seen.get(rank, (None, now))
        if beat != known:
            self._seen[rank] = (beat or b"", now)
        elif now - since > self._lease:
            raise LaunchError(f"Process {rank} has not answered for {self._lease:.0f} s. {AGAIN}")

    def fail(self, why: str, code: int) -> None:
        """End the work of all other processes with a reason; the first failure counts, since others follow from it."""
        failure = json.dumps({"machine": self._machine, "why": why, "code": code})
        # If nobody is there to be told, all have ended already.
        with suppress(LaunchError):
            self._store.put_first("failed", failure.encode())
        self._over.set()
        if self.rank == 0:
            time.sleep(PARTING)

    def meet(self) -> None:
        """Return once every process has reached this point.

        Raises:
            LaunchError: one is lost.
        """
        self.put(f"met/{self.rank}", b"")
        self._wait_for_all("met")

    def close(self) -> None:
        """Leaves, after a meeting; the first process leaves last, since with it the store may go."""
        if self.rank > 0:
            self.put(f"left/{self.rank}", b"")
        else:
            # Whoever is lost now has met, and done all that was to be done.
            with suppress(LaunchError):
                self._wait_for_all("left", 1)
        self._over.set()

    def _wait_for_all(self, name: str, first: int = 0) -> None:
        for rank in range(first, self._world):
            self.wait_for(f"{name}/{rank}", rank)

    def _beat(self, apart: float) -> None:
        while not self._over.wait(apart):
            try:
                self._show_life()
            except LaunchError:
                return  # whoever needs the store learns it by himself

    def _show_life(self) -> None:
        self._beats += 1
        self.put(f"beat/{self.rank}", str(self._beats).encode())
