"""The real dllama, built on a host of its source."""

from __future__ import annotations

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.packages.other_engine import OtherEngine
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.upload import upload_data

MAKE_TIMEOUT_S = 1800.0
PROGRAM = "dllama"
# Half a build is none: the program comes to its place when it is whole.
_MAKE = (
    'cd "$1" && rm -rf source && mkdir source && tar -xf source.tar -C source && '
    'make -C source -j"$(nproc)" dllama && mv source/dllama dllama && rm -rf source source.tar'
)


def make_dllama(host: SshHost, other: OtherEngine) -> str:
    """Build dllama on a host for its own CPU, unless it is there; the program's path.

    Raises:
        HostError: no compiler there, or it fails; with its last words.
    """
    agent = host.agent
    folder = f"{agent.folder}/dllama/{other.commit[:16]}"
    program = f"{folder}/{PROGRAM}"
    if PROGRAM in agent.ask("place", folder=folder)["sizes"]:
        return program
    upload_data(agent, "source.tar", other.source, folder)
    done = agent.connection.run(["sh", "-c", _MAKE, "make", folder], b"", MAKE_TIMEOUT_S)
    if done.code != 0:
        said = (done.err.strip() or done.out.decode("utf-8", "replace").strip()).splitlines()
        words = [line for line in said if not line.startswith("make")] or said
        raise HostError(
            f"{agent.connection.where}: dllama {other.commit[:10]} does not build there (make "
            f"dllama): {words[-1] if words else 'no reason given'}; install make and a C++ compiler"
        )
    return program
