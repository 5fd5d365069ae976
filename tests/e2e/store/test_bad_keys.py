"""Invalid keys and subjects: a clear problem document, or plain forwarding with the reason in the record."""

from pathlib import Path

import orjson
import pytest

from tests.e2e.raw import Answer, Client, request
from tests.e2e.sidecar import Child, sidecar
from tests.e2e.store.keyed import KeyedBackend, keyed_backend

CONFIG = """
[[routes]]
operation = "session-create"
match = "POST /api/sessions"
upstream = "sessions"
subject = "body:/reportId"
coalesce = "subject"
idempotency = "replay"
"""
MINE = b'{"reportId": "r-1"}'
OTHER = b'{"reportId": "r-1", "view": "other"}'
MISSING = "body:/reportId is missing"
NO_STRING = "body:/reportId is neither a string nor a number"


async def create(child: Child, key: bytes | None, body: bytes = MINE) -> Answer:
    """Send a create with a key as raw as it is."""
    plain = request("POST", "/api/sessions", body, Authorization="Bearer ada", Content_Type="application/json")
    head, _, rest = plain.partition(b"\r\n\r\n")
    async with await Client.connect(child.url) as client:
        return await client.ask(head + (b"" if key is None else b"\r\nIdempotency-Key: " + key) + b"\r\n\r\n" + rest)


async def refused(child: Child, backend: KeyedBackend, key: bytes, body: bytes = MINE) -> tuple[int, str]:
    """Return the status and the detail of a refusal that never reached the backend."""
    before = backend.calls
    answer = await create(child, key, body)
    assert backend.calls == before
    assert answer.header("content-type") == "application/problem+json"
    problem = orjson.loads(answer.body)
    assert problem["correlation_id"] == answer.header("x-correlation-id")
    return answer.status, problem["detail"]


async def test_bad_keys_are_refused_by_name(tmp_path: Path) -> None:
    """256 characters, controls, spaces, bytes beyond ASCII: 400. Another body under the same key: 422. 255 are fine."""
    asked = "Idempotency-Key must be 1 to 255 visible ASCII characters; spaces may only stand inside a quoted string"
    async with keyed_backend(0.0) as backend, sidecar(tmp_path, backend.url, CONFIG) as child:
        assert (await create(child, b"k" * 255)).status == 201
        for key in (b"k" * 256, b"two words", b"caf\xc3\xa9"):
            assert await refused(child, backend, key) == (400, asked)
        assert (await create(child, b"tab\x01")).status == 400  # on the wire already: no field may carry it
        assert (await create(child, b"k-1")).status == 201
        status, detail = await refused(child, backend, b"k-1", OTHER)
        assert (status, "used for another request" in detail) == (422, True)
        again = await create(child, b"k-1")
        assert (again.status, again.header("idempotent-replayed")) == (201, "true")
        await child.stop()
    replays = [record["idempotency"]["replayed"] for record in child.records() if record["idempotency"]]
    assert replays.count(True) == 1


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"view": "manual"}', MISSING),
        (b'{"reportId": ""}', MISSING),
        (b'{"reportId": false}', NO_STRING),
        (b'{"reportId": null}', NO_STRING),
        (b'{"reportId": ["r-1"]}', NO_STRING),
        (b"not json", "the body is not JSON"),
    ],
)
async def test_without_a_subject_a_request_passes_plainly(tmp_path: Path, body: bytes, why: str) -> None:
    """It is legal without one: it goes alone, and the record says why."""
    async with keyed_backend(0.0) as backend, sidecar(tmp_path, backend.url, CONFIG) as child:
        answer = await create(child, None, body)
        record = await child.recorded(answer.header("x-correlation-id"))
    assert record["metadata"]["no_subject"] == why
    assert (record["flight"]["role"], record["metadata"]["alone"]) == ("alone", "no_subject")
    assert record["attempts"][0]["sent"]
