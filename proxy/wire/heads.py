"""Heads in and out: llhttp parses, this file checks what llhttp lets pass (W10) and strips what is hop-by-hop (W3)."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import httptools

from proxy.errors import Refusal
from proxy.message import Fields, Framing, Lines

HOP_BY_HOP = frozenset(b"connection keep-alive proxy-connection te transfer-encoding upgrade".split())
# W3: never stripped for being listed in Connection, against stripping attacks (departs from RFC 9110 section 7.6.1)
PROTECTED = frozenset(
    b"""host content-length content-type authorization cookie set-cookie cache-control forwarded x-forwarded-for
    x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-prefix x-real-ip x-correlation-id x-request-id
    idempotency-key traceparent tracestate date expect""".split()
)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(:[0-9]{0,5})?")
_REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+(?: HTTP/([0-9]\.[0-9]))?\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")
_TOKEN_START = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_UPGRADE_FIELDS = (b"upgrade", b"http2-settings")
_VERSIONS = {b"1.0": 0, b"1.1": 1}
_NO_TRAILER = HOP_BY_HOP | PROTECTED | {b"trailer", b"content-encoding", b"content-range", b"te"}


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds on a head, in bytes and fields (W11)."""

    head: int = 65_536
    target: int = 16_384
    fields: int = 128


class RequestHead(NamedTuple):
    """A request up to its body."""

    method: str
    target: bytes
    minor: int
    fields: Fields
    authority: bytes
    framing: Framing
    length: int
    keep_alive: bool
    upgrade: bytes = b""


class ResponseHead(NamedTuple):
    """An answer up to its body; `fields` are as they came."""

    status: int
    reason: bytes
    minor: int
    fields: Fields
    framing: Framing
    length: int
    keep_alive: bool


class BadAnswer(Exception):  # noqa: N818 - named for what it tells
    """The upstream's head is not acceptable HTTP/1."""


class _Sink:
    """What llhttp tells of one head."""

    __slots__ = ("complete", "lines", "url")

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed", detail)


def check_unfinished(data: bytes, start: int, limits: HeadLimits) -> None:
    """Refuse early what can never become a head: not HTTP at all, bare line feeds, too much. `start`: what is new."""
    if data[0] not in _TOKEN_START:
        raise _malformed("this is not HTTP/1.1")
    if data.count(b"\n", start) != data.count(b"\r\n", max(0, start - 1)):
        raise _malformed("a line of the head ends without CR")
    _check_size(data, limits)


def _check_size(data: bytes, limits: HeadLimits) -> None:
    if len(data) <= limits.head:
        return
    if len(data.split(b"\r\n", 1)[0]) > limits.target:
        raise Refusal(414, "target_too_long", "the request line is too long")
    raise Refusal(431, "head_too_large", f"a request head may have at most {limits.head} bytes")


def read_request_head(raw: bytes, limits: HeadLimits) -> RequestHead:
    """Return the head in `raw`, which ends in an empty line. Raise Refusal for what must not go on (W10, W11)."""
    _check_size(raw, limits)
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise _malformed("the request line is malformed")
    if line[1] not in _VERSIONS:  # asked before llhttp, which also takes RTSP for HTTP
        raise Refusal(505, "version", "only HTTP/1.1 and HTTP/1.0 are spoken here")
    sink = _Sink()
    parser: Any = httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        sink.complete = True  # CONNECT or Upgrade: the head itself was fine
    except httptools.HttpParserInvalidMethodError:
        raise Refusal(501, "method", "the method is not known") from None
    except httptools.HttpParserError as error:
        raise _parser_refusal(error) from None
    if not sink.complete:
        raise _malformed("the request head is malformed")
    if len(sink.lines) > limits.fields:
        raise Refusal(431, "too_many_fields", f"a request may have at most {limits.fields} fields")
    return _checked(parser.get_method().decode(), sink.url, _VERSIONS[line[1]], Fields(tuple(sink.lines)), limits)


def _parser_refusal(error: Exception) -> Refusal:
    text = str(error)
    if "Transfer-Encoding" in text and "Content-Length" not in text:
        return Refusal(501, "transfer_encoding", "chunked is the only transfer coding known here")
    return _malformed("the request head is malformed")


def _checked(method: str, target: bytes, minor: int, fields: Fields, limits: HeadLimits) -> RequestHead:
    if len(target) > limits.target:
        raise Refusal(414, "target_too_long", f"the request target is longer than {limits.target} bytes")
    if b"#" in target:
        raise _malformed("the request target has a fragment")
    if method == "CONNECT":
        raise Refusal(501, "method", "this is no tunnelling proxy: CONNECT is not offered")
    origin, authority = _authority(target, method, minor, fields)
    if origin is not target:
        fields = fields.with_line(b"Host", authority)  # RFC 9112 section 3.2.2: the absolute form's own goes on
    framing, length = _request_framing(minor, fields)
    connection = set(fields.tokens(b"connection"))
    keep_alive = b"close" not in connection if minor else b"keep-alive" in connection
    upgrade = b""
    if b"upgrade" in fields:
        if minor and framing is Framing.NONE and b"upgrade" in connection:
            upgrade = _upgrade(fields)
        if not upgrade:
            fields = fields.without(_UPGRADE_FIELDS)
    return RequestHead(method, origin, minor, fields, authority, framing, length, keep_alive, upgrade)


