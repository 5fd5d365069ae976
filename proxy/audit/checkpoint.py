"""Checkpoints record outside of the trail how far it reached, so that truncation and rewriting are detectable.

A line is one JSON object: `v`, `n` (1 for the first checkpoint, then one more each), `ts`, `from` (number of the first
record that this process wrote itself), `seq` and `head` (number and hash of a record), `key` (the key's name, never the
key), `prev` (SHA-256 of the line before) and `mac`, over the line's own bytes without the `mac` member. Lines of
version 2 have no `from`, lines of version 1 neither `n` nor `prev`.

A checkpoint covers the records from `from` to `seq`. The records before `from` were in the file when the process
started. The process cannot know who wrote them, so only earlier checkpoints cover them.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from hmac import compare_digest, digest
from pathlib import Path
from typing import NamedTuple, Protocol

import orjson
import structlog

from proxy.audit.chain import ChainLink, timestamp
from proxy.audit.files import NoTrailError, TrailError
from proxy.audit.own_file import open_own
from proxy.audit.values import as_text
from proxy.errors import StartError
from proxy.regular_file import opener, read_regular, why_unreadable

VERSION = 3
MIN_KEY_BYTES = 32
_PEM = b"-----BEGIN "
_TAIL = re.compile(rb',"mac":"([0-9a-f]{0,512})"\}\n?')
_MOST_KEY = 65_536  # bytes of a key file
_MAX_LINE = 4096  # bytes; a checkpoint has about 340
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW

log = structlog.get_logger(__name__)


class CheckpointKey(Protocol):
    """A key that signs checkpoints, or only verifies them."""

    @property
    def name(self) -> str:
        """Return the key's name, which distinguishes a wrong key from a forgery."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature. Raise TrailError for a public key."""
        ...

    def checks(self, data: bytes, mac: bytes) -> bool:
        """Tell whether the signature of these bytes was made with this key."""
        ...


class NoKey:
    """No signature: detects truncation, and forgery that did not also change the checkpoint file."""

    name = "none"

    def sign(self, data: bytes) -> bytes:
        return b""

    def checks(self, data: bytes, mac: bytes) -> bool:
        return not mac


class HmacKey:
    """HMAC-SHA256: the same key signs and verifies."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.name = "hmac-" + digest(secret, b"backstay checkpoint key", "sha256").hex()[:16]

    def sign(self, data: bytes) -> bytes:
        return digest(self._secret, data, "sha256")

    def checks(self, data: bytes, mac: bytes) -> bool:
        return compare_digest(self.sign(data), mac)


def read_key(file: Path) -> CheckpointKey:
    """Return the key in a file: PEM is Ed25519, anything else an HMAC secret, text or bytes. Raise TrailError."""
    try:
        content = read_regular(file, _MOST_KEY)
    except OSError as error:
        raise TrailError(f"{file}: the key {why_unreadable(error)}") from error
    if content.lstrip().startswith(_PEM):
        try:
            from proxy.audit.ed25519 import read_pem
        except ImportError as error:
            raise TrailError(f"{file}: an Ed25519 key needs the extra: pip install 'backstay[signing]'") from error
        return read_pem(content.lstrip(), file)
    secret = _secret(content)
    if len(secret) < MIN_KEY_BYTES:
        raise TrailError(
            f"{file}: a key of {len(secret)} bytes can be guessed: head -c 32 /dev/urandom | base64 > {file}"
        )
    return HmacKey(secret)


def _secret(content: bytes) -> bytes:
    """Return printable text without surrounding white space, which editors add; use all bytes of any other content."""
    try:
        printable = b"".join(content.split()).decode().isprintable()
    except UnicodeDecodeError:
        printable = False
    return content.strip() if printable else content


@dataclass(frozen=True, slots=True)
class CheckpointRules:
    """The checkpoint file, its key, and the number of records between checkpoints."""

    path: Path
    key: CheckpointKey
    every: int


class Position(NamedTuple):
    """A position in the chain of checkpoints: their number so far, and the SHA-256 of the last line."""

    n: int
    hash: bytes

    @classmethod
    def after(cls, line: bytes, n: int) -> "Position":
        """Return the position after a line, newline included."""
        return cls(n, sha256(line).hexdigest().encode())


NO_CHECKPOINT = Position(0, b"0" * 64)


class Checkpoints:
    """Write a checkpoint for every durable link, in the writer's thread.

    The file is opened for each line, so it may be moved at any time, preferably to another machine. The chain continues
    in the new file.
    """

    def __init__(self, rules: CheckpointRules, wall: Callable[[], float]) -> None:
        self.rules = rules
        self._wall = wall
        self._position = NO_CHECKPOINT
        self._own_from = 1
        self._failing = False

    def resume(self, found: int) -> "Checkpoint | None":
        """Continue after the last complete checkpoint of the file and return it. Blocks.

        `found`: number of the trail's last record at the start; this process writes the records after it. Truncate an
        unfinished last line, which a crash leaves. Raise StartError for a foreign file.
        """
        self._own_from = found + 1
        try:
            fd = open_own(self.rules.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(f"audit.checkpoints {self.rules.path}: {error.strerror}") from error
        try:
            return self._resume(fd)
        finally:
            os.close(fd)

    def _resume(self, fd: int) -> "Checkpoint | None":
        size = os.fstat(fd).st_size
        end = os.pread(fd, 2 * _MAX_LINE, max(0, size - 2 * _MAX_LINE))
        whole, newline, torn = end.rpartition(b"\n")
        if torn:
            os.ftruncate(fd, size - len(torn))
        if not newline:
            return None
        line = whole.rpartition(b"\n")[2] + b"\n"
        claim = _parse(line, 0, [self.rules.key], None)
        self._position = Position.after(line, claim.n)
        return claim

    def durable(self, last: ChainLink) -> bool:
        """Record that the trail is durable up to this link and return True.

        Log a failure and return False; the next checkpoint covers these records too.
        """
        line = checkpoint_line(timestamp(self._wall()), last, self.rules.key, self._position, self._own_from)
        try:
            self._append(line)
        except OSError as error:
            if not self._failing:
                log.error("audit_checkpoint_failed", path=str(self.rules.path), error=str(error))
            self._failing = True
            return False
        self._position = Position.after(line, self._position.n + 1)
        self._failing = False
        return True

    def _append(self, line: bytes) -> None:
        """Append a line and fsync it, or restore the file: a partial line would corrupt the next one."""
        fd = open_own(self.rules.path, _FLAGS)
        try:
            size = os.fstat(fd).st_size
            try:
                if os.write(fd, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(fd)
            except OSError:
                os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)


class Checkpoint(NamedTuple):
    """The content of one line.

    `signed`: with a given key, or no key was given; `foreign`: with another key; `follows`: it continues the line
    before; `n` is 0 for a line of version 1; `own_from` is the member `from`, 0 for a line of version 1 or 2.
    """

    seq: int
    head: bytes
    key: str
    signed: bool
    foreign: bool
    line: int
    follows: bool = True
    n: int = 0
    own_from: int = 0


def checkpoint_line(
    ts: str, last: ChainLink, key: CheckpointKey, after: Position = NO_CHECKPOINT, own_from: int = 1
) -> bytes:
    """Return a checkpoint's line, newline included, of a process that wrote the records from `own_from` to `last`."""
    claim = {
        "v": VERSION, "n": after.n + 1, "ts": ts, "from": own_from, "seq": last.seq, "head": last.hash.decode(),
        "key": key.name, "prev": after.hash.decode(),
    }  # fmt: skip
    body = orjson.dumps(claim)
    return b"".join((body[:-1], b',"mac":"', key.sign(body).hex().encode(), b'"}\n'))


