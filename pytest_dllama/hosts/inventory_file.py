"""A new hosts file: small, with a comment at every choice."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.hosts.inventory import InventoryError, load_inventory

_HEAD = """\
# Machines of a cluster, in rank order: the first is the root, `--nodes 4` takes the first four.
# All keys: docs/raspberry-pi.md. Check it with: pytest-dllama hosts check --hosts {file}

# wheelhouse = "wheelhouse"  # for hosts without internet: pytest-dllama wheelhouse --help

[defaults]
{defaults}
"""
_ADDRESS = re.compile(r"^(?:(?P<user>[^@\s]+)@)?(?P<address>[A-Za-z0-9._-]+)(?::(?P<port>\d+))?$")


def write_inventory(file: Path, hosts: Sequence[str], key: str | None) -> str:
    """Write a file of `[USER@]ADDRESS[:PORT]` hosts; tells what to do next.

    Raises:
        InventoryError: an address that is none, or a file that is there.
    """
    if file.exists():
        raise InventoryError(f"{file} is there already; remove it, or name another with -o")
    defaults = ["nthreads = 4  # the cores of the board"]
    if key:
        defaults.append(f"key = {_text(str(Path(key).expanduser().resolve()))}")
    tables = [_table(number, text) for number, text in enumerate(hosts, start=1)]
    text = _HEAD.format(file=file, defaults="\n".join(defaults))
    file.write_text("\n".join([text, *tables]), encoding="utf-8")
    load_inventory(file)
    return f"{file}: {counted(len(hosts), 'host')}; next: pytest-dllama hosts check --hosts {file}"


def _table(number: int, text: str) -> str:
    found = _ADDRESS.match(text)
    if found is None:
        raise InventoryError(f"{text!r} is no host; write [USER@]ADDRESS[:PORT], as in pi@10.0.0.2")
    lines = ["[[host]]", f'name = "pi{number}"', f"address = {_text(found['address'])}"]
    if found["port"]:
        lines.append(f"port = {found['port']}")
    if found["user"]:
        lines.append(f"user = {_text(found['user'])}")
    lines.append(f'role = "{"root" if number == 1 else "worker"}"')
    return "\n".join([*lines, ""])


def _text(value: str) -> str:
    """A TOML string; JSON's rules are stricter."""
    return json.dumps(value)
