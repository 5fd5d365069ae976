"""Connections to the backend: which are reused, which never, and how many there may be."""

import asyncio
import errno
import math
import resource
import socket
from collections.abc import Callable
from typing import cast

import pytest

from proxy.http.message import Failure
from proxy.http.problems import Reason
from proxy.transport.protocols import as_protocol
from proxy.upstream.connector import BackendAddress, Connector, interleaved
from proxy.upstream.pool import DIALS, UpstreamPool
from proxy.upstream.upstream_connection import UpstreamConnection
from tests.settings import pool_limits
from tests.wire.conftest import Start
from tests.wire.kit import Backend, Wire, soon, turn, until

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_a_connection_is_used_again(wire: Wire) -> None:
    """One after the other, on one connection."""
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    _just_used(wire)
    await client.send(POST)
    assert (await backend.head()).start.startswith(b"POST")
    assert len(wire.backend.lines) == 1


@pytest.mark.parametrize("request_", [GET % 2, POST], ids=["safe", "unsafe"])
async def test_a_connection_that_died_unseen_is_replaced_for_safe_requests(wire: Wire, request_: bytes) -> None:
    """The backend hangs up on the next request without a byte: a safe one goes out again and costs no retry."""
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    _just_used(wire)
    await client.send(request_)
    await backend.head()
    _just_taken(wire)
    backend.close()
    if request_ == POST:
        assert (await client.message()).status == 502
        return
    again = await wire.backend.connection()
    assert (await again.head()).start == b"GET /2 HTTP/1.1"
    await again.send(HI)
    assert (await client.message()).get(b"server-timing") is not None
    attempts = wire.records[-1]["attempts"]
    assert isinstance(attempts, list)
    assert len(attempts) == 1


async def test_a_connection_that_died_over_the_request_is_not_replaced(wire: Wire) -> None:
    """Who hangs up long after he was asked has read the question: that was an attempt, and another is a retry."""
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    await client.send(GET % 2)
    await backend.head()
    next(iter(_pool(wire)._all)).taken_at -= 1.0
    backend.close()
    assert (await client.message()).status == 502
    assert len(wire.backend.lines) == 1


async def test_a_dead_connection_tells_of_those_that_were_idle_for_longer(wire: Wire) -> None:
    """They are not tried one by one, with every retry replaced once: that would double a flight's calls."""
    pairs = [(await wire.asked(GET % number))[:2] for number in range(3)]
    for client, backend in pairs:
        await backend.send(HI)
        await client.message()
    (client, newest), older = pairs[-1], [backend for _, backend in pairs[:-1]]
    await client.send(GET % 3)
    await newest.head()
    _just_taken(wire)
    newest.close()
    again = await wire.backend.connection()
    assert (await again.head()).start == b"GET /3 HTTP/1.1"
    assert _pool(wire)._idle == []
    assert [await backend.ending() for backend in older] == ["fin"] * 2


async def test_a_request_is_repeated_for_nothing_only_once(start: Start) -> None:
    """A backend that hangs up now and then gets no more calls than the retries allow, and one."""
    route = '[[routes]]\noperation = "x"\nmatch = "GET /{x}"\nupstream = "backend"\n'
    wire = await start(more=route + 'retry = { max_retries = 2, initial_delay = "1ms" }\n')
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    await client.send(GET % 2)
    await backend.head()
    _just_taken(wire)
    backend.close()  # this connection was dead: it costs no retry
    second = await wire.backend.connection()
    await second.head()
    await second.send(b"HTTP/1.1 503 Later\r\nContent-Length: 2\r\n\r\nhi")
    await second.head()  # the first retry
    _just_taken(wire)
    second.close()
    third = await wire.backend.connection()
    await third.head()  # the second one; before: the first again, with one to come
    await third.send(HI)
    await client.message()
    attempts = wire.records[-1]["attempts"]
    assert isinstance(attempts, list)
    assert [attempt.get("status") for attempt in attempts] == [503, None, 200]


