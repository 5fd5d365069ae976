"""The check that nothing follows an immediate result: what it accepts, and what it finds."""

import asyncio
import sys
from collections.abc import Callable
from types import FunctionType

import pytest

from proxy.runtime.immediate_future import ImmediateFuture, immediate_future
from tests.tail_position import what_follows


class Connection:
    """Stands in for one: each method calls `told` in another position."""

    def __init__(self) -> None:
        self.found: str | None = None
        self.open = True
        self.many = [1]

    def told(self) -> bool:
        self.found = what_follows(sys._getframe(1))
        return True

    def last(self) -> None:
        self.told()

    def last_of_a_branch(self) -> bool:
        if self.open:
            self.told()
        else:
            self.open = True
        return False

    def last_within_a_try(self) -> None:
        try:
            if self.open:
                self.told()
                return
            self.open = True
        except OSError:
            self.open = False

    def last_in_a_loop(self) -> None:
        for _ in self.many:
            if self.open:
                self.told()
                return

    def returned(self) -> bool:
        return self.told()

    def a_field_is_set(self) -> None:
        self.told()
        self.open = False

    def a_result_is_looked_at(self) -> None:
        if self.told() and self.open:
            self.open = False

    def a_loop_goes_on(self) -> None:
        while self.open and self.found is None:
            self.told()

    def a_context_ends(self) -> None:
        with asyncio.Runner():
            self.told()

    def in_the_end(self) -> None:
        try:
            self.told()
        finally:
            self.open = False

    def the_caller_goes_on(self) -> None:
        self.last()
        self.open = False


def as_the_products_own(method: Callable[..., object]) -> FunctionType:
    """Return the method as if a module of the product had it: others' frames are not looked at."""
    assert isinstance(method, FunctionType)
    own = {**method.__globals__, "__name__": "proxy.connection"}
    return FunctionType(method.__code__, own, method.__name__, method.__defaults__, method.__closure__)


def found_in(name: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    for each in ("last", name):
        monkeypatch.setattr(Connection, each, as_the_products_own(vars(Connection)[each]))
    connection = Connection()
    getattr(connection, name)()
    return connection.found


@pytest.mark.parametrize("name", ["last", "last_of_a_branch", "last_within_a_try", "last_in_a_loop", "returned"])
def test_a_call_in_tail_position_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that runs afterwards is a return."""
    assert found_in(name, monkeypatch) is None


@pytest.mark.parametrize(
    "name", ["a_field_is_set", "a_result_is_looked_at", "a_loop_goes_on", "a_context_ends", "in_the_end"]
)
def test_what_follows_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is named, with its file and line."""
    found = found_in(name, monkeypatch)
    assert found is not None
    assert f"Connection.{name} (" in found


def test_what_follows_in_a_callers_caller_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole stack counts, up to the loop."""
    found = found_in("the_caller_goes_on", monkeypatch)
    assert found is not None
    assert "Connection.the_caller_goes_on (" in found


def careless(answer: "ImmediateFuture[str]") -> str:
    answer.resolve_now("result")
    return f"{answer!r}"


async def test_every_immediate_result_of_a_test_run_is_proven() -> None:
    """The whole suite runs with the assertion, where the product is not compiled."""
    answer: ImmediateFuture[str] = immediate_future(asyncio.get_running_loop())
    with pytest.raises(AssertionError, match="something follows in careless"):
        as_the_products_own(careless)(answer)
    assert not answer.done()
