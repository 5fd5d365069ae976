"""Statuses: 200 to 999 are forwarded, all others are invalid (RFC 9110 section 15)."""

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire, exposition, until

KEYED = """
[[routes]]
operation = "create"
match = "POST /create"
idempotency = "inject"
upstream_honours_idempotency = true
retry = { initial_delay = "0ms" }
[[routes]]
operation = "load"
match = "GET /load"
retry = { initial_delay = "0ms" }
reuse = "10s"
"""
CREATE = b"POST /create HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
LOAD = b"GET /load HTTP/1.1\r\nHost: a\r\n\r\n"


def attempts(wire: Wire) -> int:
    """Return how many attempts were made in all."""
    name = "backstay_upstream_attempts_total{"
    lines = exposition(wire.sidecar).splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)))


@pytest.mark.parametrize("status", [599, 600, 742, 999])
@pytest.mark.parametrize("asking", [CREATE, LOAD])
async def test_a_number_above_599_is_an_answer(start: Start, asking: bytes, status: int) -> None:
    """It goes to the client with its reason and body, is asked for once, and is no failure of the backend's."""
    wire = await start(more=KEYED, upstream="breaker = { failure_threshold = 1 }")
    client, backend, _ = await wire.asked(asking)
    await backend.send(b"HTTP/1.1 %d Own Number\r\nX-Own: 1\r\nContent-Length: 2\r\n\r\nhi" % status)
    answer = await client.message()
    assert (answer.start, answer.get(b"x-own"), answer.body) == (b"HTTP/1.1 %d Own Number" % status, b"1", b"hi")
    assert attempts(wire) == 1
    assert wire.counted('backstay_circuit_state{circuit="backend"} 0.0')


async def test_it_is_shared_and_not_kept(start: Start) -> None:
    """Who asked the same meanwhile gets it too; the next one asks the backend again."""
    wire = await start(more=KEYED)
    first, backend, _ = await wire.asked(LOAD)
    second = await wire.client()
    await second.send(LOAD)
    await until(lambda: wire.counted('backstay_coalesced_total{role="joined",route="load"} 1.0'))
    await backend.send(b"HTTP/1.1 600 Own\r\nContent-Length: 2\r\n\r\nhi")
    assert [(await client.message()).status for client in (first, second)] == [600, 600]
    await first.send(LOAD)
    await backend.head()
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await first.message()).status == 200


@pytest.mark.parametrize("line", [b"099 Low", b"000 None", b"1000 Long", b"20 Short", b"-20 Minus", b"6O0 Letter"])
async def test_any_other_number_is_a_bad_answer_and_a_write_is_sent_once(start: Start, line: bytes) -> None:
    """The backend has read the request and answers no HTTP: a key makes no second time of it any better."""
    wire = await start(more=KEYED)
    client, backend, _ = await wire.asked(CREATE)
    await backend.send(b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n")
    answer = await client.message()
    assert (answer.status, answer.get(b"proxy-status")) == (502, b"backstay; error=http_protocol_error")
    assert attempts(wire) == 1
    assert len(wire.backend.lines) == 1
