"""How much the cluster gets done."""


def test_tokens_per_s(threshold):
    """Output tokens over the whole request."""
    threshold("tokens_per_s")


def test_prefill_tokens_per_s(threshold):
    """The prompt's tokens over the time they took."""
    threshold("prefill_tokens_per_s")


def test_decode_tokens_per_s(threshold):
    """Output tokens over the decode phase."""
    threshold("decode_tokens_per_s")
