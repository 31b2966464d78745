"""The lines before the first test: what is going to be measured, and what may surprise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.edge.stash import LENT_KEY, WARNINGS_KEY

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.lab.lab import Lab


def what_is_measured(lab: Lab) -> str:
    """Cells, how often each, and the work."""
    from pytest_dllama.amounts import counted

    lab_config = lab.config
    cells = ", ".join(key.id for key in lab.keys)
    often = lab.how_often
    made, given = lab_config.prompt_tokens, lab_config.output_tokens
    work = f"{_listed(given)} output tokens" if given else counted(lab_config.steps, "step")
    prompts = f" after prompts of {_listed(made)} tokens" if made else ""
    collective, overlap = lab_config.collective, lab_config.overlap
    by = "" if collective == "mesh" else f", collective {collective}"
    by += "" if overlap == "off" else f", overlap {overlap}"
    return (
        f"dllama: {counted(len(lab.keys), 'cell')} ({cells}), {often} of "
        f"{work}{prompts}, {lab_config.buffer_float_type} buffers, "
        f"sync mode {lab_config.sync_mode}{by}"
    )


def _listed(sizes: tuple[int, ...]) -> str:
    """`16, 64 and 512`."""
    *first, last = map(str, sizes)
    return f"{', '.join(first)} and {last}" if first else last


def surprises(config: pytest.Config) -> list[str]:
    """What another plugin or the command line does to our cells, each in a line."""
    lent = [
        f"dllama: {flag} is another plugin's or conftest's option here; ours is {long_flag}"
        for flag, long_flag in config.stash.get(LENT_KEY, [])
    ]
    return [*lent, *(f"dllama: warning: {text}" for text in config.stash[WARNINGS_KEY])]
