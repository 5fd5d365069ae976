"""Unusable subjects get a clear problem document, or plain forwarding with the reason in the record."""

from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from tests.e2e.raw import Call, Origin, answer, ask, request
from tests.e2e.sidecar import EXAMPLE, Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Authorization": "Bearer user", "Content-Type": "application/json"}
EVIL = "r\r\nX-Evil: 1\x00/..?é"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run the example configuration."""
    async with sidecar(tmp_path_factory.mktemp("subjects"), origin.url, EXAMPLE) as child:
        yield child


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{}", "body:/reportId is missing"),
        (b'{"reportId": ""}', "body:/reportId is missing"),
        (b'{"reportId": true}', "body:/reportId is neither a string nor a number"),
        (b'{"reportId": null}', "body:/reportId is neither a string nor a number"),
        (b'{"reportId": ["r"]}', "body:/reportId is neither a string nor a number"),
        (b'["reportId"]', "body:/reportId is missing"),
        (b'{"reportId": "r', "the body is not JSON"),
        (b'{"reportId": "\xff"}', "the body is not JSON"),
        (b'{"reportId": "\\ud800"}', "the body is not JSON"),
        (b'{"reportId": "\x01"}', "the body is not JSON"),
        (b"", "the body is not JSON"),
    ],
)
async def test_a_create_without_a_usable_subject_passes_alone_and_says_why(
    child: Child, origin: Origin, body: bytes, why: str
) -> None:
    """It is the backend's to judge: every byte goes through, it joins nobody, and the record has the reason."""
    origin.on("/api/sessions", answer(b"made", "201 Created"))
    got = await ask(child.url, request("POST", "/api/sessions", body, **JSON))
    record = await child.recorded(got.header("x-correlation-id"))
    assert (got.status, got.body, origin.asked("/api/sessions")[-1].body) == (201, b"made", body)
    assert (record["subject"], record["flight"]["role"]) == (None, "alone")
    assert record["metadata"]["no_subject"] == why
    assert record["metadata"]["alone"] == "no_subject"


async def test_a_subject_of_any_bytes_stays_what_it_is(child: Child, origin: Origin) -> None:
    """Control bytes, slashes and dots in a subject split no head, leave no path, and stand in the record."""
    loaded: list[str] = []

    async def load(call: Call) -> bytes:
        loaded.append(call.target)
        return answer(b"existing")

    path = "/api/sessions/r%0D%0AX-Evil%3A%201%00%2F..%3F%C3%A9"
    origin.on("/api/sessions", answer(b"", "409 Conflict"))
    origin.on(path, load)
    got = await ask(child.url, request("POST", "/api/sessions", orjson.dumps({"reportId": EVIL}), **JSON))
    record = await child.recorded(got.header("x-correlation-id"))
    assert (got.status, got.body, loaded) == (200, b"existing", [path])
    assert "x-evil" not in origin.asked("/api/sessions")[-1].headers
    assert (record["subject"], record["outcome"]) == (EVIL, "recovered")


@pytest.mark.parametrize(
    "key", ["k" * 256, "a\tb", "a b", "caf\xe9", ""], ids=["256", "tab", "space", "latin", "empty"]
)
async def test_an_unusable_idempotency_key_is_a_problem(child: Child, origin: Origin, key: str) -> None:
    """1 to 255 visible ASCII characters or 400, said in words; the connection stays, the backend hears nothing."""
    before = len(origin.calls)
    sent = request("POST", "/api/sessions", orjson.dumps({"reportId": "r"}), **JSON, **{"Idempotency-Key": key})
    got = await ask(child.url, sent)
    problem = orjson.loads(got.body)
    assert (got.status, got.header("content-type")) == (400, "application/problem+json")
    assert (problem["status"], problem["correlation_id"]) == (400, got.header("x-correlation-id"))
    assert "1 to 255 visible ASCII" in problem["detail"]
    assert (len(origin.calls), got.header("connection")) == (before, "")


async def test_the_longest_key_goes_through_byte_for_byte(child: Child, origin: Origin) -> None:
    """255 visible characters are a key."""
    origin.on("/api/sessions", answer(b"made", "201 Created"))
    key = "".join(chr(0x21 + number % 94) for number in range(255))
    sent = request("POST", "/api/sessions", orjson.dumps({"reportId": "r"}), **JSON, **{"Idempotency-Key": key})
    assert (await ask(child.url, sent)).status == 201
    assert origin.asked("/api/sessions")[-1].header("idempotency-key") == key
