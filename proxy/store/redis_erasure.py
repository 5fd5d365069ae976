"""Erase one subject's values in Redis. Their names are digests, so every value in the namespace is read.

A subject's value begins with the subject's digest, so no index is needed and requests have no cost. The search reads
160 bytes of each value, a few hundred at a time, and other commands run in between.
"""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

from redis.exceptions import RedisError

from proxy.policy.claim_rules import ERASED
from proxy.store import scripts
from proxy.store.command_queue import CommandQueue
from proxy.store.packing import (
    SUBJECT_BYTES,
    Damaged,
    head_names_another,
    pack,
    pack_result,
    subject_name,
    unpack,
)
from proxy.store.redis_connection import RedisConnection, StoreDown

AT_ONCE = 250  # names of one step: Redis takes less than a millisecond for it
_HOLD_NOTHING = ("mark:", "lease:", "probe:")
_GLOB = re.compile(r"[*?\[\]\\]")


class RedisErasure:
    """A search through all values in the configured namespace."""

    def __init__(self, connection: RedisConnection, commands: CommandQueue) -> None:
        self._connection = connection
        self._commands = commands
        self._prefix = connection.key("")
        self._pattern = _GLOB.sub(r"\\\g<0>", self._prefix) + "*"

    async def erase(self, subject: str) -> tuple[set[str], set[str]]:
        """Erase a subject's values; return the names of cached responses and of claims. Raise StoreDown.

        A response is deleted. A claim keeps its name, its fingerprint and its expiry: the key stays used.
        """
        await self._commands.execute("erase", "PING")  # earlier settlements in the queue are written first
        cached, claims, cursor = set[str](), set[str](), 0
        begins = b'{"subject":"%b"' % subject_name(subject).encode()
        while True:
            cursor, names = await self._connection.run("erase", partial(self._scan, cursor))
            found = await self._of_subject(begins, filter(self._may_hold, map(bytes.decode, names)))
            mine = {name for name in found if self._kind(name) == "claim"}
            await self._erase_claims(sorted(mine))
            await self._all([("UNLINK", name) for name in found if name not in mine])
            claims |= {name.rpartition(":")[2] for name in mine}
            cached |= {name for name in found if self._kind(name) == ""}
            if not cursor:
                return cached, claims

    async def _scan(self, cursor: int) -> tuple[int, list[bytes]]:
        command = ("SCAN", cursor, "MATCH", self._pattern, "COUNT", AT_ONCE)
        found, names = await self._connection.client.execute_command(*command)
        return int(found), names

    def _kind(self, name: str) -> str:
        """Return the kind of a name: a claim, an outcome; "" for a cached response."""
        return name.removeprefix(self._prefix).rpartition(":")[0]

    def _may_hold(self, name: str) -> bool:
        return not name.removeprefix(self._prefix).startswith(_HOLD_NOTHING)

    async def _of_subject(self, begins: bytes, names: Iterable[str]) -> list[str]:
        looked = list(names)
        heads = dict(
            zip(looked, await self._all([("GETRANGE", name, 0, SUBJECT_BYTES - 1) for name in looked]), strict=True)
        )
        odd = [name for name, head in heads.items() if isinstance(head, bytes) and head_names_another(name, head)]
        # read whole: such a value is damaged, or the reply was another's
        heads |= zip(odd, await self._all([("GET", name) for name in odd]), strict=True)
        return [name for name, head in heads.items() if isinstance(head, bytes) and begins in head[:SUBJECT_BYTES]]

    async def _erase_claims(self, names: list[str]) -> None:
        values = await self._all([("GET", name) for name in names])
        pairs = [(name, value) for name, value in zip(names, values, strict=True) if isinstance(value, bytes)]
        await self._all([scripts.call(scripts.ERASE, [name], value, _left_of(name, value)) for name, value in pairs])

    async def _all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Return the replies to commands. Raise StoreDown if Redis refuses one temporarily."""
        if not commands:
            return []
        replies = await self._connection.run("erase", partial(self._connection.client.ask, commands))
        for reply in replies:
            if isinstance(reply, RedisError) and "WRONGTYPE" not in str(reply):  # a list or set of another program
                self._connection.failed("erase", reply)
                raise StoreDown("erase")
        return replies


def _left_of(name: str, value: bytes) -> bytes:
    """Return what remains of a settled claim: its request, and that its response was erased."""
    try:
        found = unpack(value, name)
    except Damaged:
        found = None
    fingerprint = "" if found is None else str(found[0].get("fingerprint", ""))
    return pack({"settled": True, "fingerprint": fingerprint, "key": ""}, pack_result(ERASED) or b"", name)
