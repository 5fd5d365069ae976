"""Decide which parts of a request are recorded, and how: allow-listed, hashed with a salt, or truncated."""

import os
import secrets
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from proxy.config.settings import Audit
from proxy.errors import StartError
from proxy.http.fields import Fields
from proxy.http.redacted_target import MAX_TEXT, MAX_VALUE, redacted_path, redacted_query
from proxy.regular_file import read_regular

_SALT_BYTES = 32
_MOST_SALT = 65_536  # bytes of a salt file
_MIN_SALT_BYTES = 16

Clients = Literal["none", "hashed", "plain"]


@dataclass(frozen=True, slots=True)
class Redaction:
    """The allow-lists, and the handling of client addresses. Header names are in lower case."""

    salt: bytes
    query_parameters: frozenset[bytes]
    headers: tuple[bytes, ...]
    clients: Clients

    @classmethod
    def of(cls, settings: Audit) -> "Redaction":
        """Return the redaction from the `[audit]` table, without a salt."""
        return cls(
            b"",
            frozenset([name.encode() for name in settings.query_parameters]),
            tuple([name.lower().encode() for name in settings.headers]),
            settings.clients,
        )

    def hashed(self, secret: bytes) -> str:
        """Return a salted hash: equal secrets have equal hashes, and testing a guess requires the salt."""
        return blake2b(secret, key=self.salt, digest_size=8).hexdigest()

    def path(self, path: bytes, query: bytes) -> str:
        """Return the path and the query without their secrets, cut to MAX_TEXT characters."""
        text = redacted_path(path, self.query_parameters)
        return f"{text}?{redacted_query(query, self.query_parameters)}"[:MAX_TEXT] if query else text

    def client(self, address: str) -> str | None:
        """Return a client's address as configured: plain, hashed, or None."""
        if self.clients == "none":
            return None
        return address[:MAX_TEXT] if self.clients == "plain" else self.hashed(address.encode())

    def noted_headers(self, fields: Fields) -> dict[str, str]:
        """Return the values of the allow-listed fields."""
        found = ((name, fields.get(name)) for name in self.headers)
        return {name.decode(): value[:MAX_VALUE].decode("latin-1") for name, value in found if value is not None}


def bounded(text: str | None) -> str | None:
    """Return a client's text, cut to MAX_TEXT characters and valid for JSON."""
    if text is not None and len(text) <= MAX_TEXT and text.isascii():
        return text
    return None if text is None else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def read_salt(file: Path) -> bytes:
    """Return the installation's salt from a file, created with mode 0600 at the first start. Raise StartError."""
    try:
        return _made(file)
    except FileExistsError:  # the usual case: an earlier start created it
        return _existing(file)
    except OSError as error:
        raise StartError(f"audit salt {file}: {error.strerror}: set audit.salt_file to one that can be made") from error


def _existing(file: Path) -> bytes:
    try:
        salt = read_regular(file, _MOST_SALT)
    except OSError as error:
        cure = "make it readable for the sidecar, or set another audit.salt_file"
        raise StartError(f"audit salt {file}: {error.strerror}: {cure}") from error
    if len(salt) < _MIN_SALT_BYTES:
        raise StartError(f"audit salt {file}: {len(salt)} bytes can be guessed: delete it, and a new one is made")
    return salt[:64]


def _made(file: Path) -> bytes:
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        salt = secrets.token_bytes(_SALT_BYTES)
        os.write(fd, salt)
        os.fsync(fd)
    finally:
        os.close(fd)
    return salt
