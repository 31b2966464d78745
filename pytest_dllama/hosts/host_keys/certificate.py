"""Certificates: a key that an authority has signed, a host's for names and a time.

OpenSSH's PROTOCOL.certkeys and `sshkey_cert_check_host`. That the host has the key itself is proved
by the connection's own signature; which authorities are trusted is known_hosts' concern.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Collection
from dataclasses import dataclass

import paramiko

SUFFIX = "-cert-v01@openssh.com"
_HOST = 2  # kind of certificate
_WEAK = "ssh-rsa"  # a signature by SHA-1, which ssh refuses (CASignatureAlgorithms)


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """What stands in it."""

    kind: int
    key_id: str
    principals: tuple[str, ...]
    valid_after_s: int  # since 1970
    valid_before_s: int
    critical: bytes  # options that must be understood; there is none for hosts
    authority: str  # its public key, base64
    is_signed: bool  # by that authority

    def fault(self, name: str, authorities: Collection[str], now_s: float | None = None) -> str:
        """Why it does not vouch for a host of that name; empty: it does.

        Args:
            name: HostKeyAlias, or the host's name in lower case without its port.
            authorities: public keys (base64) of those that known_hosts trusts for it.
            now_s: seconds since 1970; the present without it.
        """
        now = time.time() if now_s is None else now_s
        if self.authority not in authorities:
            return "it is signed by an authority that known_hosts does not name"
        if not self.is_signed:
            return "its signature does not fit"
        if self.kind != _HOST:
            return "it is a user's, not a host's"
        if self.critical:
            return "it has critical options, and hosts have none"
        if now < self.valid_after_s:
            return f"it is not valid before {_day(self.valid_after_s)}; is our clock right?"
        if now >= self.valid_before_s:
            return f"it was valid until {_day(self.valid_before_s)}"
        if name not in self.principals:
            listed = ", ".join(self.principals) or "no name"
            return f"it is for {listed}, not for {name}"
        return ""


def read_certificate(blob: bytes) -> HostCertificate | None:
    """The certificate in a blob of a host key; None if it cannot be read."""
    try:
        return _read(blob)
    except Exception:  # whatever two libraries make of broken bytes
        return None


class _Reader:
    """The fields of a blob, in order; paramiko's reader makes up what is missing at the end."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.at = 0

    def take(self, n: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are not so many.
        """
        found = self._blob[self.at : self.at + n]
        if len(found) != n:
            raise ValueError(f"it ends after {len(self._blob)} bytes")
        self.at += n
        return found

    def number(self, n: int) -> int:
        """An unsigned number of so many bytes."""
        return int.from_bytes(self.take(n), "big")

    def string(self) -> bytes:
        """A string, which its length precedes."""
        return self.take(self.number(4))

    def text(self) -> str:
        """A string of text."""
        return self.string().decode()

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self.at == len(self._blob)


def public_key_of(blob: bytes) -> bytes:
    """The key that a certificate is for, as it stands in a file of its own.

    Raises:
        ValueError: it is no certificate, or it was cut.
    """
    reader = _Reader(blob)
    kind = reader.text()
    if not kind.endswith(SUFFIX):
        raise ValueError(f"it is of kind {kind}")
    reader.string()  # nonce
    plain = kind.removesuffix(SUFFIX)
    fields = [plain.encode(), *(reader.string() for _ in range(_key_fields(plain)))]
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _key_fields(kind: str) -> int:
    """Point and curve of ECDSA, modulus and exponent of RSA."""
    return 1 if kind == "ssh-ed25519" else 2


def _read(blob: bytes) -> HostCertificate:
    reader = _Reader(blob)
    plain = reader.text().removesuffix(SUFFIX)
    for _ in range(1 + _key_fields(plain)):  # nonce, key
        reader.string()
    reader.number(8)  # serial number
    kind, key_id = reader.number(4), reader.text()
    principals, names = _Reader(reader.string()), []
    while not principals.is_at_end:
        names.append(principals.text())
    after, before = reader.number(8), reader.number(8)
    critical, _extensions, _reserved = (reader.string() for _ in range(3))
    authority = reader.string()
    signed, signature = blob[: reader.at], reader.string()
    if not reader.is_at_end:
        raise ValueError("more follows after its signature")
    return HostCertificate(
        kind=kind,
        key_id=key_id,
        principals=tuple(names),
        valid_after_s=after,
        valid_before_s=before,
        critical=critical,
        authority=base64.b64encode(authority).decode(),
        is_signed=_is_signed(signed, signature, authority),
    )


def _is_signed(data: bytes, signature: bytes, authority: bytes) -> bool:
    kind = paramiko.Message(authority).get_text()
    if paramiko.Message(signature).get_text() == _WEAK or kind.endswith(SUFFIX):
        return False
    key = paramiko.PKey.from_type_string(kind, authority)
    return bool(key.verify_ssh_sig(data, paramiko.Message(signature)))


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(min(seconds, 2**34)))
