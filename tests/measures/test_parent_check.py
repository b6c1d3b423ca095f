"""Workers end once the process that started them is gone, even if it went while they still started."""

import os
import subprocess
import sys
import time

import pytest

from hf_llc.errors import LaunchError
from hf_llc.measures.run import LOOK, _parent_check, ending_with


def test_a_worker_whose_launcher_is_gone_from_the_beginning_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(LaunchError, match="The process that started this one has ended"):
        _parent_check(gone.pid)()
    _parent_check(os.getpid())()


def test_a_worker_that_waits_to_join_a_launch_ends_with_its_launcher() -> None:
    """The store to join may have gone with it, and connecting to that is tried for minutes."""
    launcher = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"])
    program = "import sys, time\nfrom hf_llc.measures.run import ending_with\n"
    program += "with ending_with(int(sys.argv[1])):\n    time.sleep(60)\nprint('went on')\n"
    with subprocess.Popen([sys.executable, "-c", program, str(launcher.pid)], stdout=subprocess.PIPE) as worker:
        launcher.wait()
        assert worker.communicate(timeout=45)[0] == b""
        assert worker.returncode == LaunchError.exit_code


def test_a_worker_whose_launcher_goes_on_is_left_alone() -> None:
    with ending_with(os.getpid()):
        time.sleep(2 * LOOK)
