"""Checkpoints of a scan brought to this disk a little ahead of their use, and taken away again where disk is short."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hf_llc.checkpoints.checkpoint import ADAPTER, Checkpoint
from hf_llc.checkpoints.files import has_tokenizer
from hf_llc.checkpoints.foreign_code import with_code
from hf_llc.checkpoints.remote_files import chosen_of, files_of
from hf_llc.checkpoints.source import ModelSource
from hf_llc.errors import LaunchError, OfflineError, ResourceError, SourceError, UnusableError
from hf_llc.execution.availability import CheckpointAvailability
from hf_llc.execution.loaded_model import drop_gradient
from hf_llc.execution.plan import Plan
from hf_llc.execution.work_queue import POLL_SECONDS
from hf_llc.hub import client
from hf_llc.hub import download as downloads
from hf_llc.hub.listings import files_of_commit
from hf_llc.hub.parallel import ENDING, LEFT
from hf_llc.measures.schedule import CHECKPOINT_FAILURES, failure, is_over, note_failure
from hf_llc.scans.disk_budget import DiskBudget

Tell = Callable[[str], None]
AHEAD = 2
"""Checkpoints that are downloaded before anybody asks for them."""
LOOK = 0.2
"""Seconds between looks at what is over and what is asked for."""
OUTAGES = (10.0, 30.0, 60.0, 120.0)
"""Seconds to wait before each further try when the Hub stops answering in the middle of a scan."""
WORTH_TELLING = 50_000_000
"""Bytes from which it is said that a checkpoint has to be waited for."""


def source_of(checkpoint: Checkpoint) -> ModelSource:
    """The Hub's checkpoint as it will be once it is here; only its listing is read, and `path` is None."""
    asked = checkpoint.model
    assert checkpoint.sha is not None
    return ModelSource(
        id=asked.model,
        revision=checkpoint.name,
        sha=checkpoint.sha,
        step=checkpoint.step,
        path=None,
        subfolder=asked.subfolder,
        trust_remote_code=asked.trust_remote_code,
        weight_bytes=checkpoint.size or 0,
        adapter=checkpoint.weights == ADAPTER,
    )


def files_needed(source: ModelSource, tell: Tell) -> list[client.RemoteFile]:
    """Everything that is read of a checkpoint on the Hub."""
    small, weights = _small_and_weights(source, tell)
    return small + weights


def cached(source: ModelSource, tell: Tell) -> Path | None:
    """Where a checkpoint is in the Hub's cache; None unless all of it is there."""
    return downloads.present(source.id, source.sha, files_needed(source, tell))


def size_of(source: ModelSource, tell: Tell) -> int:
    """Bytes of everything that is read of a checkpoint on the Hub."""
    return sum(file.size for file in files_needed(source, tell))


def lists_tokenizer(source: ModelSource, tell: Tell) -> bool:
    """True if a tokenizer is among the files of a checkpoint on the Hub."""
    return has_tokenizer(Path(file.path).name for file in files_needed(source, tell))


def without_weights(source: ModelSource, tell: Tell) -> ModelSource:
    """The Hub's checkpoint with all but its weights on this disk, in the Hub's cache.

    Raises:
        SourceError: they cannot be read.
    """
    small, _ = _small_and_weights(source, tell)
    here = replace(source, path=downloads.download(source.id, source.sha, small, tell))
    return here if source.adapter else with_code(here, tell)


def _small_and_weights(source: ModelSource, tell: Tell) -> tuple[list[client.RemoteFile], list[client.RemoteFile]]:
    known = {file.path: file for file in files_of_commit(source.id, source.sha, tell)}
    chosen = chosen_of(
        source.id,
        source.sha,
        known,
        tell,
        subfolder=source.subfolder,
        trust_remote_code=source.trust_remote_code,
    )
    return files_of(known, source.subfolder, chosen)


def default_branch(model: str, tell: Tell) -> ModelSource:
    """What the default branch of a repository has beside weights, in the Hub's cache.

    Raises:
        SourceError: there is no such repository, or it cannot be read.
    """
    sha = client.resolve(model, None, "model", tell)
    return without_weights(ModelSource(id=model, revision="main", sha=sha, step=None, path=None), tell)


