"""The tour's browser reports what a user would see, and never repeats a request."""

from proxy.clock import SystemClock
from proxy.demo.backend import Backend
from proxy.demo.client import Browser, get_on_one_connection, history_of, status_of, tally


async def test_a_broken_connection_is_one_call(backend: Backend) -> None:
    """A dropped GET is a network error after one call; the client library's own retry would have hidden it."""
    backend.faults.drop(1)
    async with Browser(backend.url, SystemClock(), 1) as browser:
        answer = await browser.get(history_of("val_1"))
    assert (str(answer), backend.calls.total(), browser.sent) == ("network error", 1, 1)


async def test_a_hang_ends_with_the_users_patience(backend: Backend) -> None:
    """No answer in time is said so."""
    backend.faults.hang()
    async with Browser(backend.url, SystemClock(), 0.02) as browser:
        assert str(await browser.get(history_of("val_1"))) == "no response"


async def test_one_raw_connection_serves_many(backend: Backend) -> None:
    """Statuses, headers and bodies come back in order on one socket."""
    backend.faults.rate_limit(1, retry_after="7")
    answers = await get_on_one_connection(backend.url, [status_of("val_1"), history_of("val_1")], SystemClock(), 1)
    assert tally(answers) == "1 x 200, 1 x 429"
    assert (answers[0].header("retry-after"), answers[1].body) == ("7", b'{"messages":[]}')


async def test_a_broken_raw_connection_ends_the_measure(backend: Backend) -> None:
    """What was measured before the break is kept, and the break is the last answer."""

    async def answers() -> str:
        return tally(await get_on_one_connection(backend.url, [history_of("val_1")] * 5, SystemClock(), 1))

    backend.faults.rate_limit(2)
    backend.faults.drop(1)
    assert await answers() == "2 x 429, 1 x network error"
    await backend.stop()
    assert await answers() == "1 x network error"
