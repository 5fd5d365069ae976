"""One response for several callers: those in time read a stream from its first byte; different users share nothing."""

import pytest

from tests.wire.kit import Wire, until

ASKED = b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_newcomer_reads_a_stream_from_its_beginning(wire: Wire) -> None:
    """Half of a body is here when a second client asks the same: one call, and both read all of it."""
    first, backend, _ = await wire.asked(ASKED)
    await backend.send(HEAD + b"3\r\none\r\n")
    assert (await first.head()).status == 200
    await first.receives(b"3\r\none\r\n")
    second = await wire.client()
    await second.send(ASKED)
    await second.head()
    await second.receives(b"3\r\none\r\n")
    await backend.send(b"3\r\ntwo\r\n0\r\n\r\n")
    for client in (first, second):
        await client.receives(b"3\r\ntwo\r\n0\r\n\r\n")
    assert len(wire.backend.lines) == 1
    await until(lambda: wire.counted('backstay_coalesced_total{role="joined",route="passthrough"} 1.0'))


async def test_a_stream_outlives_its_first_client(wire: Wire) -> None:
    """The leader's client leaves; the newcomer reads on, and when he leaves the backend is hung up on."""
    first, backend, _ = await wire.asked(ASKED)
    await backend.send(HEAD + b"3\r\none\r\n")
    await first.head()
    second = await wire.client()
    await second.send(ASKED)
    await second.head()
    first.close()
    await until(lambda: wire.sidecar.running == 1)
    await backend.send(b"3\r\ntwo\r\n")
    await second.receives(b"3\r\none\r\n3\r\ntwo\r\n")
    second.close()
    assert await backend.ending() in ("fin", "reset")


@pytest.mark.parametrize(
    "shows", [b"Cookie: lang=en\r\n", b"Cookie:\r\n", b"Authorization:\r\n", b"Authorization: Bearer null\r\n", b""]
)
async def test_two_addresses_that_show_no_credential_are_two_callers(wire: Wire, shows: bytes) -> None:
    """Both ask at one moment and show the same, which names nobody: the backend hears of both, and answers each."""
    asked = b"GET /session HTTP/1.1\r\nHost: a\r\n" + shows + b"\r\n"
    visits = [await wire.asked(asked, address) for address in ("127.0.0.2", "127.0.0.3")]
    for number, (client, backend, _) in enumerate(visits):
        await backend.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=%d\r\nContent-Length: 0\r\n\r\n" % number)
        assert (await client.head()).get(b"set-cookie") == b"sid=%d" % number
    await until(lambda: wire.counted('backstay_coalesced_total{role="led",route="passthrough"} 2.0'))
