"""Work in threads that an interrupt does not wait for: a piece of a file that is on its way cannot be called off."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

LEFT = "hf-llc-requests"
"""Prefix of the names of threads that need not be waited for at the end."""
LOOK = 0.2
"""Seconds between looks: a wait without an end does not hear of a signal that came to another thread."""
ENDING = 3.0
"""Seconds that a thread which is not wanted any more is given to end."""


def at_once(call: Callable[[T], R], items: Sequence[T], workers: int, stop: threading.Event | None = None) -> list[R]:
    """What `call` gives for each item, in order, some of them at the same time; all are over then.

    Args:
        stop: set when the wait is interrupted, for calls that can end early. They are left behind if they do not.

    Raises: what the first of the calls raised that failed.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=LEFT)
    futures = [pool.submit(call, item) for item in items]
    try:
        waiting = set(futures)
        while waiting:
            waiting = wait(waiting, LOOK).not_done
    except BaseException:
        if stop is not None:
            stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait(futures, ENDING)
        raise
    pool.shutdown()
    try:
        return [future.result() for future in futures]
    finally:
        futures.clear()  # an error that is raised here would hold itself alive through them


def left_behind(interrupted: bool) -> bool:
    """True if threads still work that would keep this process from ending and need not be waited for.

    Args:
        interrupted: by the user, who waits for nothing, whoever started it.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    return any(thread.name.startswith(LEFT) or (interrupted and not thread.daemon) for thread in others)
