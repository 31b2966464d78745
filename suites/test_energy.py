"""What it costs, where --energy or --power asks for it."""


def test_energy(threshold):
    """Of a token and of a request, and the speed that each W gives."""
    threshold("j_per_token")
    threshold("request_j")
    threshold("tokens_per_s_per_w")
