"""Details of the RFCs; each test names its section. RFC 9110 has HTTP's semantics, RFC 9112 its wire format."""

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire, until

HOST = b"Host: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UPLOAD = b" /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
ROUTE = '[[routes]]\nmatch = "POST /x"\noperation = "x"\nupstream = "backend"\n'


@pytest.mark.parametrize("method", [b"FROB", b"get", b"BASELINE-CONTROL", b"!#$%&'*+-.^_`|~09aZ", b"A" * 64])
async def test_a_method_is_the_backends_business(wire: Wire, method: bytes) -> None:
    """RFC 9110 section 9.1: any token is a method. It is counted as OTHER, sent as it came, and answered."""
    client, backend, asked = await wire.asked(method + b" /x HTTP/1.1\r\n" + HOST + b"\r\n")
    assert asked.start == method + b" /x HTTP/1.1"
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    await until(lambda: wire.counted('backstay_requests_total{method="OTHER"'))


async def test_an_unknown_method_is_neither_shared_nor_repeated(wire: Wire) -> None:
    """RFC 9110 section 9.2.2: what is not known to be idempotent is sent once. Two clients are two requests."""
    first, backend, _ = await wire.asked(b"FROB /x HTTP/1.1\r\n" + HOST + b"\r\n")
    second, other, _ = await wire.asked(b"FROB /x HTTP/1.1\r\n" + HOST + b"\r\n")
    backend.close()
    assert (await first.message()).status == 502
    await other.send(HI)
    assert (await second.message()).body == b"hi"
    assert len(wire.backend.lines) == 2


@pytest.mark.parametrize("version", [b"1.2", b"1.9"])
async def test_a_later_minor_version_is_served_as_1_1(wire: Wire, version: bytes) -> None:
    """RFC 9110 section 2.5: as the highest minor version that is known here; the connection is kept."""
    client, backend, asked = await wire.asked(b"GET /x HTTP/" + version + b"\r\n" + HOST + b"\r\n")
    assert asked.start == b"GET /x HTTP/1.1"
    await backend.send(HI)
    answer = await client.message()
    assert (answer.start, answer.get(b"connection")) == (b"HTTP/1.1 200 OK", None)


