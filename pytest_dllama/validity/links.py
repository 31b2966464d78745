"""Emulated links against what they were set to: a cell on links that were not kept is not believed.

The median delay of probes may be off by 5 % and 20 us, and so may that of the messages themselves,
the rate by 2 %; the p99 is told and not judged.
"""

from __future__ import annotations

from pytest_dllama.emulation.topology import DELAY_NS, DELAY_SHARE
from pytest_dllama.record.cell import Fault
from pytest_dllama.record.emulation import CellLinks, LinkAccuracy

RATE_SHARE = 0.02
MAX_LISTED = 3


def allowed_us(set_us: float) -> float:
    """By how much a median may be off.

    >>> allowed_us(200.0)
    30.0
    """
    return DELAY_SHARE * set_us + DELAY_NS / 1e3


def link_faults(found: CellLinks | None) -> list[Fault]:
    """Links that were not kept, each with what was set and what was achieved."""
    if found is None:
        return []
    said = [text for link in found.links for text in _of_link(link)]
    if found.busy_median_error_us is not None and found.busy_limit_us is not None:
        if abs(found.busy_median_error_us) > found.busy_limit_us:
            said.append(
                f"while requests ran, probes were off by {found.busy_median_error_us:+.0f} us (the "
                f"median of {found.n_busy}; {found.busy_limit_us:.0f} us are allowed): the relay "
                "had too little of the processor; fewer nodes, or slower links"
            )
    if found.n_messages and 2 * (found.n_late or 0) > found.n_messages:
        said.append(
            f"{found.n_late} of {found.n_messages} messages of the cell came later than allowed: "
            "the relay had too little of the processor; fewer nodes, or slower links"
        )
    texts = said[:MAX_LISTED]
    if len(said) > MAX_LISTED:
        texts.append(f"and {len(said) - MAX_LISTED} more such links")
    return [Fault(kind="link", text=f"link: {text}") for text in texts]


def _of_link(link: LinkAccuracy) -> list[str]:
    found = []
    if abs(link.median_us - link.set_us) > allowed_us(link.set_us):
        found.append(
            f"{link.source} to {link.target} took {link.median_us:.0f} us (the median of {link.n} "
            f"probes), set are {link.set_us:.0f} us; {allowed_us(link.set_us):.0f} us off are "
            "allowed"
        )
    if link.set_mbps and link.mbps is not None:
        if abs(link.mbps / link.set_mbps - 1) > RATE_SHARE:
            found.append(
                f"{link.source} to {link.target} carried {link.mbps:.1f} Mbit/s, set are "
                f"{link.set_mbps:.1f}; {RATE_SHARE:.0%} off are allowed"
            )
    return found