def read(file: Path, keys: Sequence[CheckpointKey] = ()) -> Iterator[Checkpoint]:
    """Yield the checkpoints of a file, oldest first; skip an unfinished last line.

    Without keys no signature is verified. The first line may continue a file that was moved. Raise TrailError.
    """
    position: Position | None = None
    try:
        with open(file, "rb", opener=opener) as stream:
            for number, line in enumerate(iter(partial(stream.readline, _MAX_LINE), b""), start=1):
                if line.endswith(b"\n") or len(line) == _MAX_LINE:
                    claim = _parse(line, number, keys, position)
                    position = Position.after(line, claim.n)
                    yield claim
    except FileNotFoundError:
        raise NoTrailError(f"{file}: no such file: there are no checkpoints to verify the trail against") from None
    except OSError as error:
        raise TrailError(f"{file}: {error.strerror}") from error


def fingerprint(data: bytes) -> str:
    """Return a short public name of a public key."""
    return sha256(data).hexdigest()[:16]


def _parse(line: bytes, number: int, keys: Sequence[CheckpointKey], before: Position | None) -> Checkpoint:
    """Parse a line; `before` is the position after the line above it, None for the first line of a file."""
    tail = _TAIL.search(line, max(0, len(line) - 600))
    try:
        claim = orjson.loads(line)
        seq, head, name = int(claim["seq"]), as_text(claim["head"]).encode(), as_text(claim["key"])
        n, prev = int(claim.get("n", 0)), as_text(claim.get("prev", "")).encode()
        own_from = int(claim.get("from", 0))
    except (orjson.JSONDecodeError, AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return Checkpoint(0, b"", "", signed=False, foreign=False, line=number)
    own = [key for key in keys if key.name == name]
    signed = tail is not None and tail.end() == len(line) and _signed(line[: tail.start()] + b"}", tail[1], own)
    follows = before is None or (n == before.n + 1 and prev == before.hash) or n == before.n == 0
    return Checkpoint(seq, head, name, signed or not keys, bool(keys) and not own, number, follows, n, own_from)


def _signed(data: bytes, mac: bytes, keys: Sequence[CheckpointKey]) -> bool:
    return any(key.checks(data, _unhex(mac)) for key in keys)


def _unhex(text: bytes) -> bytes:
    try:
        return bytes.fromhex(text.decode())
    except ValueError:
        return b"?"
