"""Heads of requests and responses: parsed as other parsers do, and forwarded as one unambiguous message."""

from collections.abc import Hashable

from proxy.errors import BadResponse
from proxy.http.message import (
    Framing,
    Peer,
    Request,
    Response,
)
from proxy.http.problems import Refusal
from proxy.http1.head import (
    HeadLimits,
    RequestHead,
    RequestHeadReader,
    ResponseHead,
    ResponseHeadReader,
    check_unfinished,
    encode_head,
    has_bare_line_end,
)  # fmt: skip
from proxy.server.server_state import whole_body
from proxy.upstream.connector import BackendAddress
from proxy.upstream.forwarding import Forwarding
from proxy.upstream.pool import HttpUpstream, UpstreamPool
from tests.fuzz.opinions import Message, Opinion, h11_answer, h11_request, llhttp_answer, llhttp_request, lowered
from tests.fuzz.target import Target
from tests.fuzz.targets.words import HTTP
from tests.settings import head_limits, pool_limits
from tests.wire.test_hostile_answers import HOSTILE as HOSTILE_ANSWERS
from tests.wire.test_hostile_requests import HOSTILE as HOSTILE_REQUESTS

END = b"\r\n\r\n"
LIMITS, BACKENDS = head_limits(), head_limits(head=1 << 20, target=1 << 20, fields=1 << 10)  # the sidecar adds fields
POOL = UpstreamPool(BackendAddress.of("http://127.0.0.1:1"), pool_limits())
UPSTREAM = HttpUpstream(POOL, Forwarding(via=True, style="x-forwarded"), frozenset(), idle_s=60.0)
CLIENT = Peer("192.0.2.1", 50_000)
BODY = b"hello"
CHANGED = (b"upgrade", b"http2-settings", b"expect")  # dropped where they have no meaning
MOST_READ = 250  # fields of an answer, so that there is room for those that are added


def body_of(framing: Framing, length: int) -> bytes | None:
    """Return a body of this framing as it stands on the wire; None for one that is too long to try."""
    if framing is Framing.CHUNKED:
        return b"5\r\nhello\r\n0\r\n\r\n"
    return None if length > 65_536 else b"x" * length


def read_request(raw: bytes, limits: HeadLimits = LIMITS) -> RequestHead | Refusal:
    """Return the head as a leg reads it: the bytes up to the first empty line."""
    try:
        return RequestHeadReader(limits).read(raw)
    except Refusal as refusal:
        assert 400 <= refusal.status < 600
        assert refusal.detail
        return refusal


def check_request(data: bytes) -> Hashable:
    """Check a request's head."""
    raw = data.lstrip(b"\r\n").partition(END)[0] + END
    head = read_request(raw)
    if isinstance(head, Refusal):
        return head.status, head.metric, head.detail
    arrives_piecewise(raw)
    said = head.parsed
    body = body_of(said.framing, said.length)
    if body is not None:
        following = b"" if said.upgrade else b"GET /following HTTP/1.1\r\nHost: a\r\n\r\n"
        same_request(head, llhttp_request(raw + body + following), following)
        same_request(head, h11_request(raw + body + following), following)
        passes_on(head)
    return said.framing, bool(said.upgrade), said.keep_alive, head.minor, head.method in ("GET", "POST"), bool(body)


