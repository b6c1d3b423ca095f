"""Ctrl-C that is not lost: an interrupt that falls where Python cannot pass it on is sent again."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 8.0
"""Seconds until an interrupt is sent again: more than an orderly end takes."""
TIMES = 4
INTERRUPTED = 130


@contextmanager
def insisting() -> Iterator[None]:
    """While the block runs, SIGINT raises KeyboardInterrupt as ever, and again after a while if it has not ended.

    An interrupt that arrives in a callback of the garbage collector or of a library's C code is printed there and
    forgotten. After TIMES of them the process ends by itself: every finished part is on disk already.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    over, first = threading.Event(), threading.Event()

    def repeat() -> None:
        for _ in range(TIMES):
            if over.wait(AGAIN):
                return
            # To the thread itself, so that it wakes from whatever it waits in.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not over.wait(AGAIN):
            sys.stderr.flush()
            os._exit(INTERRUPTED)

    def handle(number: int, frame: FrameType | None) -> None:
        if not first.is_set():
            first.set()
            threading.Thread(target=repeat, daemon=True).start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        over.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
