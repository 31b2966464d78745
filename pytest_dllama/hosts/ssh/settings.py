"""How SSH reaches a host: what `ssh -G` says of it, and of each host on the road to it.

`ssh` itself reads its configuration, with Include, Match and all that later versions bring. Where
there is no `ssh`, paramiko reads the same files as far as it knows how.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import paramiko

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.tokens import expanded, tokens_of

RESOLVE_TIMEOUT_S = 10.0  # `Match exec` runs programs
MAX_HOPS = 8
Strict = Literal["yes", "accept-new", "ask", "no"]
_STRICT: Mapping[str, Strict] = {
    "yes": "yes",
    "true": "yes",
    "accept-new": "accept-new",
    "ask": "ask",
    "no": "no",
    "false": "no",
    "off": "no",
}
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>.+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?/?")
_LISTS = ("userknownhostsfile", "globalknownhostsfile")
_DEFAULT_LISTS = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
_PATH_BEGINS = ("/", "~", "%", "$")
_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
_DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ed25519")


@dataclass(frozen=True, slots=True)
class SshSettings:
    """One host as ssh_config has it."""

    name: str  # as it was asked for
    hostname: str
    user: str
    port: int
    identity_files: tuple[Path, ...]
    identities_only: bool
    identity_agent: str | None  # path of its socket
    strict: Strict
    user_known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    host_key_alias: str | None
    hashes_names: bool
    asks: bool  # for passphrases
    jumps: tuple[str, ...]  # the first one is reached first
    proxy_command: str | None
    family: int = 0  # of socket: AF_INET, AF_INET6, either
    bind_address: str | None = None
    certificate_files: tuple[Path, ...] = ()
    revoked_keys: Path | None = None
    known_hosts_command: tuple[str, ...] = ()
    offers_keys: bool = True  # PubkeyAuthentication, PreferredAuthentications
    host_key_algorithms: frozenset[str] = frozenset()  # empty: not known
    trusts_loopback: bool = False  # NoHostAuthenticationForLocalhost

    @property
    def key_name(self) -> str:
        """The name under which known_hosts has its key."""
        if self.host_key_alias is not None:
            return self.host_key_alias
        host = self.hostname.lower()
        return host if self.port == 22 else f"[{host}]:{self.port}"


def route_to(entry: HostEntry, inventory: Inventory) -> tuple[SshSettings, ...]:
    """Every host from the first jump host to the host itself.

    A key of the inventory is what `ssh -i` would make of it, and the agent's others are not tried;
    a jump host that the inventory names is offered it first.

    Raises:
        HostError: ssh_config is broken, or its jump hosts run in a circle.
    """
    found = resolve(
        entry.target,
        inventory.ssh_config,
        user=entry.user,
        port=entry.port,
        jump=entry.jump,
        key=entry.key,
    )
    hops = _hops(found, inventory.ssh_config)
    if entry.key is not None:
        key = Path(entry.key)
        if entry.jump is not None:
            hops = tuple(replace(h, identity_files=(key, *h.identity_files)) for h in hops)
        found = replace(found, identities_only=True)
    return (*hops, found)


def _hops(settings: SshSettings, config: Path | None, depth: int = 0) -> tuple[SshSettings, ...]:
    """As ssh goes: the last hop by way of those before it, the first by its own settings."""
    if not settings.jumps:
        return ()
    if depth == MAX_HOPS:
        raise HostError(f"{settings.name}: ProxyJump leads through more than {MAX_HOPS} hosts")
    *earlier, nearest = settings.jumps
    parts = _JUMP.fullmatch(nearest)
    if parts is None:
        raise HostError(f"jump host {nearest!r} is not of the form [USER@]HOST[:PORT]")
    port = int(parts["port"]) if parts["port"] else None
    jump = ",".join(earlier) or None
    hop = resolve(parts["host"].strip("[]"), config, user=parts["user"], port=port, jump=jump)
    return (*_hops(hop, config, depth + 1), hop)


def resolve(
    name: str,
    config: Path | None = None,
    *,
    user: str | None = None,
    port: int | None = None,
    jump: str | None = None,
    key: str | None = None,
) -> SshSettings:
    """What ssh would do to reach a name; `config` stands in place of the user's own file.

    Raises:
        HostError: ssh's own words about its configuration.
    """
    program = shutil.which("ssh")
    if program is not None:
        options = {"-F": config, "-l": user, "-p": port, "-J": jump, "-i": key}
        words = [word for flag, value in options.items() if value for word in (flag, str(value))]
        return _settings(name, _asked(program, name, words))
    values = _read(name, config, key)
    given = {"user": user, "port": port, "proxyjump": jump}
    values |= {word: [str(value)] for word, value in given.items() if value}
    return _settings(name, values)


def _asked(program: str, name: str, words: Sequence[str]) -> dict[str, list[str]]:
    try:
        done = subprocess.run(
            [program, "-G", *words, "--", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=RESOLVE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise HostError(
            f"{name}: `ssh -G {name}` gave no answer for {RESOLVE_TIMEOUT_S:g} s; see the `Match "
            "exec` lines of ssh_config"
        ) from None
    if done.returncode != 0:
        raise HostError(f"{name}: `ssh -G {name}` refuses: {' '.join(done.stderr.split())}")
    values: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key.lower(), []).append(value)
    for key in _LISTS:
        values[key] = _unquoted_paths(" ".join(values.get(key, ())))
    return values


def _unquoted_paths(text: str) -> list[str]:
    """`ssh -G` tells several files in one line and leaves out the quotes.

    >>> _unquoted_paths("/home/me/my keys/known ~/.ssh/known_hosts"), _unquoted_paths("a b")
    (['/home/me/my keys/known', '~/.ssh/known_hosts'], ['a', 'b'])
    """
    found: list[str] = []
    for word in text.split(" "):
        if found and found[-1][:1] in _PATH_BEGINS and word[:1] not in _PATH_BEGINS:
            found[-1] += f" {word}"
        else:
            found.append(word)
    return [word for word in found if word]


def _read(name: str, config: Path | None, key: str | None) -> dict[str, list[str]]:
    """Without `ssh`; a first value wins, as there."""
    files = (
        [config] if config else [Path("~/.ssh/config").expanduser(), Path("/etc/ssh/ssh_config")]
    )
    known = paramiko.SSHConfig()
    for file in files:
        if file.exists():
            with file.open(encoding="utf-8", errors="surrogateescape") as lines:
                known.parse(lines)
    found = known.lookup(name)
    values = {word: value if isinstance(value, list) else [value] for word, value in found.items()}
    named = [*([key] if key else []), *values.get("identityfile", [])]
    for key, default in zip(_LISTS, _DEFAULT_LISTS, strict=True):
        values[key] = shlex.split((values.get(key) or [default])[0])
    values["identityfile"] = named or [f"~/.ssh/{key}" for key in _DEFAULT_KEYS]
    return values


def _settings(name: str, values: Mapping[str, Sequence[str]]) -> SshSettings:
    def one(key: str, default: str = "") -> str:
        return values.get(key, [default])[0]

    def given(key: str) -> str | None:
        value = one(key)
        return None if value.lower() in ("", "none") else value

    hostname, user = one("hostname", name), one("user") or getpass.getuser()
    port = int(one("port") or 22)
    tokens = tokens_of(name, hostname, user, port)

    def paths(words: Sequence[str]) -> tuple[Path, ...]:
        found = (expanded(word, tokens) for word in words if word.lower() != "none")
        return tuple(Path(word).expanduser() for word in found)

    if one("proxyusefdpass") == "yes":
        raise HostError(
            f"{name}: ssh_config says ProxyUseFdpass, which only `ssh` itself can do; give a "
            "ProxyCommand that passes the data on"
        )
    jumps, command, revoked = given("proxyjump"), given("proxycommand"), given("revokedhostkeys")
    return SshSettings(
        name=name,
        hostname=hostname,
        user=user,
        port=port,
        identity_files=paths([word.strip('"') for word in values.get("identityfile", ())]),
        identities_only=one("identitiesonly") == "yes",
        identity_agent=_agent_socket(one("identityagent", "SSH_AUTH_SOCK"), tokens),
        strict=_STRICT.get(one("stricthostkeychecking"), "ask"),
        user_known_hosts=paths(values["userknownhostsfile"]),
        global_known_hosts=paths(values["globalknownhostsfile"]),
        host_key_alias=given("hostkeyalias"),
        hashes_names=one("hashknownhosts") == "yes",
        asks=one("batchmode") != "yes",
        jumps=tuple(expanded(jumps, tokens).replace(" ", "").split(",")) if jumps else (),
        proxy_command=expanded(command, tokens) if command else None,
        family=_FAMILIES.get(one("addressfamily"), 0),
        bind_address=given("bindaddress"),
        certificate_files=paths([word.strip('"') for word in values.get("certificatefile", ())]),
        revoked_keys=paths([revoked.strip('"')])[0] if revoked else None,
        known_hosts_command=_command(given("knownhostscommand"), tokens),
        offers_keys=_offers_keys(one("pubkeyauthentication"), one("preferredauthentications")),
        host_key_algorithms=_whole_list(one("hostkeyalgorithms")),
        trusts_loopback=one("nohostauthenticationforlocalhost") == "yes",
    )


def _whole_list(text: str) -> frozenset[str]:
    """Names that are separated by commas; none of a list that only changes ssh's own.

    >>> sorted(_whole_list("ssh-ed25519,rsa-sha2-512")), _whole_list("+ssh-rsa")
    (['rsa-sha2-512', 'ssh-ed25519'], frozenset())
    """
    return frozenset() if text[:1] in ("", "+", "-", "^") else frozenset(text.split(","))


def _offers_keys(allowed: str, preferred: str) -> bool:
    """Whether ssh would log in by a key; it takes a list of ways as the only ones.

    >>> _offers_keys("", ""), _offers_keys("false", ""), _offers_keys("true", "password")
    (True, False, False)
    """
    ways = preferred.lower().split(",") if preferred else ["publickey"]
    return allowed.lower() not in ("no", "false") and "publickey" in ways


def _command(text: str | None, tokens: Mapping[str, str]) -> tuple[str, ...]:
    """KnownHostsCommand; what is known only in the midst of a connection stands empty in it."""
    if text is None:
        return ()
    asked = {**tokens, "H": tokens["h"], "I": "HOSTNAME", "K": "", "t": "", "f": ""}
    try:
        return tuple(expanded(word, asked) for word in shlex.split(text))
    except ValueError as error:
        raise HostError(f"KnownHostsCommand {text!r} cannot be read: {error}") from None


def _agent_socket(value: str, tokens: Mapping[str, str]) -> str | None:
    if value == "none":
        return None
    if value == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK")
    if value.startswith("$") and not value.startswith("${"):
        return os.environ.get(value[1:])
    return str(Path(expanded(value, tokens)).expanduser())