def arrives_piecewise(raw: bytes) -> None:
    """Check that a head that is fine as a whole is refused at no byte of its arrival."""
    for end in range(1, len(raw), 1 + len(raw) // 64):
        check_unfinished(raw[:end], 0, LIMITS)
        check_unfinished(raw[:end], max(0, end - 4), LIMITS)


def same_request(head: RequestHead, other: Opinion, following: bytes) -> None:
    """Check that nobody who reads it reads something else: another target, field, body or end."""
    if not isinstance(other, Message):
        return
    assert other.start[0].decode() == head.method, other
    if other.start[1].startswith((b"/", b"*")):
        assert other.start[1] == head.target, other
        told = [_without_zeros(line) for line in other.lines if line[0] not in CHANGED]
        assert [line for line in lowered(head.fields.lines) if line[0] not in CHANGED] == told, other
    if all(name != b"upgrade" for name, _ in other.lines):
        assert other.body == plain(head.parsed.framing, head.parsed.length), other
        assert other.after is None or other.after == following, other


def _without_zeros(line: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a field line with its Content-Length as the sidecar writes it."""
    name, value = line
    return (name, value.lstrip(b"0") or b"0") if name == b"content-length" else line


def plain(framing: Framing, length: int) -> bytes:
    """Return the body of `body_of` without its framing."""
    return BODY if framing is Framing.CHUNKED else b"x" * length


def passes_on(head: RequestHead) -> None:
    """Check that what goes to the backend is one message for everybody, and ends where its body does."""
    said = head.parsed
    request = Request(
        head.method, head.target, head.fields, CLIENT, plain(said.framing, said.length), said.framing, head.authority,
        head.minor, keep_alive=said.keep_alive, upgrade=said.upgrade,
    )  # fmt: skip
    sent = UPSTREAM._head(request, ()) + (body_of(said.framing, said.length) or b"")
    for opinion in (llhttp_request(sent), h11_request(sent)):
        if isinstance(opinion, Message):
            names = [name for name, _ in opinion.lines]
            assert opinion.start == (head.method.encode(), head.target), opinion
            assert names.count(b"host") == 1, opinion
            assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1, opinion
            assert said.upgrade or opinion.body == plain(said.framing, said.length), opinion
            assert opinion.after in (None, b""), opinion
    assert isinstance(read_request(sent.partition(END)[0] + END, BACKENDS), RequestHead), sent


def check_answer(data: bytes) -> Hashable:
    """Check an answer's head; the first byte says what was asked."""
    method = ("GET", "HEAD", "POST", "OPTIONS")[data[0] % 4] if data else "GET"
    raw = data[1:].partition(END)[0] + END
    try:
        head = ResponseHeadReader().read(raw, method)
    except BadResponse as bad:
        return str(bad)
    for end in range(1, len(raw), 1 + len(raw) // 64):
        assert not has_bare_line_end(raw[:end], 0)
        assert not has_bare_line_end(raw[:end], end - 1)
    same_answer(head, llhttp_answer(raw), b"")
    body = body_of(head.framing, head.length)
    if head.status >= 200 and body is not None:
        ended = head.framing is Framing.CLOSE
        same_answer(head, h11_answer(raw + body, method, ended=ended), plain(head.framing, head.length))
        answers(head, method)
    return head.framing, head.keep_alive, head.bounded, head.events, head.status // 100


def same_answer(head: ResponseHead, other: Opinion, body: bytes) -> None:
    """Check that nobody who reads it reads something else."""
    if isinstance(other, Message):
        assert other.start == (b"%d" % head.status,), other
        assert other.body == body, other
        lengths = {value for name, value in other.lines if name == b"content-length"}
        told = [line for line in other.lines if line[0] != b"content-length"]
        assert told == [line for line in lowered(head.fields.lines) if line[0] != b"content-length"], other
        assert len(lengths) <= 1 or len({part.strip() for length in lengths for part in length.split(b",")}) == 1, other


def answers(head: ResponseHead, method: str) -> None:
    """Check that what goes to the client is one whole message for everybody."""
    body = plain(head.framing, head.length)
    response = Response(head.status, head.reason, head.crossing, body, head.framing)
    request = Request(method, b"/", head.fields, CLIENT)
    more, sent_body = whole_body(response, request)
    sent = encode_head(b"HTTP/1.1 %d %b" % (head.status, head.reason), response.fields.encode(), more) + sent_body
    opinion = h11_answer(sent, method)
    if isinstance(opinion, Message):
        assert opinion.body == body, sent
        assert opinion.after == b"", sent
    if len(head.fields.lines) < MOST_READ:
        ResponseHeadReader().read(sent.partition(END)[0] + END, method)


TARGETS = (
    Target(
        "request-heads", check_request, HTTP, tuple(said for _, said in HOSTILE_REQUESTS.values() if len(said) < 4096)
    ),
    Target(
        "response-heads",
        check_answer,
        HTTP,
        tuple(b"\0" + said for said in HOSTILE_ANSWERS.values() if len(said) < 4096),
    ),
)
