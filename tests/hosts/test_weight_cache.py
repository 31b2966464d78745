"""What a hosts file says of the weights that workers keep, as a real host's process hears it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh.host import CACHE_VARIABLE, SshHost
from tests.hosts.sshd import Sshd

SHOW = f'echo "kept: ${{{CACHE_VARIABLE}-as it likes}}"'


def said_on(inventory: Inventory, logs: Path) -> str | None:
    host = SshHost(inventory.hosts[0], inventory)
    try:
        return host.start(["sh", "-c", SHOW], "show", logs, {}).read_line(60)
    finally:
        host.close()


def test_a_host_may_keep_weights_elsewhere_or_not_at_all(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    assert said_on(inventory_of(pis[:1]), logs) == "kept: as it likes\n"
    told = inventory_of(pis[:1], weight_cache="/mnt/ssd,64GiB")
    assert said_on(told, logs) == "kept: /mnt/ssd,64GiB\n"
