"""`hosts.toml`: the machines of a cluster, in rank order, checked before anything is connected to.

Knows nothing of SSH. Each `[[host]]` may leave out what `[defaults]` gives. Relative paths start
at the folder of the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_dllama.amounts import counted
from pytest_dllama.errors import ToldError
from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text

DEFAULT_FOLDER = "~/.local/share/pytest-dllama"
Port = Annotated[int, Field(ge=1, le=65535)]
# Without a user, a port or brackets; an option it is not. One colon is a port's, more are IPv6's.
_ADDRESS = r"^([^-\s@\[\]/:][^\s@\[\]/:]*|[^\s@\[\]/]*:[^\s@\[\]/]*:[^\s@\[\]/]*)?$"
Address = Annotated[str, Field(pattern=_ADDRESS)]
Lease = Annotated[float, Field(ge=3, allow_inf_nan=False)]  # seconds
_FOLDER = r"^[^\x00-\x1f]*[^~./\s\x00-\x1f][^\x00-\x1f]*$"  # more than a root or a home


class InventoryError(ToldError, ValueError):
    """A hosts file that cannot be used: file, table, key, value, limit, remedy."""


class HostEntry(BaseModel):
    """One machine, as the file describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    address: Address = ""  # where SSH reaches it, or a name of ssh_config; empty: the name
    user: Annotated[str, Field(pattern=r"^[^-\s]\S*$")] | None = None
    port: Port | None = None
    key: str | None = None  # private key file
    jump: str | None = None  # [USER@]HOST[:PORT]
    role: Literal["root", "worker"] = "worker"
    listen: str = ""  # empty: the address at which its SSH server took our connection
    listen_port: Annotated[int, Field(ge=0, le=65535)] = 0  # 0: any free one
    nthreads: Annotated[int, Field(ge=1, le=1024)] | None = None
    python: str = "python3"
    provision: bool = True  # false: `python` has the engine already
    folder: Annotated[str, Field(pattern=_FOLDER)] = DEFAULT_FOLDER
    labels: tuple[str, ...] = Field(default=(), strict=False)
    binary: str | None = None  # of --engine dllama, in place of --dllama-bin
    weight_cache: str = ""  # as `dllama-py worker --weight-cache` takes it; empty: its default

    @property
    def target(self) -> str:
        """What is handed to SSH."""
        return self.address or self.name


