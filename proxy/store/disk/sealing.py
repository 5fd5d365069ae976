"""Encrypt rows with AES-256-GCM, and name them by HMACs: a file does not reveal what it is about.

The first byte of a sealed value says how: 0 is plain, 1 is encrypted. The place of a row is authenticated with its
content, so a row that was moved to another place cannot be read there. A random nonce serves 2^32 values of one key.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from typing import Protocol

from proxy.errors import StartError
from proxy.regular_file import read_regular

KEY_BYTES = 32
NAME_BYTES = 20
_NONCE_BYTES = 12  # NIST SP 800-38D section 5.2.1.1
_MOST = 65_536  # bytes of a key file
_PLAIN, _ENCRYPTED = b"\x00", b"\x01"
_MAKE = "openssl rand -base64 32"


class UnreadableError(Exception):
    """No key opens the value, or it stands in another place than it was sealed for."""


class Seal(Protocol):
    """How values are written and read."""

    encrypts: bool

    def seal(self, place: bytes, content: bytes) -> bytes:
        """Return the value of a row at a place."""
        ...

    def unseal(self, place: bytes, value: bytes) -> tuple[bytes, bool]:
        """Return the content, and whether it has the newest key. Raise UnreadableError."""
        ...


class Plain:
    """Values as they are."""

    encrypts = False

    def seal(self, place: bytes, content: bytes) -> bytes:
        """Return the content, marked as plain."""
        return _PLAIN + content

    def unseal(self, place: bytes, value: bytes) -> tuple[bytes, bool]:
        """Return the content. Raise UnreadableError for an encrypted value."""
        if not value.startswith(_PLAIN):
            raise UnreadableError
        return value[1:], True


class Encrypted:
    """AES-256-GCM: the first key encrypts, every key decrypts."""

    encrypts = True

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take at least one key. Raise StartError without the library."""
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            text = "store.key_file needs the package cryptography: pip install 'backstay[durable]'"
            raise StartError(text) from None
        self._invalid = InvalidTag
        self._ciphers = tuple(AESGCM(key) for key in keys)

    def seal(self, place: bytes, content: bytes) -> bytes:
        """Return the content, encrypted for its place."""
        nonce = os.urandom(_NONCE_BYTES)
        return _ENCRYPTED + nonce + self._ciphers[0].encrypt(nonce, content, place)

    def unseal(self, place: bytes, value: bytes) -> tuple[bytes, bool]:
        """Return the content, and whether the first key opened it. A plain value proves nothing and is refused."""
        if value.startswith(_ENCRYPTED):
            nonce, sealed = value[1 : 1 + _NONCE_BYTES], value[1 + _NONCE_BYTES :]
            for cipher in self._ciphers:
                try:
                    return cipher.decrypt(nonce, sealed, place), cipher is self._ciphers[0]
                except (self._invalid, ValueError):  # ValueError: the value was cut off
                    continue
        raise UnreadableError


class Names:
    """Digests with a key of the file's own: the same thing has another name in every file."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, what: bytes, value: bytes) -> bytes:
        """Return the name of a value; `what` separates values of different kinds."""
        return hmac.digest(self._key, what + b"\0" + value, "sha256")[:NAME_BYTES]


def seal_of(key_file: str | None) -> Seal:
    """Return how values are sealed. Raise StartError for a key file without usable keys."""
    return Plain() if key_file is None else Encrypted(read_keys(key_file))


def read_keys(path: str) -> list[bytes]:
    """Return the keys of a file, one a line. Raise StartError that names the line and the cure."""
    try:
        lines = read_regular(path, _MOST).decode("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise StartError(f"store.key_file: {path}: {reason}; make one with: {_MAKE} > {path}") from None
    keys = [_key(line.strip(), f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not keys:
        raise StartError(f"store.key_file: {path} has no key; make one with: {_MAKE} > {path}")
    return keys


def _key(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise StartError(f"store.key_file: {where} is not 32 bytes in base64 or in hex; make a key with: {_MAKE}")
    return key
