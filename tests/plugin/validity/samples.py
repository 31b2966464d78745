"""A sample of which nothing but its times matters."""

from __future__ import annotations

from pytest_dllama.record.cell import Sample


def sample(tpot_ms: float | None) -> Sample:
    """Eight tokens after four, one every so many milliseconds."""
    return Sample(
        n_input_tokens=4,
        n_output_tokens=8,
        ttft_s=0.1,
        tpot_ms=tpot_ms,
        rct_s=1.0,
        tokens_per_s=8.0,
        prefill_tokens=3,
        prefill_s=None,
        decode_tokens=8,
        decode_s=None,
    )
