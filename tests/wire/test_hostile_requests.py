"""Smuggled and malformed requests are refused, and no byte of them is forwarded."""

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire, exposition

GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
END = b"\r\n"
CHUNKED = POST + HOST + b"Transfer-Encoding: chunked\r\n" + END
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

HOSTILE: dict[str, tuple[int, bytes]] = {
    # two opinions on where the body ends
    "length_and_chunked": (400, POST + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + END),
    "chunked_and_length": (400, POST + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" + END),
    "two_lengths": (400, POST + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n" + END),
    "two_lengths_with_zeros": (400, POST + HOST + b"Content-Length: 003\r\nContent-Length: 4\r\n" + END),
    "two_equal_lengths": (400, POST + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n" + END),
    "list_of_lengths": (400, POST + HOST + b"Content-Length: 3, 3\r\n" + END),
    "signed_length": (400, POST + HOST + b"Content-Length: +3\r\n" + END),
    "negative_length": (400, POST + HOST + b"Content-Length: -3\r\n" + END),
    "hex_length": (400, POST + HOST + b"Content-Length: 0x3\r\n" + END),
    "empty_length": (400, POST + HOST + b"Content-Length: \r\n" + END),
    "spaced_length": (400, POST + HOST + b"Content-Length: 1 2\r\n" + END),
    "underscored_length": (400, POST + HOST + b"Content-Length: 1_0\r\n" + END),
    "decimal_length": (400, POST + HOST + b"Content-Length: 3.0\r\n" + END),
    "unicode_length": (400, POST + HOST + b"Content-Length: \xd9\xa3\r\n" + END),
    "enormous_length": (400, POST + HOST + b"Content-Length: 99999999999999999999999\r\n" + END),
    # transfer codings
    "gzip_chunked": (501, POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n" + END),
    "chunked_twice": (501, POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n" + END),
    "chunked_lines_twice": (501, POST + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" + END),
    "chunked_then_identity": (400, POST + HOST + b"Transfer-Encoding: chunked, identity\r\n" + END),
    "chunked_then_gzip": (400, POST + HOST + b"Transfer-Encoding: chunked, gzip\r\n" + END),
    "chunked_line_then_gzip": (400, POST + HOST + b"Transfer-Encoding: Chunked\r\nTransfer-Encoding: gzip\r\n" + END),
    "gzip": (501, POST + HOST + b"Transfer-Encoding: gzip\r\n" + END),
    "identity": (501, POST + HOST + b"Transfer-Encoding: identity\r\n" + END),
    "xchunked": (501, POST + HOST + b"Transfer-Encoding: xchunked\r\n" + END),
    "quoted_chunked": (501, POST + HOST + b'Transfer-Encoding: "chunked"\r\n' + END),
    "chunked_with_parameter": (501, POST + HOST + b"Transfer-Encoding: chunked;q=1\r\n" + END),
    "vertical_tab_chunked": (400, POST + HOST + b"Transfer-Encoding: \x0bchunked\r\n" + END),
    "empty_coding": (501, POST + HOST + b"Transfer-Encoding: \r\n" + END),
    "chunked_in_1_0": (400, b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" + END),
    # lines
    "folded_field": (400, GET + HOST + b"X-A: b\r\n c\r\n" + END),
    "folded_with_tab": (400, GET + HOST + b"X-A: b\r\n\tc\r\n" + END),
    "folded_first_field": (400, GET + b" X-A: b\r\n" + HOST + END),
    "bare_lf_line": (400, b"GET / HTTP/1.1\nHost: a\r\n" + END),
    "bare_lf_field": (400, GET + HOST + b"X-A: b\n" + END),
    "bare_lf_end": (400, GET + HOST + b"\n"),
    "only_lf": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare_cr_in_value": (400, GET + HOST + b"X-A: b\rc\r\n" + END),
    "bare_cr_before_end": (400, GET + HOST + b"X-A: b\r\r\n" + END),
    "nul_in_value": (400, GET + HOST + b"X-A: b\0c\r\n" + END),
    "nul_in_name": (400, GET + HOST + b"X\0A: b\r\n" + END),
    "control_in_value": (400, GET + HOST + b"X-A: b\x01c\r\n" + END),
    "delete_in_value": (400, GET + HOST + b"X-A: b\x7fc\r\n" + END),
    "space_before_colon": (400, GET + HOST + b"Content-Length : 3\r\n" + END),
    "tab_before_colon": (400, GET + HOST + b"Content-Length\t: 3\r\n" + END),
    "space_in_name": (400, GET + HOST + b"X A: b\r\n" + END),
    "empty_name": (400, GET + HOST + b": b\r\n" + END),
    "no_colon": (400, GET + HOST + b"Content-Length\r\n" + END),
    "byte_in_name": (400, GET + HOST + b"X-\xc3\xa9: b\r\n" + END),
    "bracketed_field": (400, GET + HOST + b"X[0]: b\r\n" + END),
    # the request line
    "raw_byte_in_target": (400, b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + END),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + HOST + END),
    "space_in_target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + END),
    "tab_in_target": (400, b"GET /a\tb HTTP/1.1\r\n" + HOST + END),
    "control_in_target": (400, b"GET /a\x01b HTTP/1.1\r\n" + HOST + END),
    "two_spaces": (400, b"GET  / HTTP/1.1\r\n" + HOST + END),
    "space_at_end": (400, b"GET / HTTP/1.1 \r\n" + HOST + END),
    "tab_for_space": (400, b"GET\t/ HTTP/1.1\r\n" + HOST + END),
    "space_first": (400, b" GET / HTTP/1.1\r\n" + HOST + END),
    "no_slash": (400, b"GET index HTTP/1.1\r\n" + HOST + END),
    "other_scheme": (400, b"GET ftp://a/ HTTP/1.1\r\n" + HOST + END),
    "no_authority": (400, b"GET http:///x HTTP/1.1\r\n" + HOST + END),
    "credentials_in_target": (400, b"GET http://a@b/ HTTP/1.1\r\n" + HOST + END),
    "star_for_get": (400, b"GET * HTTP/1.1\r\n" + HOST + END),
    "connect": (501, b"CONNECT a:443 HTTP/1.1\r\n" + HOST + END),
    "lower_case_connect": (501, b"connect / HTTP/1.1\r\n" + HOST + END),
    "method_is_no_token": (400, b"GE(T / HTTP/1.1\r\n" + HOST + END),
    "byte_in_method": (400, b"G\xc3\xa9T / HTTP/1.1\r\n" + HOST + END),
    "method_too_long": (501, b"A" * 65 + b" / HTTP/1.1\r\n" + HOST + END),
    "two_words": (400, b"GET /\r\n" + HOST + END),
    "two_words_and_a_space": (400, b"GET / \r\n" + HOST + END),
    "one_word": (400, b"GET\r\n" + HOST + END),
    "http_0_9": (505, b"GET / HTTP/0.9\r\n" + HOST + END),
    "http_2_0": (505, b"GET / HTTP/2.0\r\n" + HOST + END),
    "http_2_preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "http_3_1": (505, b"GET / HTTP/3.1\r\n" + HOST + END),
    "long_version": (400, b"GET / HTTP/1.10\r\n" + HOST + END),
    "lower_case_version": (400, b"GET / http/1.1\r\n" + HOST + END),
    "other_protocol": (400, b"GET / RTSP/1.0\r\n" + HOST + END),
    "tls_hello": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 32 + b"\r\n\r\n"),
    "only_noise": (400, b"\xff\xfe\xfd\r\n\r\n"),
    # the host
    "no_host": (400, GET + END),
    "two_hosts": (400, GET + HOST + b"Host: b\r\n" + END),
    "list_of_hosts": (400, GET + b"Host: a, b\r\n" + END),
    "host_with_path": (400, GET + b"Host: a/b\r\n" + END),
    "host_with_credentials": (400, GET + b"Host: u@a\r\n" + END),
    "host_with_space": (400, GET + b"Host: a b\r\n" + END),
    "host_with_bad_port": (400, GET + b"Host: a:port\r\n" + END),
    "empty_host": (400, GET + b"Host:\r\n" + END),
    "empty_host_in_1_0": (400, b"GET / HTTP/1.0\r\nHost: \r\n" + END),
    "host_of_a_port": (400, GET + b"Host: :80\r\n" + END),
    "host_with_large_port": (400, GET + b"Host: a:65536\r\n" + END),
    "host_with_half_an_escape": (400, GET + b"Host: a%2\r\n" + END),
    "bracketed_name": (400, GET + b"Host: [abc]\r\n" + END),
    "bracketed_ipv4": (400, GET + b"Host: [127.0.0.1]\r\n" + END),
    "bracketed_colons": (400, GET + b"Host: [:::]\r\n" + END),
    "bracketed_nothing": (400, GET + b"Host: []\r\n" + END),
    "bracket_open": (400, GET + b"Host: [::1\r\n" + END),
    "bracketed_zone": (400, GET + b"Host: [fe80::1%25eth0]\r\n" + END),
    "bracketed_with_more": (400, GET + b"Host: [::1]a\r\n" + END),
    "bracketed_target": (400, b"GET http://[::zz]/ HTTP/1.1\r\n" + HOST + END),
    "target_of_a_port": (400, b"GET http://:80/ HTTP/1.1\r\n" + HOST + END),
    "host_with_byte": (400, GET + b"Host: \xc3\xa9\r\n" + END),
    # chunks
    "size_not_hex": (400, CHUNKED + b"g\r\nxyz\r\n0\r\n\r\n"),
    "size_empty": (400, CHUNKED + b"\r\n0\r\n\r\n"),
    "size_signed": (400, CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n"),
    "size_negative": (400, CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    "size_0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "size_underscored": (400, CHUNKED + b"1_0\r\nabc\r\n0\r\n\r\n"),
    "size_too_large": (400, CHUNKED + b"ffffffffffffffff1\r\nabc\r\n0\r\n\r\n"),
    "size_space_first": (400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    "size_space_last": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "size_bare_lf": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "size_bare_cr": (400, CHUNKED + b"3\rabc\r\n0\r\n\r\n"),
    "extension_with_lf": (400, CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "extension_with_nul": (400, CHUNKED + b"3;a\0b\r\nabc\r\n0\r\n\r\n"),
    "extension_endless": (400, CHUNKED + b"3;" + b"a" * 5000 + b"\r\nabc\r\n0\r\n\r\n"),
    "data_longer_than_size": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "data_bare_lf": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "trailer_without_colon": (400, CHUNKED + b"3\r\nabc\r\n0\r\nabc\r\n\r\n"),
    "trailer_space_before_colon": (400, CHUNKED + b"3\r\nabc\r\n0\r\nX : b\r\n\r\n"),
    "trailer_folded": (400, CHUNKED + b"3\r\nabc\r\n0\r\nX: b\r\n c\r\n\r\n"),
    "trailer_bare_lf": (400, CHUNKED + b"3\r\nabc\r\n0\r\nX: b\n\r\n"),
    "trailers_endless": (400, CHUNKED + b"0\r\n" + b"X: y\r\n" * 5000 + END),
    # too much
    "target_too_long": (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + END),
    "field_too_long": (431, GET + HOST + b"X-A: " + b"b" * 70_000 + b"\r\n" + END),
    "too_many_fields": (431, GET + HOST + b"X-A: b\r\n" * 129 + END),
    "too_many_members": (400, GET + HOST + b"Connection: close" + b",a" * 3000 + b"\r\n" + END),
    "too_long_a_list": (400, GET + HOST + b"Cache-Control: a=" + b'"' * 9000 + b"\r\n" + END),
    "too_many_members_in_lines": (400, GET + HOST + (b"Cache-Control: " + b"," * 60 + b"\r\n") * 100 + END),
    "unknown_expectation": (417, POST + HOST + b"Content-Length: 3\r\nExpect: the-unexpected\r\n" + END),
    "unknown_expectation_without_a_body": (417, GET + HOST + b"Expect: the-unexpected\r\n" + END),
    "list_of_expectations": (417, POST + HOST + b"Content-Length: 3\r\nExpect: 100-continue, x\r\n" + END),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_it_is_refused_and_nothing_of_it_goes_on(wire: Wire, name: str) -> None:
    """The answer is ours, the connection ends, and neither the request nor what follows it reaches the backend."""
    status, hostile = HOSTILE[name]
    client = await wire.client()
    await client.send(hostile + SMUGGLED)
    answer = await client.message()
    assert answer.status == status, answer
    assert answer.get(b"content-type") == b"application/problem+json"
    assert answer.get(b"proxy-status") == b"backstay; error=http_request_error"
    assert answer.get(b"connection") == b"close"
    assert b"smuggled" not in client.heard
    assert b"Traceback" not in client.heard
    assert await client.rest() == b""
    assert wire.backend.lines == []


async def test_it_is_counted_by_its_reason_and_not_as_a_request(wire: Wire) -> None:
    """What was refused on the wire stands in backstay_bad_requests_total, not in backstay_requests_total."""
    client = await wire.client()
    await client.send(GET + END)
    assert (await client.message()).status == 400
    shown = exposition(wire.sidecar)
    assert 'backstay_bad_requests_total{reason="host"} 1' in shown
    assert not [line for line in shown.splitlines() if line.startswith("backstay_requests_total{")]


async def test_what_came_before_it_is_answered_first(wire: Wire) -> None:
    """A good request is answered, then the bad one that was pipelined behind it, then the connection ends."""
    client, backend, _ = await wire.asked(GET + HOST + END + GET + END + SMUGGLED)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await client.message()).body == b"hi"
    assert (await client.message()).status == 400
    assert await client.rest() == b""
    assert len(wire.backend.lines) == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_body_over_its_route_s_limit_is_refused(start: Start, framing: bytes) -> None:
    """413, whether the length was announced or only turned out."""
    wire = await start(defaults='max_body = "5"')
    client = await wire.client()
    body = b"6\r\nabcdef\r\n0\r\n\r\n" if b"chunked" in framing else b"abcdef"
    await client.send(POST + HOST + b"X-Correlation-ID: mine-1\r\n" + framing + END + body)
    refused = await client.message()
    assert (refused.status, refused.get(b"x-correlation-id")) == (413, b"mine-1")
    assert await client.rest() == b""
    assert wire.backend.lines == []
