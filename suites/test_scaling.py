"""The node counts of one model against each other."""


def test_same_request(scaling):
    """Every node count did the same work."""
    scaling.check_same_request()


def test_weights_shrink(scaling):
    """More nodes hold less of the model each."""
    scaling.check_weights_shrink()


def test_scaling_limits(scaling):
    """More nodes gain what the thresholds file asks for."""
    scaling.check_limits()
