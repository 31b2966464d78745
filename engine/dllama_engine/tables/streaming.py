"""The control array of threads that read memory side by side: int64 (CONTROL_WORDS,)."""

# Words, each on a cache line of its own.
READY, GO, DONE = 0, 8, 16
CONTROL_WORDS = 24
