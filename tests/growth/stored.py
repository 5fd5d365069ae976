"""Functions that parse replies of Redis and messages of other replicas, or produce those sent there."""

from contextlib import suppress
from typing import Any

import orjson
from redis.exceptions import RedisError

from proxy.clock import SystemClock
from proxy.exchange.ports import Scope
from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.policy.invalidation import Invalidations
from proxy.policy.recovery_plan import Result
from proxy.policy.response_cache import CachedResponse
from proxy.store.command_queue import _Command
from proxy.store.health import refuses
from proxy.store.packing import names_another, pack_cached, pack_result, unpack_cached, unpack_result
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_connection import RedisConnection
from proxy.store.redis_responses import RedisStore, digest, mark_names
from proxy.store.replies import OutOfStep, check
from proxy.store.scripts import CLAIM, TAKE_OVER, call
from proxy.store.shared_invalidations import SharedInvalidations
from tests.growth.case import TEXT, Case, at_once
from tests.growth.inputs import Around
from tests.settings import BOUNDS

KEY = "backstay:key"


class _Redis:
    """Stands for a link to a Redis that is up, and whose answer to everything is `answer`."""

    up = True
    when_down: Any = None

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.cache = self

    def key(self, *parts: str) -> str:
        """Make keys as the link does."""
        return RedisConnection.key(self, *parts)  # type: ignore[arg-type]

    _namespace = "backstay"

    async def run(self, operation: str, command: Any) -> Any:
        """Send the command, and answer it."""
        command()
        return self.answer

    def multi_get(self, keys: list[str]) -> None:
        """Take a question."""

    def set(self, key: str, value: bytes, ttl: float) -> None:
        """Take what is kept."""


class _Line:
    """Takes commands as the line does."""

    def fire_and_forget(self, *arguments: bytes | str | int) -> None:
        _Command(arguments, None)


def _kept(data: bytes) -> CachedResponse:
    return CachedResponse(Response(200, b"", Fields(((b"A", data),)), data, Framing.LENGTH), 0.0, 0, b"")


def _packed(data: bytes) -> None:
    unpack_cached(pack_cached(_kept(data), [data.decode(TEXT)], KEY), 0, KEY)
    names_another(KEY + "x", pack_cached(_kept(data), [], KEY))
    names_another(KEY, data)
    unpack_result(pack_result(Result(_kept(data).response)))


def _looked_up(data: bytes) -> None:
    marks = [data] * 12
    packed = pack_cached(_kept(data), [mark.decode(TEXT) for mark in marks], f"backstay:{digest(data)}")
    scope = Scope(data.decode(TEXT), [data[:20]] * 2)
    store = RedisStore(_Redis([packed, *marks]), _Line(), Invalidations(), SystemClock(), **BOUNDS)  # type: ignore[arg-type]
    mark = at_once(store.look(data, scope)).mark
    at_once(store.put(data, _kept(data), 1.0, scope, mark))
    mark_names(scope)
    digest(data, data)


def _replied(data: bytes) -> None:
    """Check replies to every command whose reply is looked into."""
    key = f"{KEY}:{data.decode(TEXT)}"
    claim, take_over = (call(script, [key], data, 1, 1) for script in (CLAIM, TAKE_OVER))
    name = key.encode()
    for command, reply in (
        (("GET", key), data),
        (("GET", key), b"mark:all=" + data),
        (("MGET", key, key), [data, data]),
        (("SCAN", 0), [b"0", [data] * 2]),
        (("SCRIPT LOAD", CLAIM), data),
        (claim, [name, data, 0, 0]),
        (take_over, [name, 1]),
    ):
        with suppress(OutOfStep):
            check(command, reply)


def _told(data: bytes) -> None:
    """Have a replica say what a write made old, and hear it from another one."""
    redis, line = _Redis(), _Line()
    bus = ReplicaPubSub(redis, line, "a", SystemClock())  # type: ignore[arg-type]
    invalidations = SharedInvalidations(redis, line, bus, "a", lambda: 0.0)  # type: ignore[arg-type]
    subject, owners = data.decode(TEXT), [data[:20]]
    invalidations.begin(subject, owners)
    invalidations.invalidate(subject, owners)
    invalidations.drop_owners(owners)
    invalidations.end_session(owners, "10.0.0.1")
    invalidations.mark_uncertain(1.0, subject, owners, 0.0)
    word = orjson.dumps({"from": "b", "what": "seal", "subject": data.hex(), "owners": [data.hex()]})
    for channel in (b"backstay:news", b"backstay:landed"):
        bus._received({"type": "message", "channel": channel, "data": word})


STORED = (
    Case("packing", _packed),
    Case("replies.check", _replied),
    Case("redis_responses.RedisStore.look, put", _looked_up),
    Case("shared_invalidations.SharedInvalidations; pubsub.ReplicaPubSub", _told),
    Case("health.refuses", lambda data: refuses(RedisError(data.decode(TEXT))), (Around(), Around(b"OOM", b"x"))),
)
