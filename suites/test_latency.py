"""How long a user waits; each time is a row of the benchmark table too."""


def test_ttft(timing_row, threshold):
    """Time to first token."""
    timing_row("ttft_s")
    threshold("ttft_s")


def test_tpot(timing_row, threshold):
    """Time per output token."""
    timing_row("tpot_ms")
    threshold("tpot_ms")


def test_rct(timing_row, threshold):
    """Request completion time."""
    timing_row("rct_s")
    threshold("rct_s")