def _upgrade(fields: Fields) -> bytes:
    """Return the protocols to change to (W12). HTTP/2 in clear text is not among them: Java asks for it unprompted."""
    protocols = [value.strip() for line in fields.all(b"upgrade") for value in line.split(b",")]
    return b", ".join(protocol for protocol in protocols if protocol and protocol.lower() != b"h2c")


def _authority(target: bytes, method: str, minor: int, fields: Fields) -> tuple[bytes, bytes]:
    """Return the origin-form target and the authority (RFC 9112 sections 3.2 and 3.3)."""
    hosts = fields.all(b"host") if b"host" in fields else []
    if len(hosts) > 1 or (minor and not hosts):
        raise Refusal(400, "host", "a request needs exactly one Host field")
    host = hosts[0] if hosts else b""
    if not _HOST.fullmatch(host):
        raise Refusal(400, "host", "the Host field is not a host name")
    if target.startswith(b"/") or (target == b"*" and method == "OPTIONS"):
        return target, host
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise _malformed("the request target is neither a path nor an absolute URL")
    named, slash, path = rest.partition(b"/")
    named, mark, query = named.partition(b"?") if not slash else (named, b"", b"")
    if not named or not _HOST.fullmatch(named):
        raise Refusal(400, "host", "the request target's authority is not a host name")
    return b"/" + path + mark + query, named


def _request_framing(minor: int, fields: Fields) -> tuple[Framing, int]:
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if minor == 0:
            raise _malformed("HTTP/1.0 knows no Transfer-Encoding")
        if len(fields.all(b"transfer-encoding")) > 1 or coding.strip().lower() != b"chunked":
            raise Refusal(501, "transfer_encoding", "chunked is the only transfer coding known here")
        if b"content-length" in fields:
            raise _malformed("both Content-Length and Transfer-Encoding")
        return Framing.CHUNKED, 0
    if b"content-length" not in fields:
        return Framing.NONE, 0
    return Framing.LENGTH, _length(fields.all(b"content-length"))


def _length(values: list[bytes]) -> int:
    if len(values) > 1 or not values[0].isdigit() or len(values[0]) > 18:
        raise _malformed("Content-Length must be one number")
    return int(values[0])


def read_response_head(raw: bytes, method: str) -> ResponseHead:
    """Return the head in `raw`, the answer to a `method` request. Raise BadAnswer for what must not go on."""
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise BadAnswer("the status line is malformed")
    minor, status = line[1] == b"1", int(line[2])
    sink = _Sink()
    parser: Any = httptools.HttpResponseParser(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        sink.complete = True  # 101: the head itself was fine
    except httptools.HttpParserError as error:
        raise BadAnswer(str(error)) from None
    if not sink.complete:
        raise BadAnswer("the response head is malformed")
    fields = Fields(tuple(sink.lines))
    framing, length = _response_framing(status, method, fields)
    if not minor and b"transfer-encoding" in fields:
        raise BadAnswer("HTTP/1.0 knows no Transfer-Encoding")
    connection = set(fields.tokens(b"connection")) if b"connection" in fields else ()
    keep_alive = b"close" not in connection if minor else b"keep-alive" in connection
    keep_alive = keep_alive and framing is not Framing.CLOSE
    return ResponseHead(status, line[3] or b"", int(minor), fields, framing, length, keep_alive)


def _response_framing(status: int, method: str, fields: Fields) -> tuple[Framing, int]:
    """RFC 9112 section 6.3, with no coding but chunked."""
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if len(fields.all(b"transfer-encoding")) > 1 or coding.strip().lower() != b"chunked":
            raise BadAnswer("an unknown transfer coding")
        if b"content-length" in fields:
            raise BadAnswer("both Content-Length and Transfer-Encoding")
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing.NONE, 0
    if coding is not None:
        return Framing.CHUNKED, 0
    if b"content-length" not in fields:
        return Framing.CLOSE, 0
    try:
        return Framing.LENGTH, _length(fields.all(b"content-length"))
    except Refusal as refusal:
        raise BadAnswer(refusal.detail) from None


def end_to_end(fields: Fields, dropped: frozenset[bytes] = frozenset()) -> Lines:
    """Return the lines that cross: neither hop-by-hop nor listed in Connection, nor among `dropped`."""
    unwanted = HOP_BY_HOP | dropped if dropped else HOP_BY_HOP
    if b"connection" in fields:
        unwanted |= frozenset(fields.tokens(b"connection")) - PROTECTED
    return tuple([line for line in fields.lines if line[0].lower() not in unwanted])


def trailers_that_cross(lines: Lines) -> Lines:
    """Return the trailer lines that may follow a body: none that frames, routes or authenticates (RFC 9110 6.5.1)."""
    return tuple([line for line in lines if line[0].lower() not in _NO_TRAILER])


def encode_head(start: bytes, lines: Lines, more: Lines = ()) -> bytes:
    """Return a head as it stands on the wire; `start` has no line end."""
    parts = [start, b"\r\n"]
    for name, value in lines:
        parts += (name, b": ", value, b"\r\n")
    for name, value in more:
        parts += (name, b": ", value, b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)
