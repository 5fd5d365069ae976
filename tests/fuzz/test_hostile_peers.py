"""Hostile peers as a state machine: clients and a backend do anything at any time, and the invariants hold.

Every request gets exactly one answer or one visible cut, nobody hears another's bytes, every exchange leaves one
record, and nothing is left behind. `python -m tests.fuzz peers` plays on for longer.
"""

import asyncio
from collections.abc import Awaitable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.fuzz.ends import Line, Notes
from tests.fuzz.peers import Stage, world
from tests.fuzz.scripts import ANSWERS, JUNK, NOISE, REQUESTS

who, pieces, settled = st.integers(0, 3), st.integers(1, 4), st.booleans()


class Peers(RuleBasedStateMachine):
    """`settled`: the sidecar comes to rest before the next act; else that one comes in the same turn of the loop."""

    @initialize()
    def begin(self) -> None:
        self.stage = Stage(world())
        self._do(self.stage.connect(), settled=True)

    def _do(self, doing: Awaitable[None], *, settled: bool) -> None:
        async def act() -> None:
            await doing
            if settled:
                await self.stage.settle()

        self.stage.world.run(act())

    @rule(settled=settled)
    def connect(self, settled: bool) -> None:
        self._do(self.stage.connect(), settled=settled)

    @rule(who=who, kind=st.integers(0, len(REQUESTS) - 1), pieces=pieces, settled=settled)
    def ask(self, who: int, kind: int, pieces: int, settled: bool) -> None:
        self._do(self.stage.ask(who, kind, pieces), settled=settled)

    @rule(who=who, settled=settled)
    def ask_on(self, who: int, settled: bool) -> None:
        self._do(self.stage.ask_on(who), settled=settled)

    @rule(who=who, kind=st.integers(0, len(NOISE) - 1), settled=settled)
    def make_noise(self, who: int, kind: int, settled: bool) -> None:
        self._do(self.stage.make_noise(who, kind), settled=settled)

    @rule(who=who, how=st.integers(0, 4), settled=settled)
    def leave(self, who: int, how: int, settled: bool) -> None:
        self._do(self.stage.leave(who, how), settled=settled)

    @rule(who=who, kind=st.integers(0, len(ANSWERS) - 1), pieces=pieces, settled=settled)
    def answer(self, who: int, kind: int, pieces: int, settled: bool) -> None:
        self._do(self.stage.answer(who, kind, pieces), settled=settled)

    @rule(who=who, settled=settled)
    def answer_on(self, who: int, settled: bool) -> None:
        self._do(self.stage.answer_on(who), settled=settled)

    @rule(who=who, kind=st.integers(0, len(JUNK) - 1), settled=settled)
    def say_junk(self, who: int, kind: int, settled: bool) -> None:
        self._do(self.stage.say_junk(who, kind), settled=settled)

    @rule(who=who)
    def send_unrequested(self, who: int) -> None:
        self._do(self.stage.send_unrequested(who), settled=True)

    @rule(who=who, how=st.integers(0, 1), settled=settled)
    def hang_up(self, who: int, how: int, settled: bool) -> None:
        self._do(self.stage.hang_up(who, how), settled=settled)

    @rule()
    def pass_time(self) -> None:
        self._do(self.stage.pass_time(), settled=True)

    def teardown(self) -> None:
        if hasattr(self, "stage"):
            self._do(self.stage.rest(), settled=False)


@pytest.mark.timeout(300)  # the number of plays bounds it, on any machine
def test_hostile_peers() -> None:
    """The same plays every time."""
    run_state_machine_as_test(
        Peers,
        settings=settings(
            max_examples=80, stateful_step_count=25, deadline=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


async def test_a_peer_that_hung_up_before_its_connection_was_made_closes_it() -> None:
    loop, line = asyncio.get_running_loop(), Line(Notes())

    def accepted() -> Line:
        line.close()
        return line

    server = await loop.create_server(accepted, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
