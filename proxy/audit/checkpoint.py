"""Checkpoints: how far the trail went, said outside of it and signed, so that a cut tail or a trail made anew shows.

A line is one JSON object: `v`, `ts`, `seq` and `head` (the hash of that record), `key` (which one, never what) and
`mac`, over the line's own bytes without the `mac` member.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest, digest
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson
import structlog

from proxy.audit.chain import Link, timestamp
from proxy.audit.files import NoTrailError, TrailError

VERSION = 1
MIN_KEY_BYTES = 32
_PEM = b"-----BEGIN "
_TAIL = re.compile(rb',"mac":"([0-9a-f]*)"\}\n?')

log = structlog.get_logger(__name__)


class Key(Protocol):
    """What signs checkpoints, or only checks them."""

    @property
    def name(self) -> str:
        """Return which key it is, for people and for telling a wrong key from a forgery."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature; raises TrailError for half of a key pair that can only check."""
        ...

    def checks(self, data: bytes, mac: bytes) -> bool:
        """Tell whether the signature is this key's, over these bytes."""
        ...


class NoKey:
    """No signature: it shows a lost tail, and a forger who does not know of the second file."""

    name = "none"

    def sign(self, data: bytes) -> bytes:
        return b""

    def checks(self, data: bytes, mac: bytes) -> bool:
        return not mac


class HmacKey:
    """HMAC-SHA256: whoever can check can also sign."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.name = "hmac-" + digest(secret, b"backstay checkpoint key", "sha256").hex()[:16]

    def sign(self, data: bytes) -> bytes:
        return digest(self._secret, data, "sha256")

    def checks(self, data: bytes, mac: bytes) -> bool:
        return compare_digest(self.sign(data), mac)


def read_key(file: Path) -> Key:
    """Return the key in a file: PEM is Ed25519, anything else is an HMAC secret. Raises TrailError with the cure."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TrailError(f"{file}: the key cannot be read: {error.strerror}") from error
    if content.startswith(_PEM):
        try:
            from proxy.audit.ed25519 import read_pem
        except ImportError as error:
            raise TrailError(f"{file}: an Ed25519 key needs the extra: pip install 'backstay[signing]'") from error
        return read_pem(content, file)
    secret = content.strip()
    if len(secret) < MIN_KEY_BYTES:
        raise TrailError(
            f"{file}: a key of {len(secret)} bytes can be guessed: head -c 32 /dev/urandom | base64 > {file}"
        )
    return HmacKey(secret)


@dataclass(frozen=True, slots=True)
class CheckpointRules:
    """Where checkpoints go, what signs them, and after how many records the next one is due."""

    path: Path
    key: Key
    every: int = 1_000


class Checkpoints:
    """Write a checkpoint for every link that became durable; in the writer's thread.

    The file is opened anew for each line: it may be moved away at any time, to another machine best of all.
    """

    def __init__(self, rules: CheckpointRules, wall: Callable[[], float]) -> None:
        self.rules = rules
        self._wall = wall
        self._failing = False

    def durable(self, last: Link) -> None:
        """Take down that the trail reaches to this link. A failure is logged, and the next one covers this one too."""
        line = seal(timestamp(self._wall()), last, self.rules.key)
        try:
            fd = os.open(self.rules.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, line)
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if not self._failing:
                log.error("audit_checkpoint_failed", path=str(self.rules.path), error=str(error))
            self._failing = True
        else:
            self._failing = False


class Checkpoint(NamedTuple):
    """What one line claims. `signed`: by a key that was given, or none was; `foreign`: by one that was not."""

    seq: int
    head: bytes
    key: str
    signed: bool
    foreign: bool
    line: int


def seal(ts: str, last: Link, key: Key) -> bytes:
    """Return a checkpoint's line, newline included."""
    claim = {"v": VERSION, "ts": ts, "seq": last.seq, "head": last.hash.decode(), "key": key.name}
    body = orjson.dumps(claim)
    return b"".join((body[:-1], b',"mac":"', key.sign(body).hex().encode(), b'"}\n'))


def read(file: Path, keys: Sequence[Key] = ()) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a file, oldest first; one cut off by a crash at the very end is passed.

    Without keys no signature is checked.
    """
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.endswith(b"\n"):
                    yield _parse(line, number, keys)
    except FileNotFoundError:
        raise NoTrailError(f"{file}: no such file: there are no checkpoints to hold the trail against") from None
    except OSError as error:
        raise TrailError(f"{file}: {error.strerror}") from error


def fingerprint(data: bytes) -> str:
    """Return a short public name for a public key."""
    return sha256(data).hexdigest()[:16]


def _parse(line: bytes, number: int, keys: Sequence[Key]) -> Checkpoint:
    tail = _TAIL.search(line)
    try:
        claim = orjson.loads(line)
        seq, head, name = int(claim["seq"]), str(claim["head"]).encode(), str(claim["key"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return Checkpoint(0, b"", "", False, False, number)
    own = [key for key in keys if key.name == name]
    signed = tail is not None and tail.end() == len(line) and _signed(line[: tail.start()] + b"}", tail[1], own)
    return Checkpoint(seq, head, name, signed or not keys, bool(keys) and not own, number)


def _signed(data: bytes, mac: bytes, keys: Sequence[Key]) -> bool:
    return any(key.checks(data, _unhex(mac)) for key in keys)


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode())
    except ValueError:
        return b"?"
