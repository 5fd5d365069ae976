"""Parse and encode message heads (RFC 9112 sections 2 to 6).

Keep-alive peers repeat their heads: each connection has a reader that caches its last parse.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.config.settings import Listen
from proxy.errors import BadResponse, MalformedFieldLines, TooManyFieldLines
from proxy.http.authority import names_host
from proxy.http.fields import NO_FIELDS, Fields, Lines
from proxy.http.headers import NOT_FROM_UPSTREAM, NOT_FROM_UPSTREAM_BODILESS, UPGRADE_OFFER, hop_only, listed
from proxy.http.message import Framing
from proxy.http.problems import Refusal
from proxy.http1.body import announced
from proxy.http1.content_length import body_length, made_one, without_zeros
from proxy.http1.field_lines import read_lines

WHOLE_LIMIT = 65_536  # bytes; a longer response is streamed
_MOST_RESPONSE_FIELDS = 256  # Envoy allows 100, HAProxy 101; each costs as much as a request's field
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_TARGET: Final = re.compile(rb"[!\"$-~]+")  # visible ASCII except the fragment's "#"
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_CHUNKED_LINE = re.compile(rb"^transfer-encoding: *chunked *\r?$", re.IGNORECASE | re.MULTILINE)
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN_START = frozenset(_TOKEN)
_VERSIONS: Final = {b"HTTP/1.%d" % minor: min(minor, 1) for minor in range(10)}  # 1.2 is read as 1.1 (RFC 9110, 2.5)
_KNOWN_METHODS = b"""ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL
    MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND
    UNLINK UNLOCK UNSUBSCRIBE"""
_METHODS: Final = {name: name.decode() for name in _KNOWN_METHODS.split()}
_METHOD_LIMIT = 64  # bytes; the longest registered method has 17


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Limits of a request head, in bytes and number of fields."""

    head: int
    target: int
    fields: int
    underscores: str  # for a field name with "_": pass, drop or refuse

    @classmethod
    def of(cls, settings: Listen) -> "HeadLimits":
        """Return the limits of the listener's table, as plain attributes: every request reads them."""
        return cls(settings.max_head, settings.max_target, settings.max_fields, settings.underscores)


class ParsedFields:
    """The parsed field lines of a request."""

    __slots__ = ("authority", "fields", "framing", "keep_alive", "length", "upgrade")

    def __init__(
        self, fields: Fields, authority: bytes, framing: Framing, length: int, *, keep_alive: bool, upgrade: bytes
    ) -> None:
        self.fields = fields
        self.authority = authority
        self.framing = framing
        self.length = length
        self.keep_alive = keep_alive
        self.upgrade = upgrade


