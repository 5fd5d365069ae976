"""Decide which parts of a request are recorded, and how: allow-listed, hashed with a salt, bounded."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from proxy.config.settings import Audit
from proxy.errors import StartError
from proxy.http.fields import Fields
from proxy.regular_file import read_regular

MAX_TEXT: Final = 512  # characters of any text from a client
MAX_VALUE: Final = 256  # characters of one query value or header field
# a path without a known kind of secret
_UNSUSPECTED: Final = re.compile(r"(?:/(?!gh|sk|xox|glpat-)[a-z0-9_.~\-]{0,39}+)*+")
_ENCODED_QUERY: Final = re.compile("%3[Ff].*", re.DOTALL)
_COLON = re.compile(":|%3[Aa]")
_TOKEN = re.compile(r"[A-Za-z0-9_\-.~+=%]+")
_HEX = re.compile("[0-9a-f]+")
_TOKEN_PREFIXES = ("eyJ", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk_", "sk-", "xox", "AKIA", "glpat-")
_SALT_BYTES = 32
_MOST_SALT = 65_536  # bytes of a file
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
        """Return the redaction of the table of the audit trail, still without a salt."""
        return cls(
            b"",
            frozenset([name.encode() for name in settings.query_parameters]),
            tuple([name.lower().encode() for name in settings.headers]),
            settings.clients,
        )

    def hashed(self, secret: bytes) -> str:
        """Return a salted hash: equal secrets have equal hashes, and without the salt no guess can be tested."""
        return blake2b(secret, key=self.salt, digest_size=8).hexdigest()

    def path(self, path: bytes, query: bytes) -> str:
        """Return the path with the query's names, and only allow-listed values.

        Secrets in the path are replaced by rule: what follows an encoded "?", values of path parameters
        (`;jsessionid=`), user and password before "@", and segments that look like a token.
        """
        text = path.decode("latin-1")
        if _UNSUSPECTED.fullmatch(text) is None:
            segments = _ENCODED_QUERY.sub("%3F*", text, 1).split("/", MAX_TEXT)
            text = "/".join(_fitting(map(self._segment, segments)))
        if query:
            parts = query.split(b"&", MAX_TEXT)[:MAX_TEXT]  # more would not fit in any case
            text += "?" + "&".join([self._parameter(part) for part in parts])
        return text[:MAX_TEXT]

    def client(self, address: str) -> str | None:
        """Return a client's address as configured: plain, hashed, or None."""
        if self.clients == "none":
            return None
        return address[:MAX_TEXT] if self.clients == "plain" else self.hashed(address.encode())

    def noted_headers(self, fields: Fields) -> dict[str, str]:
        """Return the values of the allow-listed fields."""
        found = ((name, fields.get(name)) for name in self.headers)
        return {name.decode(): value[:MAX_VALUE].decode("latin-1") for name, value in found if value is not None}

    def _segment(self, segment: str) -> str:
        """Return one segment of a path with its secrets replaced."""
        name, *parameters = segment.split(";", MAX_TEXT)[:MAX_TEXT]
        at = max(name.rfind("@"), name.lower().rfind("%40"))
        if at >= 0 and _COLON.search(name[:at]) is not None:
            name = "*" + name[at:]
        shown = ["*" if _is_token(name) else name]
        shown += [self._parameter(part.encode("latin-1")) for part in parameters]
        return ";".join(shown)

    def _parameter(self, part: bytes) -> str:
        """Return one query parameter, redacted. A part without "=" is treated as a value, perhaps a token."""
        name, equals, _ = part.partition(b"=")
        if name in self.query_parameters:
            return part[:MAX_VALUE].decode("latin-1")
        return (name[:MAX_VALUE] + b"=*").decode("latin-1") if equals else "*"


def _fitting(parts: Iterable[str]) -> Iterator[str]:
    """Yield parts until they fill MAX_TEXT characters, with one character between parts."""
    room = MAX_TEXT
    for part in parts:
        yield part
        room -= len(part) + 1
        if room <= 0:
            return


def _is_token(text: str) -> bool:
    """Tell whether text looks like a secret: a JSON Web Token, a random string, or a long digest."""
    if len(text) < 20 or _TOKEN.fullmatch(text) is None:
        return False
    if text.startswith(_TOKEN_PREFIXES):
        return True
    digit, lower = any(map(str.isdigit, text)), text.lower() == text
    if lower:
        return digit and len(text) >= 40 and _HEX.fullmatch(text) is not None
    return digit and len(text) >= 32 and text.upper() != text


def bounded(text: str | None) -> str | None:
    """Return a client's text, cut to MAX_TEXT characters and valid for JSON."""
    if text is not None and len(text) <= MAX_TEXT and text.isascii():
        return text
    return None if text is None else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def read_salt(file: Path) -> bytes:
    """Return the installation's salt from a file, created with mode 0600 at the first start. Raise StartError."""
    try:
        return _made(file)
    except FileExistsError:
        pass  # the usual case: an earlier start made it
    except OSError as error:
        raise StartError(f"audit salt {file}: {error.strerror}: set audit.salt_file to one that can be made") from error
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
