"""One SSH connection to one host, through Fabric; the only module that knows Fabric and paramiko.

Fabric reads `ssh_config`, finds jump hosts and logs in. Host keys are checked against the user's
`known_hosts` and the inventory's own. Commands get channels of their own, with standard input.
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
from pytest_dllama.hosts.ssh.channel import CHUNK_BYTES, Channel, ConnectionLost, Finished

CONNECT_TIMEOUT_S = 10.0
DEAD_AFTER_S = 15.0  # without an answer of the other side's network
COMMAND_TIMEOUT_S = 60.0
_known_hosts_lock = threading.Lock()
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # our messages say it better


class SshConnection:
    """A connection that is made when it is needed, and again when it was lost."""

    def __init__(self, entry: HostEntry, inventory: Inventory) -> None:
        self.entry = entry
        self._inventory = inventory
        self._lock = threading.Lock()
        self._fabric: Any = None

    @property
    def where(self) -> str:
        """For messages: `pi2 (pi@192.168.0.12:22)`."""
        if self._fabric is None:
            return f"{self.entry.name} ({self.entry.target})"
        made = self._fabric
        return f"{self.entry.name} ({made.user}@{made.host}:{made.port})"

    def connect(self) -> None:
        """Log in, unless a living connection is there.

        Raises:
            HostError: why not, and what to do.
        """
        with self._lock:
            if self._fabric is not None and self._fabric.is_connected:
                return
            self._drop()
            self._fabric = self._new()
            try:
                with _explained(self.where, self._fabric, self._inventory):
                    self._fabric.open()
                    _fail_fast(self._fabric.transport)
            except HostError:
                self._drop()
                raise

    def _new(self) -> Any:
        entry = self.entry
        settings = self._inventory.ssh_config
        path = {"ssh_config_path": str(settings)} if settings else {}
        connection = Connection(
            entry.target,
            user=entry.user,
            port=entry.port,
            gateway=self._gateway(entry.jump, path),
            connect_timeout=int(CONNECT_TIMEOUT_S),
            connect_kwargs=_login(entry),
            config=Config(**path),
        )
        self._check_keys(connection.client)
        return connection

    def _gateway(self, jump: str | None, path: dict[str, str]) -> Any:
        if jump is None:
            return None  # ssh_config may still name one
        gateway = Connection(
            jump,
            connect_timeout=int(CONNECT_TIMEOUT_S),
            connect_kwargs=_login(self.entry),
            config=Config(**path),
        )
        self._check_keys(gateway.client)
        return gateway

    def _check_keys(self, client: Any) -> None:
        """Fabric alone would take any host key; here known ones bind."""
        own = self._inventory.known_hosts
        if own is None:
            client.load_system_host_keys()
        elif own.exists():
            client.load_system_host_keys(str(own))
        store = own or Path("~/.ssh/known_hosts").expanduser()
        accepts = self._inventory.new_host_keys == "accept"
        client.set_missing_host_key_policy(_StoreKey(store) if accepts else paramiko.RejectPolicy())

    def _drop(self) -> None:
        if self._fabric is not None:
            with contextlib.suppress(Exception):
                self._fabric.close()
            self._fabric = None

    def channel(self, command: str) -> Channel:
        """Start a command on the host.

        Raises:
            HostError: the connection cannot be made, or does not live.
        """
        self.connect()
        made = self._fabric
        if made is None:
            raise ConnectionLost(f"{self.where}: the connection was closed")
        with _explained(self.where, made, self._inventory):
            channel = made.transport.open_session(timeout=CONNECT_TIMEOUT_S)
            channel.exec_command(command)
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


class _StoreKey:
    """Take a host seen for the first time, and remember its key; a changed key is refused."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Called by paramiko."""
        with _known_hosts_lock:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def _login(entry: HostEntry) -> dict[str, Any]:
    """A key named by the inventory is the only one that is tried."""
    if entry.key is None:
        return {}
    return {"key_filename": entry.key, "look_for_keys": False, "allow_agent": False}


def _fail_fast(transport: Any) -> None:
    """Notice a cut link within seconds; the kernel's own patience is a quarter of an hour."""
    transport.set_keepalive(5)
    sock = transport.sock
    if isinstance(sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_AFTER_S * 1e3))


@contextlib.contextmanager
def _explained(where: str, made: Any, inventory: Inventory) -> Iterator[None]:
    """Turn what can go wrong between two machines into a sentence with its remedy."""
    try:
        yield
    except paramiko.BadHostKeyException as error:
        file = inventory.known_hosts or "~/.ssh/known_hosts"
        raise HostError(
            f"{where}: its host key is not the one in {file}: another machine answers there, or it "
            f"was installed anew (got {error.key.get_name()} {error.key.get_fingerprint().hex()}). "
            f"If you installed it anew: ssh-keygen -f {file} -R '[{made.host}]:{made.port}' -R "
            f"{made.host}"
        ) from None
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        raise HostError(
            f"{where} does not let us in: {error}; try: ssh-copy-id -p {made.port} "
            f"{made.user}@{made.host}, or give the right `user` and `key`"
        ) from None
    except FileNotFoundError as error:
        raise HostError(
            f"{where}: no file {error.filename}; `key` names a private key on this machine"
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise ConnectionLost(f"{where}: {_reason(error, made, inventory)}") from error


def _reason(error: Exception, made: Any, inventory: Inventory) -> str:
    if "not found in known_hosts" in str(error):
        return (
            f"its host key is unknown and new_host_keys = 'refuse'; try: ssh {made.user}@"
            f"{made.host} -p {made.port} once, and compare the fingerprint"
        )
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved; give its IP address as `address`"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:g} s; is it on, and on this network?"
    text = str(error).removeprefix("[Errno None] ") or type(error).__name__
    if isinstance(error, (ConnectionRefusedError, paramiko.ssh_exception.NoValidConnectionsError)):
        return f"nobody answers there ({text}); is sshd running (sudo systemctl enable --now ssh)?"
    return f"the connection failed ({text})"
