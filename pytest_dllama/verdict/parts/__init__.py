"""Parts of time, pair by pair: what attribution is worked out from."""