async def test_a_kept_connection_whose_client_left_is_closed(wire: Wire) -> None:
    """Of two clients that leave, one request goes on as the circuit's probe; the other's connection ends at once."""
    pairs = [(await wire.asked(GET % number))[:2] for number in range(2)]
    for client, backend in pairs:
        await backend.send(HI)
        await client.message()
    for client, _ in pairs:
        await client.send(GET % 2 if client is pairs[0][0] else GET % 3)
    for _, backend in pairs:
        await backend.head()
    pairs[0][0].close()
    await until(lambda: len(wire.sidecar._assembly.probes) == 1)
    pairs[1][0].close()
    await until(lambda: not wire.sidecar.running)
    for _ in range(100):
        await turn()
    assert len(_pool(wire)._all) == 1
    assert len(wire.backend.lines) == 2


def _pool(wire: Wire) -> UpstreamPool:
    return next(iter(wire.sidecar._assembly.pools.values()))


def _just_taken(wire: Wire) -> None:
    """Let every connection have been taken from the idle ones this moment, however slow the machine is."""
    for connection in _pool(wire)._all:
        connection.taken_at = math.inf


def _just_used(wire: Wire) -> None:
    """Let every idle connection have been in use until this moment."""
    for connection in _pool(wire)._idle:
        connection.idle_since = math.inf


async def test_unsafe_requests_trust_only_a_fresh_connection(start: Start) -> None:
    """One that was idle for a while may be closing: a POST gets a new one, a GET does not mind."""
    wire = await start()
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    _pool(wire)._idle[0].idle_since -= 2.0
    await client.send(POST)
    fresh = await wire.backend.connection()
    assert (await fresh.head()).start.startswith(b"POST")


@pytest.mark.parametrize("scheme", [b"NTLM TlRM", b"Negotiate YII="])
async def test_credentials_of_a_connection_are_never_shared(wire: Wire, scheme: bytes) -> None:
    """A connection that carried NTLM or Negotiate authenticates whoever speaks next on it: nobody does."""
    client, backend, _ = await wire.asked(b"GET /1 HTTP/1.1\r\nHost: a\r\nAuthorization: " + scheme + b"\r\n\r\n")
    await backend.send(HI)
    await client.message()
    assert _pool(wire)._idle == []  # at once: the idle timeout has no part in it
    assert await backend.ending() in ("fin", "reset")
    await client.send(GET % 2)
    assert (await (await wire.backend.connection()).head()).start == b"GET /2 HTTP/1.1"


async def test_a_challenge_for_a_connection_is_not_shared_either(wire: Wire) -> None:
    """`WWW-Authenticate: NTLM` begins such an authentication."""
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
    )
    await client.message()
    assert _pool(wire)._idle == []
    assert await backend.ending() in ("fin", "reset")


async def test_the_pool_is_bounded_and_those_beyond_stand_in_line(start: Start) -> None:
    """With one connection, the second request waits for it and is sent on it."""
    wire = await start(upstream='max_connections = 1\nqueue_timeout = "5s"')
    first, backend, _ = await wire.asked(GET % 1)
    second = await wire.client()
    await second.send(GET % 2)
    await backend.send(HI)
    assert (await first.message()).body == b"hi"
    assert (await backend.head()).start == b"GET /2 HTTP/1.1"
    await backend.send(HI)
    assert (await second.message()).body == b"hi"
    assert len(wire.backend.lines) == 1


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ('queue_timeout = "50ms"', b"no connection became free in time"),
        ("queue = 0", b"the queue for a connection is full"),
    ],
    ids=["too_long", "too_many"],
)
async def test_a_line_that_is_full_or_too_slow_is_a_503(start: Start, limits: str, why: bytes) -> None:
    """`connection_limit_reached`: nothing was sent, and the circuit counts nothing. A full line is told at once."""
    wire = await start(upstream=f"max_connections = 1\n{limits}")
    _, _, _ = await wire.asked(GET % 1)
    second = await wire.client()
    await second.send(POST)
    answer = await second.message()
    assert (answer.status, answer.get(b"proxy-status")) == (503, b"backstay; error=connection_limit_reached")
    assert why in answer.body
    assert len(wire.backend.lines) == 1


@pytest.mark.parametrize("max_idle", [0, 1, 2])
async def test_so_many_idle_connections_are_kept(start: Start, max_idle: int) -> None:
    """Three answers at about the same time; what is beyond is closed."""
    wire = await start(upstream=f"max_idle = {max_idle}")
    pairs = [(await wire.asked(GET % number))[:2] for number in range(3)]
    for client, backend in pairs:
        await backend.send(HI)
        await client.message()
    assert len(_pool(wire)._idle) == max_idle