class Prefetcher:
    """Download the checkpoints of some plans in their order, in a thread, while the block runs.

    Checkpoints in the Hub's cache are used from there. The others go to the Hub's cache, or with a disk budget to its
    folder as soon as they fit, and are removed when their plans are over. A checkpoint that cannot be downloaded leaves
    a `failure` with its plans. An error that stops every download, such as a full disk, is raised where the block ends.

    Args:
        once: a checkpoint is over after its first use, but stays in the budget's folder while there is room.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        availability: CheckpointAvailability,
        budget: DiskBudget | None,
        tell: Tell,
        *,
        once: bool = False,
    ) -> None:
        # Runs in which other weights move are at one checkpoint.
        self._plans: dict[str, list[Plan]] = {}
        for plan in plans:
            if plan.source.path is None:
                self._plans.setdefault(plan.run_dir.name, []).append(plan)
        self._unfinished = {key: list(those) for key, those in self._plans.items()}
        self._availability, self._budget, self._tell, self._once = availability, budget, tell, once
        self._used: set[str] = set()
        self._brought: list[str] = []
        self._given_up = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=LEFT)
        self._work: Future[None] | None = None

    def __enter__(self) -> Self:
        self._availability.reset()
        for key, (plan, *_) in self._plans.items():
            if (path := self._path(key, plan)) is not None:
                self._availability.mark_ready(key, path)
        self._work = self._pool.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._given_up.set()
        self._pool.shutdown(wait=False)
        assert self._work is not None
        ended, _ = wait([self._work], ENDING)
        if error is None and ended:
            self._work.result()

    @contextmanager
    def using(self, plan: Plan) -> Iterator[Plan]:
        """The plan with its checkpoint, waited for; it stays here while the block runs.

        Raises:
            SourceError: it cannot be read. HfLlcError: nothing can be downloaded any more.
        """
        key = plan.run_dir.name
        if plan.source.path is None:
            while (path := self._availability.request(key)) is None:
                if (why := failure(plan)) is not None:
                    raise SourceError(why)
                if self._availability.is_finished:
                    assert self._work is not None
                    self._work.result()
                    raise LaunchError("The downloads ended early; run the same command again.")
                time.sleep(POLL_SECONDS)
            plan = replace(plan, source=replace(plan.source, path=path))
        try:
            yield plan
        finally:
            self._used.add(key)
            if self._once and self._budget is not None:
                # Where disk is short, the gradients of a dozen checkpoints are not kept for later.
                drop_gradient(plan.run_dir)

    def _run(self) -> None:
        try:
            for key, (plan, *_) in self._plans.items():
                try:
                    while not (self._is_over(key) or self._availability.path_of(key) or self._has_turn(key, plan)):
                        self._pause(LOOK)
                    if not (self._is_over(key) or self._availability.path_of(key)):
                        self._bring(key, plan)
                except UnusableError as error:
                    self._fail(key, error)  # its shard index says so; the others may still be read
            while not all(map(self._is_over, self._plans)):
                self._tidy()
                self._pause(LOOK)
            self._tidy()
        except downloads.GivenUpError:
            return
        finally:
            self._availability.mark_finished()

    def _has_turn(self, key: str, plan: Plan) -> bool:
        """True if the checkpoint should be downloaded now, and can be."""
        self._tidy()
        before = list(self._plans)[: list(self._plans).index(key)]
        waiting = [other for other in self._brought if other in before and not self._availability.is_requested(other)]
        if len(waiting) >= AHEAD and not self._availability.is_requested(key):
            return False
        return self._budget is None or self._make_room(self._budget, key, size_of(plan.source, self._tell))

    def _bring(self, key: str, plan: Plan) -> None:
        source, into = plan.source, None
        size = size_of(source, self._tell)
        if size >= WORTH_TELLING and self._availability.is_requested(key):
            self._tell(f"Waiting for the download of {source.revision}: {size / 1000000.0:.0f} MB.")
        if self._budget is not None:
            into = self._budget.reserve(key, size)
        for outage in (*OUTAGES, None):
            try:
                path = downloads.download(
                    source.id,
                    source.sha,
                    files_needed(source, self._tell),
                    self._tell,
                    into=into,
                    given_up=self._given_up,
                )
            except OfflineError as error:
                if outage is None or client.offline():
                    return self._fail(key, error)
                self._tell(f"{error} Waiting {outage:.0f} s for {source.revision}.")
                self._pause(outage)
            except CHECKPOINT_FAILURES as error:
                return self._fail(key, error)
            except ResourceError:
                # The rest of the disk is for the chains that are still at work.
                self._drop(key)
                raise
            else:
                self._brought.append(key)
                return self._availability.mark_ready(key, path)

    def _fail(self, key: str, error: Exception) -> None:
        self._drop(key)
        for plan in self._plans[key]:
            note_failure(plan, error)

    def _drop(self, key: str) -> None:
        if self._budget is not None:
            self._budget.release(key)

    def _tidy(self) -> None:
        """Removes what is over, unless it may stay."""
        for key in [key for key in self._brought if self._is_over(key)]:
            self._brought.remove(key)
            if self._budget is not None and not self._once:
                self._remove(self._budget, key)

    def _make_room(self, budget: DiskBudget, key: str, size: int) -> bool:
        """True if the budget has room, once what is of less use has been removed."""
        order = list(self._plans)
        later = order[order.index(key) + 1 :]
        used = [other for other in order if other in self._used and self._once]
        strange = [other for other in budget.held if other not in self._plans]
        for victim in [*strange, *used, *reversed(later)]:
            if budget.has_room(size):
                break
            if victim in budget.held and (victim in used or not self._availability.is_requested(victim)):
                self._remove(budget, victim)
        return budget.has_room(size)

    def _remove(self, budget: DiskBudget, key: str) -> None:
        path = self._availability.path_of(key)
        self._availability.mark_removed(key)
        if path is not None and self._availability.is_requested(key) and not self._is_over(key):
            self._availability.mark_ready(key, path)  # somebody asked for it just now
            return
        if key in self._brought:
            self._brought.remove(key)
        budget.release(key)

    def _is_over(self, key: str) -> bool:
        if self._once:
            return key in self._used
        unfinished = self._unfinished[key]
        while unfinished and is_over(unfinished[0]):
            del unfinished[0]
        return not unfinished

    def _path(self, key: str, plan: Plan) -> Path | None:
        """Where the checkpoint is already."""
        try:
            needed = files_needed(plan.source, self._tell)
        except UnusableError:
            return None
        if self._budget is not None and key in self._budget.held:
            folder = self._budget.folder / key
            if not downloads.not_whole(folder, needed):
                self._brought.append(key)
                return folder
            self._budget.release(key)
        return downloads.present(plan.source.id, plan.source.sha, needed)

    def _pause(self, seconds: float) -> None:
        if self._given_up.wait(seconds):
            raise downloads.GivenUpError
