"""How many examples a fuzz test takes: a few fixed ones in every run, thousands of new ones by hand.

By hand: `HYPOTHESIS_PROFILE=search FUZZ_EXAMPLES=2000 pytest tests/fuzz -n 0 -s -o faulthandler_timeout=0`. With
FUZZ_COLLECT=1 a fault does not end the search: each kind is printed once, with its input, and all are counted.
"""

import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, Phase, settings

TALLY: Counter[str] = Counter()
COLLECT = "FUZZ_COLLECT" in os.environ


def examples(count: int) -> Callable[[Any], Any]:
    """The settings of a test that takes so many examples in every run; FUZZ_EXAMPLES of them where that is set."""
    return settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", count)),
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def recorded(kind: str, shown: object) -> Iterator[None]:
    """A block whose failure is only counted, and printed the first time, where faults are collected."""
    try:
        yield
    except BaseException as error:
        if not COLLECT or isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        ours = next((frame for frame in reversed(frames) if "/hf_llc/" in frame.filename), frames[-1])
        name = f"{type(error).__name__} at {ours.filename.rpartition('/')[2]}:{ours.lineno}"
        signature = f"{kind} FAULT {name}"
        if not TALLY[signature]:
            print(f"{signature}\n    {str(error)[:400]}\n    {str(shown)[-700:]}", file=sys.stderr)  # noqa: T201
        TALLY[signature] += 1