async def test_a_pool_that_a_reload_replaced_keeps_no_connection(wire: Wire) -> None:
    """What is under way ends, and its connection with it: it has the certificate and the limits of before."""
    client, backend, _ = await wire.asked(GET % 1)
    pool = _pool(wire)
    pool.retire()
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    assert pool._idle == []
    assert await backend.ending() in ("fin", "reset")


async def test_a_place_that_comes_as_its_waiter_leaves_is_not_lost() -> None:
    """The pool has room for one: whoever comes next must not wait for a place that nobody has."""
    backend = await Backend(split=False).start()
    limits = pool_limits(connect_timeout_s=60.0, max_connections=1, queue_timeout_s=60.0)
    pool = UpstreamPool(BackendAddress.of(f"http://127.0.0.1:{backend.port}"), limits)
    connection = await soon(pool.connect(60.0))
    assert isinstance(connection, UpstreamConnection)
    waiting = asyncio.ensure_future(pool.connect(60.0))
    await until(lambda: len(pool._waiting) == 1)
    pool.lost(connection)  # as its transport says, and the place goes to the waiter
    waiting.cancel()
    await asyncio.wait({waiting})
    empty = pool.empty
    connection.close()
    pool.close()
    await backend.close()  # else the loop waits for it when it closes, for ever
    assert empty


async def test_who_leaves_the_line_leaves_no_gap(start: Start) -> None:
    """The one behind is served, and the pool's count stays right when the connection is lost."""
    wire = await start(upstream='max_connections = 1\nqueue_timeout = "5s"')
    first, backend, _ = await wire.asked(GET % 1)
    second, third = await wire.client(), await wire.client()
    await second.send(GET % 2)
    await until(lambda: wire.sidecar.server_state.begun == 2)
    await third.send(GET % 3)
    await until(lambda: wire.sidecar.server_state.begun == 3)
    second.close()
    await until(lambda: wire.sidecar.running == 2)
    await backend.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    assert (await first.message()).body == b"hi"
    again = await wire.backend.connection()
    assert (await again.head()).start == b"GET /3 HTTP/1.1"
    await again.send(HI)
    assert (await third.message()).body == b"hi"


async def test_an_old_connection_is_given_up(wire: Wire) -> None:
    """So that a name whose addresses changed is resolved again, however busy the pool is."""
    client, backend, _ = await wire.asked(GET % 1)
    wire.let_pass(61.0)
    await backend.send(HI)
    await client.message()
    assert _pool(wire)._idle == []  # at once: its idle time has no part in it
    assert await backend.ending() in ("fin", "reset")


def test_families_take_turns() -> None:
    """RFC 8305 section 4: the resolver's first family first, then one of each."""
    found = [(6, "a6"), (6, "b6"), (6, "c6"), (4, "a4")]
    assert interleaved(found) == ["a6", "a4", "b6", "c6"]


