"""Ctrl-C that is not lost: an interrupt that falls where Python cannot pass it on is sent again."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 8.0
"""Seconds until an interrupt is sent again: more than an orderly end takes."""
SOON = 0.05
"""Seconds until one that is known to be lost is sent again: whatever lost it should be over."""
TIMES = 4
INTERRUPTED = 130


@contextmanager
def insisting() -> Iterator[None]:
    """While the block runs, SIGINT raises KeyboardInterrupt as ever, and again after a while if it has not ended.

    Python prints and forgets an interrupt that arrives in a finalizer (some libraries have them in Python, and loading
    a tokenizer runs thousands) or in a callback from C. It is heard of, and sent again at once. One that a library
    catches, or that waits for its threads, is sent again after AGAIN. After TIMES of those the process ends by itself:
    every finished part is on disk already.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    over, first, news, others = threading.Event(), threading.Event(), threading.Event(), sys.unraisablehook

    def send() -> None:
        # To the thread itself, so that it wakes from whatever it waits in.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def repeat() -> None:
        for _ in range(TIMES):
            while news.wait(AGAIN):
                news.clear()
                time.sleep(SOON)
                if over.is_set():
                    return
                send()
            send()
        if not news.wait(AGAIN) or not over.is_set():
            sys.stderr.flush()
            os._exit(INTERRUPTED)

    def forgotten(lost: "sys.UnraisableHookArgs") -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            news.set()
        else:
            others(lost)

    def handle(number: int, frame: FrameType | None) -> None:
        if not first.is_set():
            first.set()
            threading.Thread(target=repeat, daemon=True).start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)
    sys.unraisablehook = forgotten
    try:
        yield
    finally:
        over.set()
        news.set()
        sys.unraisablehook = others
        signal.signal(signal.SIGINT, signal.default_int_handler)
