"""For all tests: a run in the background must not differ from one at a terminal."""

from __future__ import annotations

import signal

# Shells start background jobs with SIGINT ignored, and every process below inherits that: tests of
# Ctrl-C would then fail for a reason that is not theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
