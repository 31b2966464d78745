"""`pytest-dllama hosts ...` and `pytest-dllama wheelhouse`: machines before and after a run."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pytest_dllama.config.values import SHIPPED_MODEL, ConfigError, parse_models
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.fleet import RemoteHosts
from pytest_dllama.hosts.fleet.provision import Wanted, on_each
from pytest_dllama.hosts.fleet.tables import LiveSteps, facts_table, pairs_table
from pytest_dllama.hosts.inventory import Inventory, load_inventory
from pytest_dllama.hosts.inventory_file import write_inventory
from pytest_dllama.hosts.packages.wheelhouse import PLATFORMS, fetch_wheelhouse
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.hosts.ssh.kept_token import forget_token
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models.engine_facts import EngineError
from pytest_dllama.models.model_files import config_of

if TYPE_CHECKING:
    from pytest_dllama.models.engine_facts import ModelConfig

DEFAULT_FILE = Path("hosts.toml")
Command = Callable[[argparse.Namespace], int]


def add_hosts(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `hosts` and its commands."""
    hosts = commands.add_parser("hosts", help="the machines of a hosts file: init, check, ...")
    kinds = hosts.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = kinds.add_parser("init", help="write a hosts file; the first host is the root")
    init.add_argument("hosts", metavar="[USER@]ADDRESS", nargs="+", help="in rank order")
    init.add_argument("--key", metavar="FILE", help="private key for all of them")
    init.add_argument("-o", "--output", metavar="FILE", type=Path, default=DEFAULT_FILE)
    init.set_defaults(command=_init)
    check = _add(kinds, "check", "make hosts ready, then look at them and at the network", _check)
    check.add_argument("--models", metavar="MODEL,..", default=SHIPPED_MODEL, help="as in pytest")
    check.add_argument("--nodes", metavar="N", type=int, help="of the largest cluster")
    facts = _add(kinds, "facts", "what the hosts are and how they fare", _facts)
    facts.add_argument("--json", action="store_true", help="print JSON in place of a table")
    run = _add(kinds, "run", "run a command on every host", _run)
    run.add_argument("words", metavar="COMMAND", nargs="+", help="the command, after --")
    clean = _add(kinds, "clean", "stop leftover processes, remove their folders", _clean)
    clean.add_argument("--all", action="store_true", help="remove the whole working folder too")


def _add(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    command: Command,
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--hosts",
        metavar="FILE",
        type=Path,
        default=DEFAULT_FILE,
        help="the hosts file (default: %(default)s)",
    )
    parser.add_argument("--hosts-only", metavar="NAME,..", default="", help="these hosts only")
    parser.set_defaults(command=command)
    return parser


def add_wheelhouse(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `wheelhouse`."""
    parser = commands.add_parser(
        "wheelhouse",
        help="fetch wheels for hosts without internet",
        description="Fetch what the engine needs; name the folder in the hosts file: "
        'wheelhouse = "wheelhouse".',
    )
    parser.add_argument(
        "--platform",
        default="aarch64",
        help=f"{' or '.join(PLATFORMS)}, or a tag of pip's (default: %(default)s)",
    )
    parser.add_argument(
        "--python", metavar="X.Y", default="3.11", help="the hosts' version (default: %(default)s)"
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=Path("wheelhouse"))
    parser.set_defaults(command=_wheelhouse)


def _inventory(arguments: argparse.Namespace) -> Inventory:
    inventory = load_inventory(arguments.hosts)
    names = [name.strip() for name in arguments.hosts_only.split(",") if name.strip()]
    return inventory.only(names) if names else inventory


def _init(arguments: argparse.Namespace) -> int:
    print(write_inventory(arguments.output, arguments.hosts, arguments.key))
    return 0


class _Printed(Silent):
    """Stages and findings as lines; a live table shows the rest."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, text: str) -> None:
        """Print it."""
        self._console.print(text, markup=False, highlight=False)

    def settle(self, text: str) -> None:
        """Print it."""
        self.stage(text)


def _check(arguments: argparse.Namespace) -> int:
    """Provision with a live table, then print what was found; 1 if a host cannot take part."""
    inventory, console = _inventory(arguments), Console()
    configs = _configs(arguments.models)
    hosts = RemoteHosts(inventory, Wanted(wheelhouse=inventory.wheelhouse))
    printed = _Printed(console)
    try:
        hosts.choose(arguments.nodes or inventory.capacity, configs)
        with LiveSteps([host.name for host in hosts.hosts], console) as table:
            faults = hosts.gather_facts(table.report)
            refused = hosts.preflight(printed)
            fit = [host for host in hosts.hosts if host.name not in {**faults, **refused}]
            faults |= hosts.provision(fit, table.report)
        hosts.measure_links(printed)
        console.print(facts_table(hosts.records()))
        console.print(pairs_table(hosts.pairs))
    finally:
        hosts.close()
    return _say(faults) or int(bool(refused) or any(pair.error for pair in hosts.pairs))


def _configs(models: str) -> list[ModelConfig]:
    try:
        return [config_of(spec) for spec in parse_models(models)]
    except (ConfigError, EngineError) as error:
        raise HostError(f"--models {models}: {error}") from None


def _facts(arguments: argparse.Namespace) -> int:
    inventory = _inventory(arguments)
    hosts = RemoteHosts(inventory, Wanted())
    try:
        hosts.choose(inventory.capacity, [])
        faults = hosts.gather_facts()
        hosts.preflight(_Printed(Console(file=sys.stderr)))
        records = hosts.records()
    finally:
        hosts.close()
    if arguments.json:
        print(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
    else:
        Console().print(facts_table(records))
    return _say(faults)


def _run(arguments: argparse.Namespace) -> int:
    """One word goes to the shell as it stands, several are quoted; returns the worst code."""
    hosts = _connected(arguments)
    words = arguments.words
    command = ["sh", "-c", shlex.join(words) if len(words) > 1 else words[0]]
    results, faults = on_each(
        hosts, lambda host: host.agent.connection.run(command, timeout_s=3600)
    )
    for host in hosts:
        host.agent.connection.close()
        if host.name in results:
            done = results[host.name]
            print(f"== {host.name}: exit code {done.code}")
            print(done.out.decode("utf-8", "replace") + done.err, end="")
    worst = max((done.code for done in results.values()), default=0)
    return _say({name: str(fault) for name, fault in faults.items()}) or worst


def _clean(arguments: argparse.Namespace) -> int:
    """Leftovers are told before they go."""
    hosts = _connected(arguments)
    forget_token(arguments.hosts)

    def clean(host: SshHost) -> list[str]:
        lines = [
            f"{item['session']}/{item['name']}: "
            + (f"process {item['pid']} stopped" if item["alive"] else "ended, its folder removed")
            for item in host.leftovers()
        ]
        host.clear()
        if arguments.all:
            host.remove_folder()
            lines.append(f"{host.agent.folder} removed")
        return lines or ["nothing is left"]

    results, faults = on_each(hosts, clean)
    for host in hosts:
        host.agent.connection.close()
        for line in results.get(host.name, ()):
            print(f"{host.name}: {line}")
    return _say({name: str(fault) for name, fault in faults.items()})


def _connected(arguments: argparse.Namespace) -> list[SshHost]:
    inventory = _inventory(arguments)
    return [SshHost(entry, inventory) for entry in inventory.hosts]


def _say(faults: dict[str, Any]) -> int:
    for name, fault in faults.items():
        print(f"{name}: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _wheelhouse(arguments: argparse.Namespace) -> int:
    for wheel in fetch_wheelhouse(arguments.platform, arguments.python, arguments.output):
        print(wheel)
    return 0
