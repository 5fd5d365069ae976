"""The seed document's error matrix over real sockets: which requests are retried, when, and the client's response."""

from typing import Any, NamedTuple

import pytest

from tests.e2e.matrix.conftest import Start, ask
from tests.e2e.matrix.scripted import HANG, RESET, ScriptedBackend, answer

CONFIG = """
[upstreams.sessions]
url = "{url}"
[upstreams.sessions.breaker]
failure_threshold = 50
[defaults]
total_timeout = "60s"
[defaults.retry]
jitter = false
[[routes]]
operation = "load"
match = "GET /load/{{id}}"
subject = "path:id"
{load}
[[routes]]
operation = "create"
match = "POST /create"
subject = "body:/id"
coalesce = "subject"
idempotency = "inject"
upstream_honours_idempotency = true
on_conflict = "GET /load/{{subject}}"
"""


class Row(NamedTuple):
    """One row of the matrix: what the backend does to a GET, and all that follows."""

    name: str
    script: tuple[bytes, ...]
    waits_ms: tuple[float, ...]
    status: int
    error_type: str
    why: str
    more: str = ""
    timeouts_ms: tuple[float, ...] = (0, 0, 0)  # of the attempts before each wait


ROWS = (
    Row("network error", (RESET,) * 3, (100, 200, 400), 200, "", "network"),
    Row("429", (answer(429),) * 3, (200, 400, 800), 200, "", "rate_limited"),
    Row("504", (answer(504),) * 3, (100, 200), 504, "TimeoutError", "exhausted"),
    Row("attempt timeout", (HANG, HANG), (100, 200), 200, "", "timeout", 'attempt_timeout = "150ms"', (150, 300)),
    Row("502", (answer(502),) * 4, (100, 200, 400), 502, "IntegrationError", "exhausted"),
    Row("503", (answer(503),) * 3, (100, 200, 400), 200, "", "unavailable"),
    Row("409", (answer(409),), (), 409, "SessionConflictError", "not_retryable"),
    Row("400", (answer(400),), (), 400, "ValidationError", "not_retryable"),
    Row("404", (answer(404),), (), 404, "NotFoundError", "not_retryable"),
    Row("500", (answer(500),), (), 500, "CalculationError", "not_retryable"),
    Row("422", (answer(422),), (), 422, "DataQualityError", "not_retryable"),
)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_each_row_of_the_matrix(row: Row, start: Start, backend: ScriptedBackend) -> None:
    """The ladder by cause, with its waits, its name and its reason in the record.

    The backend sees that no attempt came sooner. How much later it came depends on the machine; the exact times are
    held in virtual time, in tests/simulation.
    """
    backend.script = row.script
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=row.more))
    got = await ask(sidecar.port, "GET", "/load/val_123")
    assert got.status == row.status
    least = [wait + timeout for wait, timeout in zip(row.waits_ms, row.timeouts_ms, strict=False)]
    assert all(seen >= 0.96 * nominal for seen, nominal in zip(backend.waits_ms, least, strict=True))
    [record] = await sidecar.records()
    attempts, metadata = _attempts(record), record["metadata"]
    assert isinstance(metadata, dict)
    assert [attempt["waited_ms"] for attempt in attempts] == [0, *row.waits_ms]
    assert metadata.get("error_type", "") == row.error_type
    assert row.why in [attempt["why"] for attempt in attempts]


async def test_jitter_stays_within_a_fifth(start: Start, backend: ScriptedBackend) -> None:
    """Waits lie within 20 % of the nominal value, and are not all alike."""
    backend.script = (answer(503), answer(200)) * 8
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load="").replace("jitter = false", "jitter = true"))
    for _ in range(8):
        assert (await ask(sidecar.port, "GET", "/load/a")).status == 200
    waits = [attempt["waited_ms"] for record in await sidecar.records() for attempt in _attempts(record)[1:]]
    assert all(80 <= wait <= 120 for wait in waits)
    assert len(set(waits)) > 1


def _attempts(record: dict[str, object]) -> list[dict[str, Any]]:
    attempts = record["attempts"]
    assert isinstance(attempts, list)
    return attempts


