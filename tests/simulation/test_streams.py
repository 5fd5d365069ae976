"""Streamed responses with real relays: which requests join while they stream, and which are too late."""

from dataclasses import replace

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Framing, Response
from proxy.policy.coalescing import FlightStage
from proxy.transport.broadcast import PREFIX, WINDOW, Broadcast
from tests.simulation.scripted import ScriptedReader, ScriptedStream, Step, answers
from tests.simulation.virtual import simulated
from tests.simulation.world import LOAD, Visitor, World, finish


class Streaming:
    """A world whose backend's first answer streams; what comes after it is `anew`."""

    def __init__(self, *lines: tuple[bytes, bytes]) -> None:
        self.paused: list[bool] = []
        self.deserted = False
        self.relay = Broadcast(self.paused.append, self._desert)
        first = Response(200, b"", Fields(lines), self.relay, Framing.CHUNKED)
        self.world = World([Step(first, 0.1), answers(200, b"anew")])

    def _desert(self) -> None:
        self.deserted = True

    async def at(self, at_ms: float, *pieces: bytes) -> None:
        """Let so much time go by, and these pieces come."""
        await self.world.until_ms(at_ms)
        for piece in pieces:
            self.relay.push(piece)

    async def settle(self, *visitors: Visitor) -> None:
        """Let everybody come, the body end and be read, and see that nothing is left behind."""
        await self.world.clock.sleep(0.01)
        self.relay.finish()
        await finish(*visitors)
        assert self.world.at_rest()


@simulated
async def test_a_newcomer_joins_what_streams() -> None:
    """A body has begun and goes on; who asks the same now reads it from its first byte, and is counted."""
    play = Streaming()
    leader = play.world.get()
    await play.at(300, b"one ")
    late = play.world.get()
    await play.at(400, b"two")
    await play.settle(leader, late)
    assert [leader.client.body, late.client.body] == [b"one two"] * 2
    assert (play.world.roles(), len(play.world.upstream.calls)) == ((1, 1, 0), 1)
    assert leader.exchange.flight is late.exchange.flight
    assert leader.exchange.flight is not None
    assert (leader.exchange.flight.followers, leader.exchange.flight.stage) == (1, FlightStage.LANDED)
    assert late.client.fields.get(b"cache-status") == b"backstay; fwd=miss; collapsed"


@simulated
async def test_nobody_joins_a_body_that_has_ended() -> None:
    """A finished flight is nobody's any more, though a slow reader still reads it."""
    play = Streaming()
    leader = play.world.get()
    await play.at(300, b"one")
    play.relay.finish()
    late = play.world.get()
    await finish(leader, late)
    assert (leader.client.body, late.client.body) == (b"one", b"anew")
    assert play.world.at_rest()


@simulated
async def test_nobody_joins_a_body_whose_beginning_is_gone() -> None:
    """The beginning is kept for newcomers up to a bound, then let go of: who comes later asks for himself."""
    play = Streaming()
    leader = play.world.get()
    await play.at(300, b"x" * PREFIX)
    in_time = play.world.get()
    await play.at(400, b"y")
    late = play.world.get()
    await play.settle(leader, in_time, late)
    assert [len(visitor.client.body) for visitor in (leader, in_time)] == [PREFIX + 1] * 2
    assert late.client.body == b"anew"
    assert not play.relay._pieces


@simulated
async def test_nobody_joins_what_streams_after_a_write() -> None:
    """A write was answered while the body streams; who comes after it asks anew, and the others read on."""
    play = Streaming()
    leader = play.world.get()
    await play.at(300, b"before")
    await play.world.patch().finish()
    late = await play.world.get().finish()
    await play.settle(leader)
    assert (leader.client.body, late.client.body) == (b"before", b"anew")


@simulated
async def test_nobody_joins_what_streams_past_its_deadline() -> None:
    """A flight is joined for its route's total timeout at the most, however long its body takes."""
    play = Streaming()
    leader = play.world.get()
    await play.at(1999, b"one")
    in_time = play.world.get()
    await play.at(2000)
    late = play.world.get()
    await play.settle(leader, in_time, late)
    assert [visitor.client.body for visitor in (leader, in_time, late)] == [b"one", b"one", b"anew"]


@pytest.mark.parametrize("line", [(b"Content-Type", b"text/event-stream"), (b"Vary", b"*")])
@simulated
async def test_nobody_joins_a_stream_that_is_one_callers_alone(line: tuple[bytes, bytes]) -> None:
    """What may not be shared at its head may not be shared later."""
    play = Streaming(line)
    leader = play.world.get()
    await play.at(300, b"one")
    late = await play.world.get().finish()
    await play.settle(leader)
    assert (late.client.body, late.exchange.alone_because) == (b"anew", "unshareable")


