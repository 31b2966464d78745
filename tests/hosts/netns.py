"""Network namespaces as boards: an address of its own each, on one bridge with this machine."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

_SUBNETS = range(1, 251)  # of 10.214.N.0/24


def missing() -> str | None:
    """Why there can be no namespaces here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "ip is not installed; make test-deps installs iproute2"
    network = Network(1)
    try:
        network.up()
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"
    finally:
        network.down()
    return None


class Network:
    """A bridge with `n` namespaces; ours is address 254.

    Its name is its subnet's: who makes the bridge has the subnet, whatever other sessions run or
    left when they were killed.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._key = 0  # none yet

    @property
    def _bridge(self) -> str:
        return f"pdb{self._key}"

    def address(self, n: int) -> str:
        return f"10.214.{self._key}.{n}"

    def prefix(self, n: int) -> tuple[str, ...]:
        """What runs a command in a namespace."""
        return ("ip", "netns", "exec", self._name(n))

    def _name(self, n: int) -> str:
        return f"pd{self._key}n{n}"

    def up(self) -> None:
        self._take_subnet()
        _ip(f"addr add {self.address(254)}/24 dev {self._bridge}")
        _ip(f"link set {self._bridge} up")
        for n in range(1, self.n + 1):
            name, port = self._name(n), f"pv{self._key}n{n}"
            _ip(f"netns add {name}")
            _ip(f"link add {port} type veth peer name eth0 netns {name}")
            _ip(f"link set {port} master {self._bridge} up")
            _ip(f"-n {name} addr add {self.address(n)}/24 dev eth0")
            _ip(f"-n {name} link set eth0 up")
            _ip(f"-n {name} link set lo up")

    def _take_subnet(self) -> None:
        """Make a bridge that nobody has; what the kernel says where not one can be made."""
        for key in random.sample(_SUBNETS, len(_SUBNETS)):
            try:
                _ip(f"link add pdb{key} type bridge")
            except subprocess.CalledProcessError as error:
                if "File exists" not in error.stderr:
                    raise
            else:
                self._key = key
                return
        raise OverflowError(f"all {len(_SUBNETS)} subnets are taken: ip link | grep pdb")

    def cut(self, n: int) -> None:
        """Pull the cable."""
        _ip(f"link set pv{self._key}n{n} down")

    def mend(self, n: int) -> None:
        _ip(f"link set pv{self._key}n{n} up")

    def down(self) -> None:
        """Take away whatever is there: links first, a namespace lets go of them at its leisure."""
        if not self._key:
            return
        for n in range(1, self.n + 1):
            _ip(f"link del pv{self._key}n{n}", check=False)
            _ip(f"netns del {self._name(n)}", check=False)
        _ip(f"link del {self._bridge}", check=False)


def _ip(arguments: str, *, check: bool = True) -> None:
    subprocess.run(["ip", *arguments.split()], check=check, capture_output=True, text=True)