async def test_a_conflict_becomes_the_existing_session(start: Start, backend: ScriptedBackend) -> None:
    """409 on a create is answered with what exists, 200, and says what was received."""
    backend.script = (answer(409), answer(200, body=b'{"id":"a","view":"manual"}'))
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    got = await ask(sidecar.port, "POST", "/create", "Content-Type: application/json\r\n", b'{"id":"a"}')
    assert (got.status, got.body) == (200, b'{"id":"a","view":"manual"}')
    assert got.fields["proxy-status"] == "backstay; received-status=409"
    assert [call.line for call in backend.calls] == ["POST /create HTTP/1.1", "GET /load/a HTTP/1.1"]
    [record] = await sidecar.records()
    assert (record["outcome"], record["success"]) == ("recovered", True)


async def test_a_create_that_succeeded_unseen_is_found(start: Start, backend: ScriptedBackend) -> None:
    """The first attempt's answer is lost, the second says 409; the user gets the session, under one key."""
    backend.script = (RESET, answer(409), answer(200, body=b'{"id":"a"}'))
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    got = await ask(sidecar.port, "POST", "/create", "Content-Type: application/json\r\n", b'{"id":"a"}')
    assert (got.status, got.body) == (200, b'{"id":"a"}')
    keys = {call.fields["idempotency-key"] for call in backend.calls[:2]}
    assert len(keys) == 1
    assert "idempotency-key" not in backend.calls[2].fields


async def test_a_retry_after_that_fits_is_waited_for(start: Start, backend: ScriptedBackend) -> None:
    """The later of ladder and Retry-After; one that cannot fit passes the upstream's answer on at once."""
    backend.script = (answer(503, "Retry-After: 1\r\n"), answer(200), answer(503, "Retry-After: 300\r\n"))
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    assert (await ask(sidecar.port, "GET", "/load/a")).status == 200
    assert backend.waits_ms[0] >= 990
    refused = await ask(sidecar.port, "GET", "/load/b")
    assert (refused.status, refused.fields["retry-after"]) == (503, "300")
    records = await sidecar.records()
    assert [attempt["why"] for attempt in _attempts(records[1])] == ["deadline"]


async def test_the_budget_that_is_left_shrinks_with_each_attempt(start: Start, backend: ScriptedBackend) -> None:
    """X-Request-Deadline-Ms is the true remainder, X-Attempt-Count counts from the second attempt on."""
    backend.script = (answer(503), answer(503))
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    await ask(sidecar.port, "GET", "/load/a", "X-Request-Deadline-Ms: 50000\r\n")
    left = [int(call.fields["x-request-deadline-ms"]) for call in backend.calls]
    assert left[0] <= 60_000
    assert left[0] - left[1] >= 80
    assert left[1] - left[2] >= 180
    assert [call.fields.get("x-attempt-count") for call in backend.calls] == [None, "2", "3"]


async def test_a_shorter_deadline_of_the_client_is_kept(start: Start, backend: ScriptedBackend) -> None:
    """The caller's own budget ends its wait with its own 504."""
    backend.script = (HANG,)
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    got = await ask(sidecar.port, "GET", "/load/a", "X-Request-Deadline-Ms: 300\r\n")
    assert got.status == 504
    assert got.fields["proxy-status"] == "backstay; error=http_response_timeout"
    [record] = await sidecar.records()
    assert 290 <= float(str(record["duration_ms"])) < 60_000


async def test_an_unproven_post_is_never_sent_twice(start: Start, backend: ScriptedBackend) -> None:
    """Sent, not known to be idempotent: one attempt, and the record says why it was the last."""
    backend.script = (RESET,)
    await backend.start()
    text = CONFIG.format(url=backend.url, load="").replace("upstream_honours_idempotency = true", "")
    sidecar = await start(text)
    got = await ask(sidecar.port, "POST", "/create", "", b'{"id":"a"}')
    assert got.status == 502
    assert len(backend.calls) == 1
    [record] = await sidecar.records()
    assert [attempt["why"] for attempt in _attempts(record)] == ["not_idempotent"]


async def test_the_switch_turns_retries_off(start: Start, backend: ScriptedBackend) -> None:
    """One attempt while the switch is off."""
    backend.script = (answer(503), answer(503))
    await backend.start()
    sidecar = await start(CONFIG.format(url=backend.url, load=""))
    admin = int(sidecar.sidecar.admin_url.rpartition(":")[2])
    off = await ask(admin, "POST", "/switches/retries/off", "Authorization: Bearer secret\r\n")
    assert off.status == 200
    assert (await ask(sidecar.port, "GET", "/load/a")).status == 503
    assert len(backend.calls) == 1
    [record] = await sidecar.records()
    assert _attempts(record)[0]["why"] == "switched_off"