@pytest.mark.parametrize("minor", range(2, 10))
async def test_a_later_minor_version_of_an_answer_is_read_as_1_1(wire: Wire, minor: int) -> None:
    """RFC 9110 section 2.5: interim, final, whole and chunked; the connection is kept, and the client is told 1.1."""
    version = b"HTTP/1.%d" % minor
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    early = version + b" 103 Early Hints\r\nLink: </a>\r\n\r\n"
    await backend.send(early + version + b" 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await client.head()).start == b"HTTP/1.1 103 Early Hints"
    assert (await client.message()).start == b"HTTP/1.1 200 OK"
    await client.send(b"GET /y HTTP/1.1\r\n" + HOST + b"\r\n")
    await backend.head()
    await backend.send(version + b" 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    answer = await client.message()
    assert (answer.start, b"hi" in answer.body) == (b"HTTP/1.1 200 OK", True)
    assert len(wire.backend.lines) == 1


@pytest.mark.parametrize("zeros", [1, 17, 18, 40, 5_000])
async def test_a_length_may_have_leading_zeros(wire: Wire, zeros: int) -> None:
    """RFC 9110 section 8.6: 1*DIGIT. What goes on has none, for a reader that limits digits or thinks of octal."""
    length = b"Content-Length: " + b"0" * zeros + b"10\r\n\r\n"
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\n" + HOST + length + b"0123456789")
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"content-length"), asked.body) == (b"10", b"0123456789")
    await backend.send(OK + length + b"9876543210")
    answer = await client.message()
    assert (answer.get(b"content-length"), answer.body) == (b"10", b"9876543210")


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"http://a", b"*"),
        (b"HTTP://a:80", b"*"),
        (b"http://a/", b"/"),
        (b"http://a?", b"/?"),
        (b"http://a?q", b"/?q"),
        (b"http://a/x", b"/x"),
    ],
)
async def test_options_of_a_whole_server(wire: Wire, target: bytes, sent: bytes) -> None:
    """RFC 9112 section 3.2.4: an absolute target without a path and a query becomes an asterisk."""
    _, _, asked = await wire.asked(b"OPTIONS " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert asked.start == b"OPTIONS " + sent + b" HTTP/1.1"


@pytest.mark.parametrize(
    "host", [b"a", b"a.b:80", b"a:", b"[::1]", b"[::ffff:1.2.3.4]:65535", b"%41-_~!$&'()*+,;=", b"1.2"]
)
async def test_a_host_is_a_name_or_an_address(wire: Wire, host: bytes) -> None:
    """RFC 3986 sections 3.2.2 and 3.2.3: these are hosts, with a port or without one."""
    _, _, asked = await wire.asked(b"GET /x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert asked.get(b"host") == host


async def test_an_upgrade_with_an_empty_body_is_an_upgrade(wire: Wire) -> None:
    """RFC 9110 section 7.8: Content-Length: 0 announces no body. What the client says next goes into the tunnel."""
    client, backend, asked = await wire.asked(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\nearly"
    )
    assert (asked.get(b"connection"), asked.get(b"upgrade")) == (b"Upgrade", b"websocket")
    assert asked.get(b"content-length") == b"0"
    await backend.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi")
    assert (await client.head()).status == 101
    await client.receives(b"hi")
    await backend.receives(b"early")


async def test_an_upgrade_with_an_empty_body_may_be_refused(wire: Wire) -> None:
    """RFC 9110 section 7.8: a server may ignore Upgrade; the next request on the connection is read as one."""
    client, backend, _ = await wire.asked(
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
        b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    assert (await backend.head()).start == b"GET /next HTTP/1.1"


async def test_an_upgrade_with_a_body_is_a_request_as_any_other(wire: Wire) -> None:
    """RFC 9110 section 7.8: Upgrade may be ignored, and is where a body would stand between two protocols."""
    _, _, asked = await wire.asked(
        b"POST /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbody"
    )
    assert (asked.get(b"connection"), asked.get(b"upgrade")) == (None, None)


@pytest.mark.parametrize("route", ["", ROUTE, ROUTE + "[routes.retry]\nmax_retries = 0\n"])
async def test_the_backend_is_asked_for_a_body_that_is_sent_once(start: Start, route: str) -> None:
    """RFC 9110 section 10.1.1: Expect goes on where nothing is ever sent again, and the backend's 100 comes back."""
    wire = await start(more=route)
    client, backend, asked = await wire.asked(b"POST" + UPLOAD)
    assert asked.get(b"expect") == b"100-continue"
    assert client.heard == b""
    await backend.send(CONTINUE)
    await client.receives(CONTINUE)
    await client.send(b"body")
    await backend.receives(b"body")
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_the_backend_may_refuse_a_body_before_it_is_sent(wire: Wire) -> None:
    """RFC 9110 section 10.1.1: its final answer comes instead of a 100, and the body is never sent."""
    client, backend, _ = await wire.asked(b"POST" + UPLOAD)
    await backend.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.message()
    assert (answer.status, answer.body, answer.get(b"connection")) == (417, b"no", b"close")
    assert await client.rest() == b""


KEPT = {
    "idempotent": ("PUT", ROUTE.replace("POST", "PUT")),
    "replayed": ("POST", ROUTE + 'idempotency = "replay"\n'),
    "keyed": ("POST", ROUTE + 'idempotency = "inject"\nupstream_honours_idempotency = true\n'),
    "unprocessed": ("POST", ROUTE + "rejected_means_unprocessed = true\n"),
    "read": ("POST", ROUTE + 'subject = "body:/id"\n'),
}


@pytest.mark.parametrize("why", KEPT)
async def test_a_body_that_is_kept_is_asked_for_at_once(start: Start, why: str) -> None:
    """RFC 9110 section 10.1.1: what may be sent again, or is read here, gets its 100 from the sidecar."""
    method, route = KEPT[why]
    wire = await start(more=route)
    client = await wire.client()
    await client.send(method.encode() + UPLOAD)
    await client.receives(CONTINUE)
    await client.send(b"body")
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"expect"), asked.body) == (None, b"body")


async def test_an_old_clients_expectation_is_ignored(start: Start) -> None:
    """RFC 9110 section 10.1.1: an HTTP/1.0 client gets no 100, and the backend is not told to send one."""
    wire = await start(defaults='replay_limit = "3"')
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.0\r\nHost: a\r\nExpect: the-unexpected\r\nContent-Length: 4\r\n\r\nbody")
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"expect"), asked.body) == (None, b"body")
    await backend.send(CONTINUE + HI)
    assert (await client.message()).status == 200


LENGTHS = [
    b"Content-Length: 2, 2\r\n",
    b"Content-Length: 002,002\r\n",
    b"Content-Length: 2\r\ncontent-length: 2\r\n",
    b"Content-Length: 2,2 ,\t2\r\n",
]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_equal_lengths_of_an_answer_are_one(wire: Wire, method: bytes, lengths: bytes) -> None:
    """RFC 9110 section 8.6: the client is told one valid length. The backend's connection goes on after such a body."""
    client, backend, _ = await wire.asked(method + b" /x HTTP/1.1\r\n" + HOST + b"\r\n")
    body = b"hi" if method == b"GET" else b""
    await backend.send(OK + b"X-A: b\r\n" + lengths + b"\r\n" + body)
    answer = await client.message(to_head=method == b"HEAD")
    assert (answer.status, answer.all(b"content-length"), answer.body) == (200, [b"2"], body)
    await client.send(b"GET /y HTTP/1.1\r\n" + HOST + b"\r\n")
    if method == b"HEAD":
        backend = await wire.backend.connection()
    assert (await backend.head()).start == b"GET /y HTTP/1.1"


