"""Workers end once the process that started them is gone, even if it went while they still started."""

import os
import subprocess
import sys

import pytest

from hf_llc.errors import LaunchError
from hf_llc.measures.run import _parent_check


def test_a_worker_whose_launcher_is_gone_from_the_beginning_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(LaunchError, match="The process that started this one has ended"):
        _parent_check(gone.pid)()
    _parent_check(os.getpid())()
