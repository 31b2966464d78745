"""One SSH connection to one host, through Fabric, by way of the jump hosts that `ssh` would take.

What ssh_config says stands in `settings`, what keys are offered in `login`, what keys hosts show in
`known_hosts`. Every host of the way is checked. Commands get channels of their own, with input.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import paramiko
from fabric import Config, Connection

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.inventory import HostEntry, Inventory
from pytest_dllama.hosts.ssh.channel import (
    CHUNK_BYTES,
    Channel,
    ConnectionLost,
    Finished,
    announced,
)
from pytest_dllama.hosts.ssh.host_key import HostKeyCheck
from pytest_dllama.hosts.ssh.login import Login
from pytest_dllama.hosts.ssh.proxy import Proxy
from pytest_dllama.hosts.ssh.settings import SshSettings, route_to

CONNECT_TIMEOUT_S = 10.0
DEAD_AFTER_S = 15.0  # without an answer of the other side's network
COMMAND_TIMEOUT_S = 60.0
THREAD_END_S = 2.0
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # our messages say it better


class SshConnection:
    """A connection that is made when it is needed, and again when it was lost."""

    def __init__(self, entry: HostEntry, inventory: Inventory) -> None:
        self.entry = entry
        self._inventory = inventory
        self._lock = threading.Lock()
        self._fabric: Any = None
        self._way: list[Any] = []  # what it goes through, jump hosts and proxies
        self._route: tuple[SshSettings, ...] = ()
        self.remarks: list[str] = []  # what its user should know, though it works

    @property
    def where(self) -> str:
        """For messages: `pi2 (pi@192.168.0.12:22)`."""
        if not self._route:
            return f"{self.entry.name} ({self.entry.target})"
        return self._name_of(self._route[-1])

    def _name_of(self, hop: SshSettings) -> str:
        place = f"{hop.user}@{hop.hostname}:{hop.port}"
        is_jump = hop is not self._route[-1]
        return f"{self.entry.name} ({f'its jump host {place}' if is_jump else place})"

    def connect(self) -> None:
        """Log in, unless a living connection is there.

        Raises:
            HostError: why not, and what to do.
        """
        with self._lock:
            if self._fabric is not None and self._fabric.is_connected:
                return
            self._drop()
            self._route = self._route or route_to(self.entry, self._inventory)
            self._check_key_file()
            try:
                made = None
                for hop in self._route:
                    made = self._open(hop, made)
                self._fabric = made
            except BaseException:
                self._drop()
                raise

    def _check_key_file(self) -> None:
        key = self.entry.key
        if key is not None and not Path(key).is_file():
            raise HostError(
                f"{self.where}: no file {key}; `key` names a private key on this machine"
            )

    def _open(self, hop: SshSettings, gateway: Any) -> Any:
        where = self._name_of(hop)
        check = HostKeyCheck(hop, self._inventory, where)
        login = {"auth_strategy": Login(hop), "transport_factory": check.transport}
        proxy = None
        if hop.proxy_command is not None and gateway is None:
            proxy = Proxy(hop.proxy_command)
            login["sock"] = proxy.sock
            self._way.append(proxy)
        elif gateway is None and (hop.family or hop.bind_address):
            with _explained(where, hop):
                login["sock"] = _dialled(hop)
        made = Connection(
            hop.hostname,
            user=hop.user,
            port=hop.port,
            gateway=gateway,
            connect_timeout=int(CONNECT_TIMEOUT_S),
            connect_kwargs=login,
            config=Config(ssh_config=paramiko.SSHConfig()),  # all that it says is in `hop`
        )
        made.client.set_missing_host_key_policy(check)
        self._way.append(made)
        with _told_by(proxy), _explained(where, hop, is_behind=gateway is not None):
            made.open()
            _fail_fast(made.transport)
        self.remarks += [text for text in check.remarks if text not in self.remarks]
        return made

    def _drop(self) -> None:
        self._fabric = None
        while self._way:
            part = self._way.pop()
            if isinstance(part, Proxy):
                part.close()
                continue
            transport = part.client.get_transport()
            with contextlib.suppress(Exception):
                part.close()
                part.client.close()  # one that got half-way is none that Fabric closes
            if transport is not None and part.connect_kwargs.get("sock") is not None:
                transport.join(THREAD_END_S)  # its thread reads a socket that is closed next

    def channel(self, command: str) -> Channel:
        """Start a command on the host.

        Raises:
            HostError: the connection cannot be made, or does not live.
        """
        self.connect()
        made = self._fabric
        if made is None:
            raise ConnectionLost(f"{self.where}: the connection was closed")
        with _explained(self.where, self._route[-1]):
            channel = made.transport.open_session(timeout=CONNECT_TIMEOUT_S)
            channel.exec_command(announced(command))
        return Channel(channel, self.where)

    def run(
        self, command: Sequence[str], stdin: bytes = b"", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Finished:
        """Run a command to its end.

        Raises:
            HostError: the connection fails, or the command is silent for `timeout_s`.
        """
        channel = self.channel(shlex.join(command))
        try:
            return channel.communicate(stdin, timeout_s, shlex.join(command)[:80])
        finally:
            channel.close()

    def upload(
        self, source: IO[bytes], target: str, report: Callable[[int], None] = lambda n: None
    ) -> None:
        """Send a file; it stands at `target` whole or not at all.

        Raises:
            HostError: the host cannot keep it, with its reason.
        """
        script = 'umask 077; p="$1.part.$$"; cat > "$p" && mv "$p" "$1" || { rm -f "$p"; exit 1; }'
        channel = self.channel(shlex.join(["sh", "-c", script, "upload", target]))
        try:
            sent = 0
            while chunk := source.read(CHUNK_BYTES):
                channel.send(chunk)
                sent += len(chunk)
                report(sent)
            done = channel.communicate(b"", COMMAND_TIMEOUT_S, f"upload of {target}")
        except ConnectionLost as error:
            done = channel.communicate(None, 1.0, f"upload of {target}", lost=str(error))
        finally:
            channel.close()
        if done.code != 0:
            raise HostError(f"{self.where}: {target} cannot be written: {done.err.strip()}")

    def close(self) -> None:
        """Close the connection; channels end with it."""
        with self._lock:
            self._drop()


def _dialled(hop: SshSettings) -> socket.socket:
    """A connection of ssh_config's AddressFamily, from its BindAddress.

    Raises:
        OSError: the last address that did not answer.
    """
    found = socket.getaddrinfo(hop.hostname, hop.port, hop.family, socket.SOCK_STREAM)
    for number, (family, kind, protocol, _, address) in enumerate(found, start=1):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(CONNECT_TIMEOUT_S)
            if hop.bind_address:
                made.bind((hop.bind_address, 0))
            made.connect(address)
            made.settimeout(None)
        except OSError:
            made.close()
            if number == len(found):
                raise
        else:
            return made
    raise socket.gaierror(socket.EAI_NONAME, "no address")


@contextlib.contextmanager
def _told_by(proxy: Proxy | None) -> Iterator[None]:
    """A proxy's own words say more than that the connection failed."""
    try:
        yield
    except ConnectionLost as error:
        told = proxy.error_tail() if proxy is not None else ""
        raise ConnectionLost(f"{error}; {told}" if told else str(error)) from error


