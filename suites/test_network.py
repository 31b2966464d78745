"""What crosses the wire, and what it costs."""


def test_wire_truth(cell):
    """Bytes counted on the sockets are those the shard plan predicts."""
    cell.check_wire()


def test_bytes_per_token(threshold):
    """Payload of one decode step on the root's links."""
    threshold("bytes_per_token")


def test_bandwidth(threshold):
    """What the root's links carried while they were busy."""
    threshold("bandwidth_mbps")


def test_sync_share(threshold):
    """How much of a step is spent in collectives."""
    threshold("sync_share")
