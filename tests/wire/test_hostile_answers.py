"""Invalid or ambiguous responses: the client gets the sidecar's 502, and no byte of them."""

import pytest

from tests.wire.kit import Wire

OK = b"HTTP/1.1 200 OK\r\n"
MARK = b"X-Mark: hostile\r\n"
END = b"\r\n"
BODY = b"hostile"

HOSTILE: dict[str, bytes] = {
    "length_and_chunked": OK + MARK + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
    "chunked_and_length": OK + MARK + b"Transfer-Encoding: chunked\r\nContent-Length: 7\r\n" + END + b"0\r\n\r\n",
    "two_lengths": OK + MARK + b"Content-Length: 7\r\nContent-Length: 8\r\n" + END + BODY,
    "list_of_lengths": OK + MARK + b"Content-Length: 7, 8\r\n" + END + BODY,
    "two_lengths_with_zeros": OK + MARK + b"Content-Length: 007\r\nContent-Length: 8\r\n" + END + BODY,
    "list_of_odd_lengths": OK + MARK + b"Content-Length: 7, 07\r\n" + END + BODY,
    "list_of_half_lengths": OK + MARK + b"Content-Length: 7,\r\n" + END + BODY,
    "list_of_words": OK + MARK + b"Content-Length: a, a\r\n" + END + BODY,
    "signed_length": OK + MARK + b"Content-Length: +7\r\n" + END + BODY,
    "negative_length": OK + MARK + b"Content-Length: -7\r\n" + END + BODY,
    "hex_length": OK + MARK + b"Content-Length: 0x7\r\n" + END + BODY,
    "empty_length": OK + MARK + b"Content-Length:\r\n" + END + BODY,
    "enormous_length": OK + MARK + b"Content-Length: 99999999999999999999999\r\n" + END + BODY,
    "gzip_chunked": OK + MARK + b"Transfer-Encoding: gzip, chunked\r\n" + END + b"0\r\n\r\n",
    "gzip": OK + MARK + b"Transfer-Encoding: gzip\r\n" + END + BODY,
    "chunked_twice": OK + MARK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
    "xchunked": OK + MARK + b"Transfer-Encoding: xchunked\r\n" + END + b"0\r\n\r\n",
    "identity": OK + MARK + b"Transfer-Encoding: identity\r\n" + END + BODY,
    "chunked_in_1_0": b"HTTP/1.0 200 OK\r\n" + MARK + b"Transfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
    "coding_on_204": b"HTTP/1.1 204 OK\r\n" + MARK + b"Transfer-Encoding: gzip\r\n" + END,
    "folded_field": OK + MARK + b"X-A: b\r\n c\r\n" + END,
    "bare_lf_field": OK + MARK + b"X-A: b\nSet-Cookie: hostile=1\r\n" + END,
    "bare_lf_start": b"HTTP/1.1 200 OK\n" + MARK + END,
    "bare_lf_everywhere": b"HTTP/1.1 200 OK\nX-Mark: hostile\n\nhostile",
    "bare_lf_so_far": b"HTTP/1.1 200 OK\r\nX-Mark: hostile\n",
    "bare_cr_so_far": b"HTTP/1.1 200 OK\rX-Mark: hostile\r",
    "bare_cr_in_value": OK + MARK + b"X-A: b\rSet-Cookie: hostile=1\r\n" + END,
    "nul_in_value": OK + MARK + b"X-A: b\0c\r\n" + END,
    "control_in_value": OK + MARK + b"X-A: b\x01c\r\n" + END,
    "nul_in_name": OK + MARK + b"X\0A: b\r\n" + END,
    "space_before_colon": OK + MARK + b"Content-Length : 7\r\n" + END + BODY,
    "space_in_name": OK + MARK + b"X A: b\r\n" + END,
    "empty_name": OK + MARK + b": b\r\n" + END,
    "no_colon": OK + MARK + b"hostile\r\n" + END,
    "byte_in_name": OK + MARK + b"X-\xc3\xa9: b\r\n" + END,
    "status_099": b"HTTP/1.1 099 Low\r\n" + MARK + END,
    "status_000": b"HTTP/1.1 000 None\r\n" + MARK + END,
    "status_letters": b"HTTP/1.1 OK 200\r\n" + MARK + END,
    "status_long": b"HTTP/1.1 2000 OK\r\n" + MARK + END,
    "status_short": b"HTTP/1.1 20 OK\r\n" + MARK + END,
    "status_signed": b"HTTP/1.1 +20 OK\r\n" + MARK + END,
    "no_status": b"HTTP/1.1\r\n" + MARK + END,
    "two_spaces": b"HTTP/1.1  200 OK\r\n" + MARK + END,
    "control_in_reason": b"HTTP/1.1 200 O\x01K\r\n" + MARK + END,
    "http_2_0": b"HTTP/2.0 200 OK\r\n" + MARK + END,
    "http_0_9": b"<html>hostile</html>\r\n\r\n",
    "http_0_9_in_a_line": b"HTTP/0.9 200 OK\r\n" + MARK + END,
    "http_1_10": b"HTTP/1.10 200 OK\r\n" + MARK + END,
    "http_1": b"HTTP/1 200 OK\r\n" + MARK + END,
    "http_3_0": b"HTTP/3.0 200 OK\r\n" + MARK + END,
    "rtsp": b"RTSP/1.0 200 OK\r\n" + MARK + END,
    "ice": b"ICY 200 OK\r\n" + MARK + END,
    "lower_case": b"http/1.1 200 OK\r\n" + MARK + END,
    "space_first": b" HTTP/1.1 200 OK\r\n" + MARK + END,
    "empty_line_first": b"\r\nHTTP/1.1 200 OK\r\n" + MARK + END,
    "noise": b"\x16\x03\x01\x02\x00hostile\r\n\r\n",
    "a_request": b"GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n",
    "too_many_fields": OK + MARK + b"X-A: b\r\n" * 256 + END,
    "too_many_members": OK + MARK + b"Vary: a" + b",a" * 3000 + b"\r\n" + END,
    "endless_head": OK + MARK + b"X-A: " + b"b" * 70_000,
    "endless_interim_head": b"HTTP/1.1 103 Early\r\nX-A: " + b"b" * 70_000,
    "switching_unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: hostile\r\nConnection: upgrade\r\n"
    + END
    + BODY,
    "head_cut_off": OK + b"X-Mark: hosti",
    "status_line_cut_off": b"HTTP/1.1 2",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_it_is_a_502_and_not_one_byte_of_it_goes_on(wire: Wire, name: str) -> None:
    """The client gets our problem document, on a connection that goes on; the backend's is not used again."""
    client, backend, _ = await wire.asked(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await backend.send(HOSTILE[name])
    if name.endswith("cut_off"):
        backend.finish()
    answer = await client.message()
    assert answer.status == 502, answer
    assert answer.get(b"content-type") == b"application/problem+json"
    assert b"hostile" not in client.heard
    assert await backend.ending() in ("fin", "reset")

    await client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    again = await wire.backend.connection()
    assert (await again.head()).start == b"GET /next HTTP/1.1"
    await again.send(OK + b"Content-Length: 2\r\n\r\nhi")
    assert (await client.message()).body == b"hi"


async def test_a_bad_head_after_an_interim_one_fails_at_once(wire: Wire) -> None:
    """RFC 9112 section 2.2: what ends in LF alone never becomes a head, and nobody waits for the deadline."""
    client, backend, _ = await wire.asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\nX-Mark: hostile\n\n")
    assert (await client.head()).status == 103
    assert (await client.message()).status == 502
    assert b"hostile" not in client.heard


BROKEN_BODIES: dict[str, bytes] = {
    "size_not_hex": b"2\r\nhi\r\nxyz\r\nhostile",
    "size_signed": b"2\r\nhi\r\n+7\r\nhostile\r\n0\r\n\r\n",
    "size_spaced": b"2\r\nhi\r\n7 \r\nhostile\r\n0\r\n\r\n",
    "size_bare_lf": b"2\r\nhi\r\n7\nhostile\r\n0\r\n\r\n",
    "size_enormous": b"2\r\nhi\r\n1ffffffffffffffff\r\nhostile\r\n",
    "data_too_long": b"2\r\nhi and hostile\r\n0\r\n\r\n",
    "trailer_folded": b"2\r\nhi\r\n0\r\nX: b\r\n hostile\r\n\r\n",
    "trailer_no_colon": b"2\r\nhi\r\n0\r\nhostile\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
async def test_a_broken_chunk_never_ends_well(wire: Wire, name: str) -> None:
    """The client may get what was whole; it gets no last chunk, and nothing of what was broken."""
    client, backend, _ = await wire.asked(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await backend.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + BROKEN_BODIES[name])
    assert await client.ending() in ("fin", "reset")
    assert b"\r\n0\r\n" not in client.heard
    assert b"hostile" not in client.heard


async def test_an_answer_to_no_question_is_thrown_away(wire: Wire) -> None:
    """Bytes after a whole answer are not taken for the answer to the next request."""
    client, backend, _ = await wire.asked(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhostile"
    await backend.send(OK + b"Content-Length: 2\r\n\r\nhi" + stray)
    assert (await client.message()).body == b"hi"
    assert await backend.ending() in ("fin", "reset")
    await client.send(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")
    again = await wire.backend.connection()
    await again.head()
    await again.send(OK + b"Content-Length: 5\r\n\r\nright")
    assert (await client.message()).body == b"right"
    assert b"hostile" not in client.heard
