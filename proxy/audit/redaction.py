"""What of a request may be written down, and how: allow-listed, hashed with this installation's salt, bounded (A9)."""

import os
import secrets
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from proxy.errors import StartError
from proxy.fields import Fields

MAX_TEXT = 512  # characters of any field that a client can choose
MAX_VALUE = 256  # characters of one query value or header field
_SALT_BYTES = 32
_MIN_SALT_BYTES = 16

Clients = Literal["none", "hashed", "plain"]


@dataclass(frozen=True, slots=True)
class Redaction:
    """The allow-lists, and what becomes of client addresses. Names are as on the wire; headers in lower case."""

    salt: bytes = b""
    query_parameters: frozenset[bytes] = frozenset()
    headers: tuple[bytes, ...] = ()
    clients: Clients = "none"

    def hashed(self, secret: bytes) -> str:
        """Return what stands for a secret: equal ones look equal here, and without the salt no guess can be tested."""
        return blake2b(secret, key=self.salt, digest_size=8).hexdigest()

    def path(self, path: bytes, query: bytes) -> str:
        """Return the path with its query's names, and the values only of those that may be written down."""
        text = path.decode("latin-1")
        if query:
            text += "?" + "&".join(self._parameter(part) for part in query.split(b"&"))
        return text[:MAX_TEXT]

    def client(self, address: str) -> str | None:
        """Return a client's address as this installation keeps it; None where it keeps none."""
        if self.clients == "none":
            return None
        return address[:MAX_TEXT] if self.clients == "plain" else self.hashed(address.encode())

    def noted_headers(self, fields: Fields) -> dict[str, str]:
        """Return the values of those fields that may be written down."""
        found = ((name, fields.get(name)) for name in self.headers)
        return {name.decode(): value[:MAX_VALUE].decode("latin-1") for name, value in found if value is not None}

    def _parameter(self, part: bytes) -> str:
        """A part without "=" is a value: a token sent bare is no name."""
        name, equals, _ = part.partition(b"=")
        if name in self.query_parameters:
            return part[:MAX_VALUE].decode("latin-1")
        return (name[:MAX_VALUE] + b"=*").decode("latin-1") if equals else "*"


def bounded(text: str | None) -> str | None:
    """Return text that a client chose, cut to MAX_TEXT and free of what JSON cannot say."""
    if text is not None and len(text) <= MAX_TEXT and text.isascii():
        return text
    return None if text is None else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def read_salt(file: Path) -> bytes:
    """Return the installation's salt, made at the first start and kept in a file of mode 0600; raises StartError."""
    try:
        return _made(file)
    except FileExistsError:
        pass  # the usual case: it was made by an earlier start
    except OSError as error:
        raise StartError(f"audit salt {file}: {error.strerror}: set audit.salt_file to one that can be made") from error
    try:
        salt = file.read_bytes()
    except OSError as error:
        raise StartError(f"audit salt {file}: {error.strerror}: let the sidecar read it") from error
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