def _fail_fast(transport: Any) -> None:
    """Notice a cut link within seconds; the kernel's own patience is a quarter of an hour."""
    transport.set_keepalive(5)
    sock = transport.sock
    is_tcp = isinstance(sock, socket.socket) and sock.family != socket.AF_UNIX
    if is_tcp and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_AFTER_S * 1e3))


@contextlib.contextmanager
def _explained(where: str, hop: SshSettings, *, is_behind: bool = False) -> Iterator[None]:
    """Turn what can go wrong between two machines, or behind a third, into a sentence."""
    try:
        yield
    except paramiko.AuthenticationException as error:
        remedy = (
            f"try: ssh-copy-id -p {hop.port} {hop.user}@{hop.hostname}, or give the right `user` "
            "and `key`"
            if hop.offers_keys
            else f"allow them for {hop.name}"
        )
        raise HostError(f"{where} does not let us in: {error}; {remedy}") from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLost(f"{where}: {_reason(error, is_behind)}") from error


def _reason(error: Exception, is_behind: bool) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved; give its IP address as `address`"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:g} s; is it on, and on this network?"
    text = str(error).removeprefix("[Errno None] ") or type(error).__name__
    if isinstance(error, (ConnectionRefusedError, paramiko.ssh_exception.NoValidConnectionsError)):
        return f"nobody answers there ({text}); is sshd running (sudo systemctl enable --now ssh)?"
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        lacking = text.partition("(")[2].rstrip(")") or text
        where = "HostKeyAlgorithms of ssh_config" if "host key" in text else "sshd_config there"
        return f"it and we have no algorithm in common ({lacking}); see {where}"
    if isinstance(error, EOFError) or "protocol banner" in text:
        return "whoever answers there hung up before or during the login; is it an SSH server?"
    if isinstance(error, paramiko.ChannelException):
        return _refusal(error, is_behind)
    return f"the connection failed ({text})"


def _refusal(error: paramiko.ChannelException, is_behind: bool) -> str:
    """Why a channel is not opened: to a host behind another one, or for one more command."""
    if not is_behind:
        return f"it opens no more sessions ({error.text}); see MaxSessions of its sshd"
    if error.code == paramiko.common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED:
        return f"its jump host forwards nothing ({error.text}); see AllowTcpForwarding of its sshd"
    return f"its jump host does not reach it ({error.text}); is it on, and is sshd running there?"
