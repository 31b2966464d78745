"""The cool-down between requests: waits until all hosts are cool enough to be measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pytest_dllama.hosts.base import Progress
from pytest_dllama.hosts.fleet.provision import on_each
from pytest_dllama.hosts.ssh.host import SshHost

POLL_S = 5.0


def cool_down(
    hosts: Sequence[SshHost], limit_c: float, patience_s: float, progress: Progress
) -> str | None:
    """Wait until all are as cool as that; a host that stays warmer is told and measured.

    Args:
        hosts: those whose temperature counts, if they can tell it.
        limit_c: the most.
        patience_s: how long to wait at most.
        progress: where to tell who is waited for.

    Returns:
        What to note of hosts that stayed warmer; None where none did.
    """
    until_s = time.monotonic() + patience_s
    while True:
        found, _ = on_each(hosts, lambda host: host.agent.ask("sample"))
        warm = {
            name: sample["temperature_c"]
            for name, sample in found.items()
            if sample["temperature_c"] is not None and sample["temperature_c"] > limit_c
        }
        if not warm:
            return None
        who = ", ".join(f"{name} {degrees:.0f} °C" for name, degrees in warm.items())
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            break
        progress.detail(f"cooling down to {limit_c:g} °C: {who}")
        time.sleep(min(POLL_S, left_s))
    waited = f"after {patience_s:g} s of --cooldown"
    remark = f"measured warmer than {limit_c:g} °C {waited}: {who}"
    progress.settle(f"warning: {remark}")
    return remark
