"""What the processes need."""


def test_root_memory(threshold):
    """Peak resident memory of the root."""
    threshold("root_peak_rss_bytes")


def test_worker_memory(threshold):
    """Peak resident memory of the largest worker."""
    threshold("worker_peak_rss_bytes")