async def test_a_dead_address_does_not_stop_a_living_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several addresses the first that answers is taken; one that refuses costs no head start."""
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = Connector(BackendAddress.of(f"http://backend.example:{port}"))

    async def resolved(_: Connector) -> list[tuple[int, str]]:
        return [(socket.AF_INET, host) for host in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr(Connector, "_resolve", resolved)
    monkeypatch.setattr("proxy.upstream.connector.HEAD_START_S", 3600.0)
    protocol = await soon(dialer.dial(asyncio.Protocol))
    assert isinstance(protocol, asyncio.Protocol)
    server.close()


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (errno.EADDRNOTAVAIL, errno.ECONNREFUSED, Reason.CONNECTION_REFUSED),
        (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, Reason.CONNECTION_REFUSED),
        (errno.EADDRNOTAVAIL, errno.EADDRNOTAVAIL, Reason.CONNECTION_LIMIT),
        (errno.ECONNREFUSED, errno.EMFILE, Reason.CONNECTION_LIMIT),
        (errno.EMFILE, errno.ECONNREFUSED, Reason.CONNECTION_LIMIT),
    ],
)
async def test_a_names_addresses_are_judged_together(
    first: int, second: int, told: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No way to `::1` without IPv6 hides no refusal at 127.0.0.1; without a descriptor nothing is known of either."""
    errors = {"::1": first, "127.0.0.1": second}

    async def resolved(_: Connector) -> list[tuple[int, str]]:
        return [(socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")]

    async def reach(_: Connector, make: Callable[[], object], host: str) -> object:
        raise OSError(errors[host], "no connection")

    monkeypatch.setattr(Connector, "_resolve", resolved)
    monkeypatch.setattr(Connector, "_reach", reach)
    failure = await soon(UpstreamPool(BackendAddress.of("http://backend.example:1"), pool_limits()).connect(1.0))
    assert isinstance(failure, Failure)
    assert failure.reason is told


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://localhost:{port}"])
async def test_out_of_descriptors_is_no_failure_of_the_backends(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The sidecar says what it lacks, in the answer and once in the log; then it connects again."""
    backend = await Backend(split=False).start()
    pool = UpstreamPool(BackendAddress.of(url.format(port=backend.port)), pool_limits(connect_timeout_s=5.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # a new descriptor has a higher number
    try:
        failures = [await soon(pool.connect(5.0)) for _ in range(3)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for failure in failures:
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.retry_after_s) == (Reason.CONNECTION_LIMIT, 1.0)
        assert "file descriptor" in failure.detail
    assert len(caplog.records) == 1
    connection = await soon(pool.connect(5.0))
    assert isinstance(connection, UpstreamConnection)
    pool.close()
    await until(lambda: pool.empty)
    await backend.close()


async def test_a_pool_that_a_reload_retired_still_ends_what_fell_silent(wire: Wire) -> None:
    """An answer that stopped in its middle is cut after its idle time, whichever pool its connection came from."""
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart")
    await client.head()
    table = wire.sidecar.settings.upstreams["backend"].model_copy(update={"max_idle": 1})
    changed = wire.sidecar.settings.model_copy(update={"upstreams": {"backend": table}})
    await wire.sidecar.reload(lambda: changed)
    wire.let_pass(61.0)
    assert await backend.ending() in ("fin", "reset")
    assert await client.ending() in ("fin", "reset")
    wire.let_pass(61.0)
    assert not wire.sidecar._assembly._retired


async def test_a_burst_opens_a_bounded_number_of_connections_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others take one that comes free, or their turn: a thousand handshakes at once would time each other out."""
    under_way, most, go_on = 0, 0, asyncio.Event()

    async def slow(self: Connector, make: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go_on.wait()
        under_way -= 1
        made = await asyncio.get_running_loop().create_connection(as_protocol(make), "127.0.0.1", backend.port)
        return cast(UpstreamConnection, made[1])

    backend = await Backend(split=False).start()
    monkeypatch.setattr(Connector, "dial", slow)
    pool = UpstreamPool(BackendAddress.of(f"http://127.0.0.1:{backend.port}"), pool_limits(connect_timeout_s=10.0))
    loop = asyncio.get_running_loop()
    asked = [loop.create_task(pool.connect(10.0)) for _ in range(3 * DIALS)]
    await until(lambda: len(pool._waiting) == 2 * DIALS)
    assert under_way == DIALS
    go_on.set()
    made = await soon(asyncio.gather(*asked))
    assert most == DIALS
    assert len({id(connection) for connection in made if isinstance(connection, UpstreamConnection)}) == 3 * DIALS
    await until(lambda: len(backend.lines) == 3 * DIALS)
    pool.close()
    await until(lambda: pool.empty)
    await backend.close()


async def test_who_waits_for_his_turn_to_connect_has_it_when_another_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers: each is told after a try of his own; one whose time is over before it, of our own rush."""

    tries, over = 0, asyncio.Event()

    async def never(self: Connector, make: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        nonlocal tries
        tries += 1
        await over.wait()
        raise TimeoutError  # as the time for a connection does when it is over

    monkeypatch.setattr(Connector, "dial", never)
    pool = UpstreamPool(BackendAddress.of("http://127.0.0.1:1"), pool_limits(connect_timeout_s=60.0))
    patient = asyncio.gather(*(pool.connect(60.0) for _ in range(DIALS + 10)))
    await until(lambda: len(pool._waiting) == 10)
    hurried = await soon(pool.connect(0.001))
    over.set()
    made = await soon(patient)
    assert isinstance(hurried, Failure)
    assert hurried.reason is Reason.CONNECTION_LIMIT
    assert {connection.reason for connection in made if isinstance(connection, Failure)} == {Reason.CONNECTION_TIMEOUT}
    assert len(made) == tries == DIALS + 10
    await until(lambda: pool.empty)
