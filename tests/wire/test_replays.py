"""Replayed responses (idempotency = "replay"), in every framing."""

from tests.wire.conftest import Start
from tests.wire.kit import until

REPLAY = """
[[routes]]
operation = "create"
match = "POST /s"
idempotency = "replay"
replay_answer_limit = "1KiB"
"""
ASKED = (
    b"POST /s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ada\r\nIdempotency-Key: k1\r\nContent-Length: 2\r\n\r\n{}"
)
HEAD = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_chunked_answer_is_replayed(start: Start) -> None:
    """Piece by piece, with trailers; the repetition has it whole, and the backend hears nothing of it."""
    wire = await start(more=REPLAY)
    client = await wire.client()
    await client.send(ASKED)
    backend = await wire.backend.connection()
    await backend.message()
    await backend.send(HEAD + b"3\r\none\r\n")
    await client.head()
    await client.receives(b"3\r\none\r\n")
    await backend.send(b"3\r\ntwo\r\n0\r\nChecksum: 1\r\n\r\n")
    await client.receives(b"3\r\ntwo\r\n0\r\nChecksum: 1\r\n\r\n")
    await client.send(ASKED)
    again = await client.message()
    assert (again.status, again.get(b"idempotent-replayed")) == (201, b"true")
    assert again.body == b"6\r\nonetwo\r\n0\r\nChecksum: 1\r\n\r\n"
    assert len(wire.backend.lines) == 1


async def test_an_answer_whose_client_left_is_replayed(start: Start) -> None:
    """The connection broke in the middle of the answer, which is why the client comes again with its key."""
    wire = await start(more=REPLAY)
    first = await wire.client()
    await first.send(ASKED)
    backend = await wire.backend.connection()
    await backend.message()
    await backend.send(HEAD + b"3\r\none\r\n")
    await first.head()
    first.close()
    await until(lambda: wire.sidecar.running == 0)
    await backend.send(b"3\r\ntwo\r\n0\r\n\r\n")
    second = await wire.client()
    await second.send(ASKED)
    assert (await second.message()).body == b"6\r\nonetwo\r\n0\r\n\r\n"


async def test_a_large_answer_is_relayed_and_not_kept(start: Start) -> None:
    """Its length says that it is too large: the client has it, and its repetition is told why it has not."""
    wire = await start(more=REPLAY)
    client = await wire.client()
    await client.send(ASKED)
    backend = await wire.backend.connection()
    await backend.message()
    await backend.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    backend.say_at_once(bytes(100_000))
    assert len((await client.message()).body) == 100_000
    await client.send(ASKED)
    again = await client.message()
    assert (again.status, again.get(b"content-type")) == (409, b"application/problem+json")
    assert b"too large to store" in again.body
