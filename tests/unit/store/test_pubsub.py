"""Unreadable messages of other replicas: they may have been about any write."""

import orjson
import pytest

from proxy.clock import SystemClock
from proxy.store.command_queue import CommandQueue
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_connection import RedisConnection
from proxy.store.shared_invalidations import SharedInvalidations, _message


class Received:
    """A listener and its seals, without a Redis."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        link = RedisConnection("redis://127.0.0.1:1", "test", 5.0, self.errors.append)
        self.bus = ReplicaPubSub(link, CommandQueue(link), "us", SystemClock())
        self.invalidations = SharedInvalidations(link, CommandQueue(link), self.bus, "us", SystemClock().now)

    def receive(self, data: bytes) -> None:
        self.bus._received({"type": "message", "channel": self.bus.invalidation_channel.encode(), "data": data})


WORD = {"from": "them", **_message("seal", "subject", [b"owner"])}


async def test_a_word_is_heard() -> None:
    """What it makes old is old, and all else is not."""
    heard = Received()
    before = heard.invalidations.stamp()
    heard.receive(orjson.dumps(WORD))
    assert heard.errors == []
    assert not heard.invalidations.fresh(before, "subject", [b"owner"])
    assert heard.invalidations.fresh(before, "another", [b"owner"])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"{", b"[]", b"7", b"{}", orjson.dumps({"from": "them"}),
        *(orjson.dumps({**WORD, name: value}) for name, value in (
            ("subject", "xyz"), ("subject", 7), ("owners", None), ("owners", ["x"]), ("what", "something newer"),
            ("what", None), ("for_s", "long"),
        )),
    ],
)  # fmt: skip
async def test_a_damaged_word_makes_everything_old(data: bytes) -> None:
    """Before, it ended the listener with a traceback in the log, and the connection was made anew."""
    heard = Received()
    before = heard.invalidations.stamp()
    heard.receive(data)
    assert heard.errors == ["news"]
    assert not heard.invalidations.fresh(before, "another", [b"nobody"])


async def test_a_damaged_token_wakes_nobody() -> None:
    """Tokens are ASCII."""
    heard = Received()
    heard.bus._received({"type": "message", "channel": heard.bus.landed_channel.encode(), "data": b"\xff"})
    assert heard.errors == []


async def test_an_own_word_changes_nothing() -> None:
    """It was heeded when it was said: what was cached since then stays."""
    heard = Received()
    before = heard.invalidations.stamp()
    heard.receive(orjson.dumps({**WORD, "from": "us"}))
    assert heard.invalidations.stamp() == before
    assert heard.errors == []


async def test_a_write_that_begins_elsewhere_closes_flights_and_leaves_what_is_cached() -> None:
    """It may be refused: then it has changed nothing."""
    heard = Received()
    before = heard.invalidations.stamp()
    heard.receive(orjson.dumps({"from": "them", **_message("begin", "subject", [b"owner"])}))
    assert heard.invalidations.fresh(before, "subject", [b"owner"])
    assert not heard.invalidations.joinable(before, "subject", [b"owner"])


async def test_after_an_outage_everything_from_before_is_old() -> None:
    """Writes of others may have been missed: here, and in Redis by its mark of everything."""
    heard = Received()
    before = heard.invalidations.stamp()
    (command,) = heard.bus.on_reconnect()
    assert not heard.invalidations.fresh(before, "subject", [b"owner"])
    assert "test:mark:all" in command