class RequestHead:
    """A request head. An absolute-form target replaces the `fields` and `authority` of the field lines."""

    __slots__ = ("authority", "fields", "method", "minor", "parsed", "target")

    def __init__(
        self,
        method: str,
        target: bytes,
        minor: int,
        parsed: ParsedFields,
        fields: Fields | None = None,
        authority: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.parsed = parsed
        self.fields = parsed.fields if fields is None else fields
        self.authority = parsed.authority if fields is None else authority


class ResponseHead:
    """A response head; `fields` are as received, `crossing` are those that the client gets.

    `bounded`: the body is known to be small. `events`: the body is an event stream, whose pieces are forwarded at once.
    """

    __slots__ = ("bounded", "crossing", "events", "fields", "framing", "keep_alive", "length", "reason", "status")

    def __init__(
        self, status: int, reason: bytes, fields: Fields, crossing: Fields, framing: Framing, length: int, *,
        keep_alive: bool, bounded: bool, events: bool,
    ) -> None:  # fmt: skip
        self.status = status
        self.reason = reason
        self.fields = fields
        self.crossing = crossing
        self.framing = framing
        self.length = length
        self.keep_alive = keep_alive
        self.bounded = bounded
        self.events = events


def _malformed(detail: str) -> Refusal:
    return Refusal(400, "malformed", detail)


def check_unfinished(data: bytes | bytearray, start: int, limits: HeadLimits) -> None:
    """Refuse early what cannot become a request head: no HTTP, bare line feeds, too large. `start`: first new byte."""
    if data[0] not in _TOKEN_START:
        raise _malformed("this is not HTTP/1.1")
    if has_bare_line_end(data, start):
        raise _malformed("a line of the head does not end in CRLF")
    if len(data) > limits.head:
        raise _oversized(data, limits)


def check_unfinished_response(data: bytearray, start: int, limit: int) -> None:
    """Raise BadResponse early for what cannot become a head of at most `limit` bytes. `start`: first new byte."""
    if len(data) > limit or not b"HTTP/1.".startswith(data[:7]):
        raise BadResponse("not a response head")
    if has_bare_line_end(data, start):
        raise BadResponse("a line of the head does not end in CRLF")


def has_bare_line_end(data: bytes | bytearray, start: int) -> bool:
    """Tell whether an unfinished head has a line that ends in CR or LF alone. `start`: first new byte."""
    ends = data.count(b"\r\n", max(0, start - 1))
    returns = data.count(b"\r", max(0, start - 1)) - data.endswith(b"\r")
    return data.count(b"\n", start) != ends or returns != ends


def _oversized(data: bytes | bytearray, limits: HeadLimits) -> Refusal:
    if len(data.split(b"\r\n", 1)[0]) > limits.target:
        return Refusal(414, "target_too_long", "the request line is too long")
    return Refusal(431, "head_too_large", f"a request head may have at most {limits.head} bytes")


class RequestHeadReader:
    """Parse the request heads of one connection."""

    __slots__ = ("_block", "_limits", "_minor", "_parsed")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self.forget()

    def forget(self) -> None:
        """Discard the cached fields of the last head, which may hold credentials."""
        self._block, self._minor, self._parsed = b"", 0, _NO_FIELDS

    def read(self, raw: bytes) -> RequestHead:
        """Return the head in `raw`, which ends in an empty line. Raise Refusal for an invalid or unsupported head."""
        try:
            if len(raw) > self._limits.head:
                raise _oversized(raw, self._limits)
            line, _, block = raw.partition(b"\r\n")
            method, target, minor = _request_line(line, self._limits)
            if block != self._block or minor != self._minor:
                self._parsed = _parsed(block[:-2], minor, self._limits)
                self._block, self._minor = block, minor
            if target.startswith(b"/") or (target == b"*" and method == "OPTIONS"):
                return RequestHead(method, target, minor, self._parsed)
            origin, authority = _origin_form(target, method)
            fields = self._parsed.fields.with_line(
                b"Host", authority
            )  # RFC 9112 section 3.2.2: the absolute form replaces Host
            return RequestHead(method, origin, minor, self._parsed, fields, authority)
        except Refusal as refusal:
            refusal.to_head = raw.startswith(b"HEAD ")
            raise


_NO_FIELDS = ParsedFields(NO_FIELDS, b"", Framing.NONE, 0, keep_alive=False, upgrade=b"")  # every head has a final CRLF


def _request_line(line: bytes, limits: HeadLimits) -> tuple[str, bytes, int]:
    try:
        spelt, target, version = line.split(b" ")
        minor = _VERSIONS[version]
    except (ValueError, KeyError):
        raise _refused_line(line) from None
    method = _METHODS.get(spelt) or _other_method(spelt)
    if len(target) > limits.target:
        raise Refusal(414, "target_too_long", f"the request target is longer than {limits.target} bytes")
    if _TARGET.fullmatch(target) is None:
        raise _malformed("the request target has a fragment, or bytes that no target may have")
    if method == "CONNECT":
        raise Refusal(501, "method", "CONNECT is not supported: this is not a tunnelling proxy")
    return method, target, minor


def _other_method(spelt: bytes) -> str:
    """Return a method that is not in the table (RFC 9110 section 9.1: extension methods are forwarded)."""
    if not spelt or spelt.translate(None, _TOKEN):
        raise _malformed("the method is not a token")
    if len(spelt) > _METHOD_LIMIT:  # RFC 9112 section 3
        raise Refusal(501, "method", f"a method may have at most {_METHOD_LIMIT} bytes")
    method = spelt.decode("ascii")
    return "CONNECT" if method.upper() == "CONNECT" else method  # a backend may ignore the case


def _refused_line(line: bytes) -> Refusal:
    """Return the fault of a request line: its form or its version (RFC 9112 section 2.3)."""
    words = line.split(b" ")
    if len(words) != 3 or not all(words) or _VERSION.fullmatch(words[2]) is None:
        return _malformed("the request line is not a method, a target and a version, with one space between them")
    return Refusal(505, "version", "only HTTP/1.1 and HTTP/1.0 are supported")


def _parsed(block: bytes, minor: int, limits: HeadLimits) -> ParsedFields:
    try:
        fields = read_lines(block, limits.fields)
    except TooManyFieldLines:
        raise Refusal(431, "too_many_fields", f"a request may have at most {limits.fields} fields") from None
    except MalformedFieldLines as bad:
        raise _malformed(str(bad) or "the request head is malformed") from None
    if limits.underscores != "pass":
        fields = _without_underscores(fields, limits.underscores)
    host = _host(minor, fields)
    framing, length = _request_framing(minor, fields, block)
    if framing is Framing.LENGTH:
        fields = without_zeros(fields)
    if b"expect" in fields:
        fields = _expecting(minor, fields)
    connection = listed(fields)
    keep_alive = b"close" not in connection and (minor > 0 or b"keep-alive" in connection)
    upgrade = b""
    if b"upgrade" in fields:
        if minor and framing is not Framing.CHUNKED and not length and b"upgrade" in connection:
            upgrade = _upgrade(fields)
        if not upgrade:
            fields = fields.without(UPGRADE_OFFER)
    return ParsedFields(fields, host, framing, length, keep_alive=keep_alive, upgrade=upgrade)


def _expecting(minor: int, fields: Fields) -> Fields:
    """Refuse an expectation other than 100-continue (RFC 9110 section 10.1.1); HTTP/1.0 has no Expect."""
    if not minor:
        return fields.without((b"expect",))
    if any(expectation != b"100-continue" for expectation in fields.tokens(b"expect")):
        raise Refusal(417, "expectation", "100-continue is the only supported expectation")
    return fields


def _without_underscores(fields: Fields, action: str) -> Fields:
    """Drop or refuse fields with "_" in the name: CGI and WSGI read X_A as X-A (RFC 3875 section 4.1.18)."""
    names = [name for name in fields if name.find(b"_") >= 0]
    if names and action == "refuse":
        raise Refusal(400, "underscore", "a field name has an underscore, which listen.underscores refuses")
    return fields.without(names)


def _upgrade(fields: Fields) -> bytes:
    """Return the requested protocols except h2c, which Java clients request by default."""
    protocols = [value.strip() for line in fields.all(b"upgrade") for value in line.split(b",")]
    return b", ".join(protocol for protocol in protocols if protocol and protocol.lower() != b"h2c")


def _host(minor: int, fields: Fields) -> bytes:
    host = fields.get(b"host")
    if (host is None and minor) or fields.repeats(b"host"):
        raise Refusal(400, "host", "a request needs exactly one Host field")
    if host is not None and not names_host(host):
        raise Refusal(400, "host", "the Host field is not a host name")
    return host or b""


def _origin_form(target: bytes, method: str) -> tuple[bytes, bytes]:
    """Return path and authority of an absolute-form target (RFC 9112 sections 3.2 and 3.3).

    OPTIONS without path and query is about the whole server (RFC 9112 section 3.2.4).
    """
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise _malformed("the request target is neither a path nor an absolute URL")
    named, slash, path = rest.partition(b"/")
    named, mark, query = named.partition(b"?") if not slash else (named, b"", b"")
    if not names_host(named):
        raise Refusal(400, "host", "the request target's authority is not a host name")
    if method == "OPTIONS" and not slash and not mark:
        return b"*", named
    return b"/" + path + mark + query, named


def _request_framing(minor: int, fields: Fields, block: bytes) -> tuple[Framing, int]:
    chunked, lengths = b"transfer-encoding" in fields, fields.all(b"content-length")
    if chunked:
        if not minor:
            raise _malformed("HTTP/1.0 has no Transfer-Encoding")
        if not _plainly_chunked(fields, block):
            raise _refused_coding(fields.tokens(b"transfer-encoding"))
        if lengths:
            raise _malformed("both Content-Length and Transfer-Encoding")
        return Framing.CHUNKED, 0
    return (Framing.LENGTH, body_length(lengths)) if lengths else (Framing.NONE, 0)


def _refused_coding(codings: list[bytes]) -> Refusal:
    """Return the refusal for a request's transfer codings (RFC 9112 sections 6.1 and 6.3)."""
    if b"chunked" in codings and codings[-1] != b"chunked":
        return _malformed("a transfer coding follows chunked: the end of the body is unknown")
    return Refusal(501, "transfer_encoding", "chunked is the only supported transfer coding")


def _plainly_chunked(fields: Fields, block: bytes) -> bool:
    """Tell whether "chunked" is the only coding and has no tab beside it, on which parsers differ."""
    return not fields.repeats(b"transfer-encoding") and _CHUNKED_LINE.search(block) is not None


class ResponseHeadReader:
    """Parse the response heads of one connection."""

    __slots__ = ("_head", "_method", "_raw")

    def __init__(self) -> None:
        self._raw, self._method = b"", ""
        self._head: ResponseHead | None = None

    def read(self, raw: bytes, method: str) -> ResponseHead:
        """Return the head in `raw`, the response to a `method` request. Raise BadResponse for an invalid head."""
        if self._head is None or raw != self._raw or method != self._method:
            self._head = _response_head(raw, method)
            self._raw, self._method = raw, method
        return self._head


def _response_head(raw: bytes, method: str) -> ResponseHead:
    start, _, block = raw.partition(b"\r\n")
    line = _STATUS_LINE.fullmatch(start)
    if line is None:
        raise BadResponse("the status line is malformed")
    try:
        fields = read_lines(block[:-2], _MOST_RESPONSE_FIELDS)
    except TooManyFieldLines:
        raise BadResponse(f"it has more than {_MOST_RESPONSE_FIELDS} fields") from None
    except MalformedFieldLines as bad:
        raise BadResponse(str(bad) or "the response head is malformed") from None
    minor, status = line[1] != b"0", int(line[2])  # 1.2 is read as 1.1 (RFC 9110 section 2.5)
    if b"content-length" in fields:
        fields = made_one(fields)
    framing, length = _response_framing(status, method, fields, block)
    if not minor and b"transfer-encoding" in fields:
        raise BadResponse("HTTP/1.0 has no Transfer-Encoding")
    connection = listed(fields)
    keep_alive = b"close" not in connection and (minor > 0 or b"keep-alive" in connection)
    if framing is Framing.CLOSE or (framing is Framing.NONE and announced(fields)):
        keep_alive = False  # the announced body may still arrive
    dropped = NOT_FROM_UPSTREAM_BODILESS if status < 200 or status == 204 else NOT_FROM_UPSTREAM
    crossing = fields.without(hop_only(fields, dropped))
    events = fields.get(b"content-type", b"")[:17].lower() == b"text/event-stream"
    bounded = framing is Framing.NONE or (framing is Framing.LENGTH and length <= WHOLE_LIMIT and not events)
    return ResponseHead(
        status, line[3] or b"", fields, crossing, framing, length,
        keep_alive=keep_alive, bounded=bounded, events=events,
    )  # fmt: skip


def _response_framing(status: int, method: str, fields: Fields, block: bytes) -> tuple[Framing, int]:
    """Return framing and length (RFC 9112 section 6.3). Content-Length must be valid even without a body."""
    chunked, lengths = b"transfer-encoding" in fields, fields.all(b"content-length")
    if chunked:
        if not _plainly_chunked(fields, block):
            raise BadResponse("an unknown transfer coding")
        if lengths:
            raise BadResponse("both Content-Length and Transfer-Encoding")
    try:
        length = body_length(lengths) if lengths else 0
    except Refusal as refusal:
        raise BadResponse(refusal.detail) from None
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Framing.NONE, 0
    if lengths:
        return Framing.LENGTH, length
    return (Framing.CHUNKED if chunked else Framing.CLOSE), 0


def encode_head(start: bytes, fields: bytes, more: Lines, own: bytes = b"") -> bytes:
    """Return a head in wire format: `start` has no line end, `fields` and `own` are encoded lines."""
    parts = [start, b"\r\n", fields]
    for name, value in more:
        parts += (name, b": ", value, b"\r\n")
    parts += (own, b"\r\n")
    return b"".join(parts)
