"""The same examples in every run; HYPOTHESIS_PROFILE=search looks at new ones, and at more of them.

What a shell without job control starts in the background ignores SIGINT, and so does all that is started from there.
Tests of Ctrl-C need it heard.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("search", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
