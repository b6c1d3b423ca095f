"""Ctrl-C ends a command, even if Python loses the first one."""

import os
import signal
import subprocess
import sys
import time

import pytest

SWALLOWED = """
import time
from hf_llc.cli import signals
signals.AGAIN = 0.3
lost, ready = 0, False
with signals.insisting():
    while True:
        try:
            if not ready:
                ready = True
                print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            lost += 1
            if lost > {lost}:
                raise
"""

FINALIZED = """
import time
from hf_llc.cli import signals
signals.AGAIN = 60

class Slow:
    def __del__(self):
        if first:
            first.clear()
            print("ready", flush=True)
            time.sleep(60)

first = [1]
with signals.insisting():
    while True:
        Slow()
"""


@pytest.mark.parametrize(("lost", "code"), [(0, -signal.SIGINT), (1, -signal.SIGINT), (9, 130)])
def test_an_interrupt_is_repeated_until_it_is_handled_and_finally_ends_the_process(lost: int, code: int) -> None:
    command = [sys.executable, "-c", SWALLOWED.format(lost=lost)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        started = time.monotonic()
        os.kill(running.pid, signal.SIGINT)
        assert running.wait(20) == code
    assert time.monotonic() - started < 10


def test_an_interrupt_that_python_forgets_in_a_finalizer_is_sent_again_at_once() -> None:
    command = [sys.executable, "-c", FINALIZED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        os.kill(running.pid, signal.SIGINT)
        try:
            assert running.wait(20) == -signal.SIGINT
        finally:
            running.kill()
        assert running.stderr is not None
        assert "ignored" not in running.stderr.read()
