"""Whether a host is the one that it was: its key against known_hosts, as `ssh` judges it.

A key is taken when a line has it or an authority of known_hosts has signed it, stored when nothing
is known of the host and both ssh_config and the inventory allow that, refused otherwise.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.host_keys.certificate import SUFFIX, read_certificate
from pytest_dllama.hosts.host_keys.known_hosts import (
    AUTHORITY,
    REVOKED,
    KnownHosts,
    KnownKey,
    add_key,
    hashed_name,
)
from pytest_dllama.hosts.host_keys.revoked import why_revoked
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh.settings import SshSettings

_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # signatures by a key of kind ssh-rsa


class HostKeyCheck:
    """The check of one host; paramiko asks it for every key, for it is given none itself."""

    def __init__(self, settings: SshSettings, inventory: Inventory, where: str) -> None:
        self._settings = settings
        self._inventory = inventory
        self._where = where
        own = inventory.known_hosts
        self._stores: Sequence[Path] = (own,) if own else settings.user_known_hosts
        others = () if own else settings.global_known_hosts
        known = KnownHosts([*self._stores, *others], settings.known_hosts_command)
        self.remarks = known.broken
        self._known = known.keys(settings.key_name)
        if not self._known and settings.host_key_alias is None:
            self._known = self._without_port(known)

    def _without_port(self, known: KnownHosts) -> list[KnownKey]:
        """A key that stands under the bare name is good at any port."""
        return known.keys(self._settings.hostname.lower())

    def transport(self, sock: Any, **options: Any) -> paramiko.Transport:
        """A transport that asks for keys of the kinds that are known before all others.

        Raises:
            HostError: ssh_config allows no kind that is known here.
        """
        made = paramiko.Transport(sock, **options)
        security = made.get_security_options()
        known = [k for key in self._known for k in (_RSA if key.kind == "ssh-rsa" else (key.kind,))]
        kinds = sorted(security.key_types, key=lambda kind: kind not in known)
        if any(key.marker == AUTHORITY for key in self._known):
            kinds = [*(kind + SUFFIX for kind in kinds), *kinds]
        if allowed := self._settings.host_key_algorithms:
            kinds = [kind for kind in kinds if kind in allowed]
        if not kinds:
            sock.close()
            raise HostError(
                f"{self._where}: of HostKeyAlgorithms in ssh_config none is known here "
                f"({', '.join(sorted(allowed))}); allow ssh-ed25519 or rsa-sha2-512 too"
            )
        security.key_types = kinds
        return made

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Called by paramiko once the host has shown its key.

        Raises:
            HostError: the host may be another one, or is not to be trusted.
        """
        kind, blob = key.get_name(), key.get_base64()
        file = self._settings.revoked_keys
        if file is not None and (reason := why_revoked(file, kind, blob)):
            raise HostError(f"{self._where}: its host key is not to be trusted: {reason}")
        if self._settings.trusts_loopback and _is_loopback(self._settings.hostname):
            return
        if self._has_key(kind, blob) or (fault := self._certificate_fault(key)) == "":
            return
        others = [known for known in self._known if not known.marker]
        if not others:
            self._take_new(kind, blob, fault)
        elif self._settings.strict != "no" or self._inventory.new_host_keys == "refuse":
            raise HostError(self._changed(others[0], key))
        else:
            self.remarks.append(
                f"its host key is not the one in {others[0].where}; ssh_config says "
                "StrictHostKeyChecking no"
            )

    def _has_key(self, kind: str, blob: str) -> bool:
        """Whether a line of known_hosts has this very key.

        Raises:
            HostError: one has it with the mark @revoked.
        """
        same = [known for known in self._known if (known.kind, known.blob) == (kind, blob)]
        for known in same:
            if known.marker == REVOKED:
                raise HostError(
                    f"{self._where}: its host key is marked @revoked in {known.where}: do not "
                    "trust that machine; give it a new key"
                )
        return any(not known.marker for known in same)

    def _certificate_fault(self, key: Any) -> str | None:
        """Why its certificate does not do, empty if it does; None where no authority is named."""
        trusted = {known.blob for known in self._known if known.marker == AUTHORITY}
        if not trusted:
            return None
        blob = getattr(getattr(key, "public_blob", None), "key_blob", None)
        if blob is None:
            return "known_hosts names an authority for it, but it shows no certificate"
        found = read_certificate(blob)
        trusted -= {known.blob for known in self._known if known.marker == REVOKED}
        name = self._settings.host_key_alias or self._settings.hostname.lower()
        fault = found.fault(name, trusted) if found else "it cannot be read"
        return fault and f"its certificate does not do: {fault}"

    def _changed(self, known: KnownKey, key: Any) -> str:
        file = known.where.rpartition(":")[0]
        return (
            f"{self._where}: its host key is not the one in {file}: another machine answers there, "
            f"or it was installed anew (got {key.get_name()} {key.fingerprint}, line "
            f"{known.where.rpartition(':')[2]} has another). If you installed it anew: ssh-keygen "
            f"-f {file} -R '{self._settings.key_name}'"
        )

    def _take_new(self, kind: str, blob: str, fault: str | None) -> None:
        """Store a key of which nothing is known, if that is allowed.

        Args:
            kind: as in ssh-ed25519.
            blob: the key, base64.
            fault: of its certificate.
        """
        settings, name = self._settings, self._settings.key_name
        place = f"{settings.user}@{settings.hostname} -p {settings.port}"
        look = f"try: ssh {place} once, and compare the fingerprint"
        if fault:
            look = f"{fault}; {look}"
        if self._inventory.new_host_keys == "refuse":
            reason = f"new_host_keys = 'refuse'; {look}"
            raise HostError(f"{self._where}: its host key is unknown and {reason}")
        if settings.strict == "yes":
            reason = f"ssh_config says StrictHostKeyChecking yes; {look}"
            raise HostError(f"{self._where}: its host key is unknown and {reason}")
        if not self._stores:
            return
        file = self._stores[0]
        try:
            add_key(file, hashed_name(name) if settings.hashes_names else name, kind, blob)
        except OSError as error:
            self.remarks.append(f"its host key cannot be stored in {file}: {error.strerror}")


def _is_loopback(hostname: str) -> bool:
    """Whether a name leads to this machine itself."""
    try:
        return ipaddress.ip_address(socket.gethostbyname(hostname)).is_loopback
    except (OSError, ValueError):
        return hostname == "::1"