@simulated
async def test_a_newcomer_joins_a_varying_stream_only_if_it_asks_alike() -> None:
    """The stream varies by a neutral field: who says the same joins it, who does not leads anew."""
    play = Streaming((b"Vary", b"Referer"))
    leader = play.world.get(Referer="/a")
    await play.at(300, b"one")
    alike, other = play.world.get(Referer="/a"), play.world.get(Referer="/b")
    await play.settle(leader, alike, other)
    assert [visitor.client.body for visitor in (leader, alike, other)] == [b"one", b"one", b"anew"]


@simulated
async def test_a_stream_goes_on_for_a_newcomer_when_its_leader_leaves() -> None:
    """The flight is the sidecar's: the newcomer reads on; when he leaves as well the backend is let go of."""
    play = Streaming()
    leader = play.world.get()
    await play.at(300, b"one ")
    late = play.world.get()
    await play.at(400)
    leader.leave()
    await play.at(500, b"two")
    await play.at(510)
    assert (late.client.body, play.deserted) == (b"one two", False)
    late.leave()
    await finish(leader, late)
    assert play.relay.failure == "no reader is left"
    assert play.world.at_rest()


@simulated
async def test_a_stream_has_no_more_followers_than_any_flight() -> None:
    """Past `max_followers` a newcomer goes alone."""
    play = Streaming()
    play.world = World([*[Step(Response(200, b"", Fields(()), play.relay, Framing.CHUNKED))], answers(200, b"anew")],
                       routes=(replace(LOAD, max_followers=1),))  # fmt: skip
    leader = play.world.get()
    await play.at(300, b"one")
    joined, alone = play.world.get(), play.world.get()
    await play.settle(leader, joined, alone)
    assert [visitor.client.body for visitor in (leader, joined, alone)] == [b"one", b"one", b"anew"]
    assert play.world.roles() == (1, 1, 1)


class SlowGate:
    """A trail on a slow disk: the second exchange's note is there only after a second."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._notes = 0

    async def intent(self, exchange: object, within_s: float) -> bool:
        return True

    def when_durable(self, exchange: object, on_durable: object) -> None:
        assert callable(on_durable)
        on_durable(True)

    async def opening(self, exchange: object) -> bool:
        self._notes += 1
        if self._notes == 2:
            await self._world.clock.sleep(1.0)
        return True


@simulated
async def test_who_was_too_slow_before_its_first_byte_asks_for_itself() -> None:
    """A follower waits for the disk while the others read a mebibyte: it holds nobody up, and gets its own answer.

    Before, it was sent a head and then cut off.
    """
    play = Streaming()
    world = play.world
    world.ports = replace(world.ports, durability_gate=SlowGate(world))
    leader, follower = world.get(), world.get()
    for number in range(18):
        await play.at(200 + number, b"x" * (WINDOW // 16))
    await play.at(1050)
    await play.settle(leader, follower)
    assert len(leader.client.body) == 18 * WINDOW // 16
    assert (follower.client.status, follower.client.body, follower.client.answers) == (200, b"anew", 1)
    assert world.roles() == (1, 1, 0)


@simulated
async def test_a_stream_that_began_in_time_outlives_its_callers_deadline() -> None:
    """The deadline ends with the head: the body has an idle timeout of its own."""
    play = Streaming()
    leader = play.world.get(X_Request_Deadline_Ms="500")
    await play.at(200, b"one ")
    await play.at(900, b"two")
    await play.settle(leader)
    assert (leader.status, leader.client.body, leader.client.answers) == (200, b"one two", 1)
    assert leader.exchange.ending == "answered"


class Buggy(ScriptedStream):
    """A body whose reader fails as none does."""

    def open(self) -> ScriptedReader:
        reader = super().open()
        reader.read = self._fail  # type: ignore[method-assign]
        return reader

    async def _fail(self) -> bytes:
        raise RuntimeError("a bug")


@simulated
async def test_a_bug_in_mid_answer_writes_no_second_one() -> None:
    """The client has a head: a problem document behind it would be taken for the body."""
    world = World([Step(Response(200, b"", Fields(()), Buggy(b"one"), Framing.CHUNKED))])
    ada = await world.get().finish()
    assert (ada.status, ada.client.answers, ada.client.body) == (200, 1, b"")
    assert len(world.ledger.records) == 1