class Inventory(BaseModel):
    """The whole file; `hosts` stand in rank order, the root first if it is among them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: Path
    hosts: tuple[HostEntry, ...]
    known_hosts: Path | None = None  # where keys of new hosts are kept; None: the user's own file
    new_host_keys: Literal["accept", "refuse"] = "accept"
    ssh_config: Path | None = None  # None: ~/.ssh/config
    wheelhouse: Path | None = None  # wheels for hosts without internet
    lease_s: Lease = 120.0  # how long a process outlives our last word
    cooling_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 900.0  # of --cooldown
    keep_s: Lease = 1800.0  # the same, of a worker that --keep-workers left

    @property
    def has_root(self) -> bool:
        """Whether rank 0 is one of these hosts; else the root runs on the controller."""
        return bool(self.hosts) and self.hosts[0].role == "root"

    @property
    def capacity(self) -> int:
        """The largest node count."""
        return len(self.hosts) + (0 if self.has_root else 1)

    def first(self, nodes: int) -> tuple[HostEntry, ...]:
        """The hosts of a cluster of `nodes`, the root being one of them.

        Raises:
            InventoryError: there are fewer.
        """
        if nodes > self.capacity:
            controller = "" if self.has_root else " and the root on this machine"
            raise InventoryError(
                f"--nodes {nodes}: {self.file} gives {counted(self.capacity, 'node')} "
                f"({counted(len(self.hosts), 'host')}{controller}); add hosts or ask for "
                f"{self.capacity} at most"
            )
        return self.hosts[: nodes if self.has_root else nodes - 1]

    def only(self, names: Sequence[str]) -> Inventory:
        """The named hosts, in the file's order.

        Raises:
            InventoryError: a name that the file does not have.
        """
        known = [host.name for host in self.hosts]
        for name in names:
            if name not in known:
                raise InventoryError(
                    f"--hosts-only: {self.file} has no host {name!r}; it has {', '.join(known)}"
                )
        chosen = tuple(host for host in self.hosts if host.name in names)
        return self.model_copy(update={"hosts": chosen})


REMEDIES = {
    "name": "letters, digits, dots, dashes and underscores, as in pi1",
    "address": "a name or an IP address alone, as in 192.168.0.11; `user` and `port` are keys",
    "user": "the name to log in with, as in pi",
    "folder": "a folder of its own, which `hosts clean` may empty, as in ~/pytest-dllama",
    "port": "a port of 1 to 65535; SSH listens on 22 as a rule",
    "listen_port": "0 for any free port, or one of 1 to 65535 such as 9999",
    "role": '"root" for rank 0, "worker" for the others',
    "nthreads": "the cores of the board, as in 4",
    "new_host_keys": '"accept" stores the key of a new host, "refuse" asks you to do it',
    "lease_s": "3 seconds or more; it bounds how long a process stays when this machine is gone",
    "cooling_s": "1 second or more; it bounds how long --cooldown waits before it measures anyway",
    "keep_s": "3 seconds or more; it bounds how long a worker of --keep-workers waits for a run",
}
_FILE_KEYS = (
    "known_hosts",
    "new_host_keys",
    "ssh_config",
    "wheelhouse",
    "lease_s",
    "keep_s",
    "cooling_s",
)
_PATH_KEYS = ("known_hosts", "ssh_config", "wheelhouse")


def load_inventory(file: Path) -> Inventory:
    """Read and check a hosts file.

    Raises:
        InventoryError: every fault of it, one a line.
    """
    tables = _read(file)
    faults = [
        f"{file}: key {key!r} is unknown; a hosts file has {', '.join(_FILE_KEYS)}, [defaults] "
        "and [[host]]"
        for key in tables
        if key not in (*_FILE_KEYS, "defaults", "host")
    ]
    hosts = _hosts(file, tables, faults)
    values = {key: tables[key] for key in _FILE_KEYS if key in tables}
    try:
        for key in _PATH_KEYS:
            if isinstance(values.get(key), str):
                values[key] = file.parent / Path(values[key]).expanduser()
        inventory = Inventory(file=file, hosts=tuple(hosts), **values)
    except ValidationError as error:
        raise InventoryError("\n".join([*faults, *_explain(error, str(file))])) from None
    faults += _order_faults(file, hosts)
    if faults:
        raise InventoryError("\n".join(faults))
    return inventory


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file, SETTINGS_BYTES))
    except OSError as error:
        raise InventoryError(
            f"--hosts {file}: {error.strerror}; `pytest-dllama hosts init` writes one"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InventoryError(f"{file} is no TOML file: {error}") from None


def _hosts(file: Path, tables: Mapping[str, Any], faults: list[str]) -> list[HostEntry]:
    """The entries that can be read; faults of the others are added to `faults`."""
    defaults, entries = tables.get("defaults", {}), tables.get("host", [])
    is_list = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not isinstance(defaults, dict) or not is_list or not entries:
        faults.append(
            f"{file}: no [[host]] table; write one for each machine, as in\n"
            '  [[host]]\n  name = "pi1"\n  address = "192.168.0.11"\n  role = "root"'
        )
        return []
    if "name" in defaults or "address" in defaults or "role" in defaults:
        faults.append(f"{file}: [defaults]: name, address and role belong to each [[host]]")
    hosts = []
    for number, entry in enumerate(entries, start=1):
        name = entry.get("name")
        where = f"{file}: [[host]] {number}" + (f" ({name})" if name else "")
        try:
            host = HostEntry.model_validate({**defaults, **entry})
        except ValidationError as error:
            faults += _explain(error, where)
            continue
        if host.key is not None:
            key = str(file.parent / Path(host.key).expanduser())
            host = host.model_copy(update={"key": key})
        hosts.append(host)
    return hosts


def _explain(error: ValidationError, where: str) -> list[str]:
    """One line a fault: table, key, value found, limit, remedy."""
    lines = []
    for fault in error.errors(include_url=False):
        key = str(fault["loc"][0]) if fault["loc"] else "table"
        limit = re.sub(r"^Input should", "it should", fault["msg"])
        if fault["type"] == "extra_forbidden":
            known = ", ".join(HostEntry.model_fields)
            lines.append(f"{where}: key {key!r} is unknown; a host has {known}")
        elif fault["type"] == "missing":
            lines.append(f"{where}: {key} is missing; {REMEDIES.get(key, 'give it')}")
        else:
            remedy = f"; {REMEDIES[key]}" if key in REMEDIES else ""
            lines.append(f"{where}: {key} = {fault['input']!r}: {limit}{remedy}")
    return lines


def _order_faults(file: Path, hosts: Sequence[HostEntry]) -> list[str]:
    faults = []
    names = [host.name for host in hosts]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.append(f"{file}: two hosts are called {name!r}; names must differ")
    for rank, host in enumerate(hosts):
        if host.role == "root" and rank > 0:
            faults.append(
                f"{file}: [[host]] {rank + 1} ({host.name}): role = 'root', but it stands at place "
                f"{rank + 1}; the order of the hosts is their rank order, so put the root first"
            )
    return faults
