"""Frame the lines of the hash chain, for writer, crash recovery and verifier. Bytes in, bytes out.

A line is one JSON object: `v` and `seq` first, the record's fields, then `prev` (the hash of the line before) and
`hash`, the SHA-256 of the line's own bytes without the member `hash`. Verification serialises nothing.
The framing never changes; `v` is the version of the fields, so an old verifier can check a newer trail.
"""

import re
import time
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

import orjson

VERSION = 1
MAX_LINE = 1 << 20  # bytes; records are far smaller, so a longer line is damaged and is not kept in memory
START = b'{"v":'

_HEAD = re.compile(rb'\{"v":(\d{1,9}),"seq":(\d{1,18}),')
_TAIL = re.compile(rb',"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"\}\n')
_TAIL_BYTES = len(b',"prev":"","hash":""}\n') + 2 * 64
_HASH_BYTES = len(b',"hash":""}\n') + 64


class ChainLink(NamedTuple):
    """The position of one complete line in the chain."""

    seq: int
    prev: bytes
    hash: bytes
    version: int = VERSION


GENESIS = ChainLink(seq=0, prev=b"", hash=b"0" * 64)


class Chain:
    """Frame records as lines with the hash of the line before: `head` is the last hash, `seq` its number."""

    __slots__ = ("head", "seq")

    def __init__(self, head: bytes = GENESIS.hash, seq: int = GENESIS.seq) -> None:
        self.head = head
        self.seq = seq

    def __repr__(self) -> str:
        return f"<Chain seq={self.seq} head={self.head[:8].decode()}>"

    def append(self, fields: dict[str, object]) -> bytes:
        """Return the next line, newline included; `fields` must not be empty.

        Raise TypeError, and leave the chain unchanged, if a field cannot be written as JSON.
        """
        return self.append_encoded(orjson.dumps(fields))

    def append_encoded(self, document: bytes) -> bytes:
        """Return the next line for a non-empty JSON object; 1.5 µs for 600 bytes."""
        self.seq += 1
        without_hash = b'{"v":%d,"seq":%d,%b,"prev":"%b"}' % (VERSION, self.seq, document[1:-1], self.head)
        self.head = sha256(without_hash).hexdigest().encode()
        return b'%b,"hash":"%b"}\n' % (without_hash[:-1], self.head)

    def gap(self, ts: str, lost: int) -> bytes:
        """Return the line that records the loss of `lost` records."""
        return self.append({"ts": ts, "gap": lost})

    def torn(self, ts: str, size: int) -> bytes:
        """Return the line that records that `size` bytes of an unfinished line were set aside."""
        return self.append({"ts": ts, "torn": size})


def parse_link(line: bytes) -> ChainLink | None:
    """Return the link of a complete and unaltered line, newline included, else None."""
    head, tail = _HEAD.match(line), _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES))
    if head is None or tail is None:
        return None
    prev, claimed = tail.groups()
    if sha256(line[:-_HASH_BYTES] + b"}").hexdigest().encode() != claimed:
        return None
    return ChainLink(int(head[2]), prev, claimed, int(head[1]))


def timestamp(wall: float) -> str:
    """Return Unix seconds as ISO 8601 in UTC with microseconds, which sorts by time."""
    second, micros = divmod(int(wall * 1e6 + 0.5), 1_000_000)
    return f"{_second(second)}.{str(1_000_000 + micros)[1:]}Z"  # a format spec takes as long as everything else


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
