"""`python -m tests.helpers.failing_rank ENDING`: a rank that ends in a certain way, without importing torch."""

import os
import signal
import sys
import time

from hf_llc.execution.distributed.launcher import hand_over


def main(ending: str) -> None:
    """Rank 0 waits to be stopped, unless all is well; rank 1 ends as told."""
    if ending == "well":
        return
    if os.environ["RANK"] == "0":
        time.sleep(60)
    if ending == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ending == "told":
        hand_over("what is wrong; what to do.")
        sys.exit(2)
    sys.exit(130 if ending == "interrupted" else 3)


main(sys.argv[1])