async def test_zeros_before_a_chunk_size_count_for_nothing(wire: Wire) -> None:
    """RFC 9112 section 7.1: a chunk size is any number of hexadecimal digits. Both legs read it so."""
    chunks = b"0" * 40 + b"2\r\nhi\r\n" + b"0" * 40 + b"\r\n\r\n"
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    backend = await wire.backend.connection()
    assert (await backend.message()).body == b"2\r\nhi\r\n0\r\n\r\n"
    await backend.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    answer = await client.message()
    assert answer.body.endswith(b"0\r\n\r\n")
    assert b"hi" in answer.body


@pytest.mark.parametrize("wrong", [b"", HOST + HOST, HOST + b"Expect: x\r\n", HOST + b"X A: b\r\n"])
async def test_a_refused_head_has_no_content(wire: Wire, wrong: bytes) -> None:
    """RFC 9110 section 9.3.2: not even where the request itself is refused. What a GET would get has a length."""
    client = await wire.client()
    await client.send(b"HEAD /x HTTP/1.1\r\n" + wrong + b"\r\n")
    answer = await client.head()
    assert 400 <= answer.status < 500
    assert int(answer.get(b"content-length") or 0) > 0
    assert await client.rest() == b""


KEYED = ROUTE + 'idempotency = "inject"\n'


async def test_a_key_may_have_spaces_in_quotes(start: Start) -> None:
    """draft-ietf-httpapi-idempotency-key-header section 2.1 and RFC 9651 section 3.3.3: a string may hold spaces."""
    wire = await start(more=KEYED)
    key = b'"a key, \\"quoted\\" \\\\ "'
    _, _, asked = await wire.asked(b"POST /x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: " + key + b"\r\n\r\n")
    assert asked.all(b"idempotency-key") == [key]


@pytest.mark.parametrize("second", [b"k2", b"k1"])
@pytest.mark.parametrize("route", ["", KEYED])
async def test_two_keys_are_refused(start: Start, route: str, second: bytes) -> None:
    """RFC 9651 section 3.3: an item is one line. The refusal leaves the connection open."""
    wire = await start(more=route)
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k1\r\nIdempotency-Key: " + second + b"\r\n\r\n")
    answer = await client.message()
    assert (answer.status, answer.get(b"connection")) == (400, None)
    assert b"Idempotency-Key" in answer.body
    assert wire.backend.lines == []


UNDERSCORED = b"GET /x HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 203.0.113.9\r\nX-A: 1\r\nContent_Length: 4\r\n\r\n"


@pytest.mark.parametrize(("action", "crosses"), [("pass", True), ("drop", False)])
async def test_fields_with_underscores(start: Start, action: str, crosses: bool) -> None:
    """RFC 9110 section 5.1 allows them; RFC 3875 section 4.1.18 makes X_A and X-A one: a setting drops them."""
    wire = await start(listen=f'underscores = "{action}"')
    _, _, asked = await wire.asked(UNDERSCORED)
    assert (asked.get(b"x_forwarded_for") is not None, asked.get(b"content_length") is not None) == (crosses, crosses)
    assert asked.get(b"x-a") == b"1"


async def test_fields_with_underscores_can_be_refused(start: Start) -> None:
    """Nothing reaches the backend; the refusal names the setting."""
    wire = await start(listen='underscores = "refuse"')
    client = await wire.client()
    await client.send(UNDERSCORED)
    answer = await client.message()
    assert (answer.status, b"listen.underscores" in answer.body) == (400, True)
    assert wire.counted('backstay_bad_requests_total{reason="underscore"} 1.0')


async def test_a_media_type_has_no_case(wire: Wire) -> None:
    """RFC 9110 section 8.3.1: events pass one by one, however their type is spelt, also where the length is known."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    await backend.send(OK + b"Content-Type: Text/Event-Stream\r\nContent-Length: 18\r\n\r\ndata: 1\n\n")
    assert (await client.head()).status == 200
    await client.receives(b"data: 1\n\n")
    await backend.send(b"data: 2\n\n")
    await client.receives(b"data: 2\n\n")


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 0\r\n\r\n", b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
)
async def test_a_205_is_framed_like_any_other_answer(wire: Wire, framing: bytes) -> None:
    """RFC 9112 section 6.3 counts it not among those that end with their head; without its framing a client waits."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n")
    await backend.send(b"HTTP/1.1 205 R\r\n" + framing)
    answer = await client.message()
    assert (answer.status, answer.body) == (205, framing.partition(b"\r\n\r\n")[2])
