"""Other implementations of HTTP/1.1: llhttp (httptools) and h11 parse the first message in some bytes."""

from typing import Any, NamedTuple

import h11
import httptools

from proxy.http.fields import Lines

_MOST = 1 << 20  # bytes of a head that h11 reads


class Message(NamedTuple):
    """A message as a parser read it. `after` is what follows it; None where the parser does not tell."""

    start: tuple[bytes, ...]  # method and target, or the status
    lines: Lines  # names in lower case, values without white space around them
    body: bytes
    after: bytes | None = None


class Rejected(NamedTuple):
    """The parser refuses the bytes, or wants more of them."""

    why: str


Opinion = Message | Rejected


def lowered(lines: Any) -> Lines:
    """Return field lines as parsers may be compared by them: h11 tells a transfer coding in lower case."""
    stripped = ((bytes(name).lower(), bytes(value).strip(b" \t")) for name, value in lines)
    return tuple((name, value.lower() if name == b"transfer-encoding" else value) for name, value in stripped)


class _Sink:
    """What llhttp tells of the first message."""

    def __init__(self) -> None:
        self.parser: Any = None
        self.method, self.url, self.body, self.lines = b"", b"", b"", list[tuple[bytes, bytes]]()
        self.head = self.complete = 0

    def on_url(self, url: bytes) -> None:
        self.url += url if self.head == 0 else b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head:
            self.lines.append((name, value))

    def on_headers_complete(self) -> None:
        if not self.head and isinstance(self.parser, httptools.HttpRequestParser):
            self.method = self.parser.get_method()
        self.head += 1

    def on_body(self, body: bytes) -> None:
        self.body += body if self.complete == 0 else b""

    def on_message_complete(self) -> None:
        self.complete += 1


def llhttp_request(raw: bytes) -> Opinion:
    """Return the first request; of an upgrade only the head."""
    sink = _Sink()
    sink.parser = parser = httptools.HttpRequestParser(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        sink.complete = sink.complete or 1
    except httptools.HttpParserError as error:
        if not sink.complete:
            return Rejected(str(error))
    if not sink.complete:
        return Rejected("unfinished")
    return Message((sink.method, sink.url), lowered(sink.lines), sink.body)


def llhttp_answer(raw: bytes) -> Opinion:
    """Return the head of the first answer: llhttp is not told what was asked, so it cannot know of the body."""
    sink = _Sink()
    parser = httptools.HttpResponseParser(sink)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        if not sink.head:
            return Rejected(str(error))
    if not sink.head:
        return Rejected("unfinished")
    return Message((b"%d" % parser.get_status_code(),), lowered(sink.lines), b"")


def h11_request(raw: bytes) -> Opinion:
    """Return the first request."""
    return _h11(h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST), raw)


def h11_answer(raw: bytes, method: str, *, ended: bool = False) -> Opinion:
    """Return the first final answer to a `method` request; `ended` tells that nothing more comes."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    return _h11(connection, raw, ended=ended)


def _h11(connection: h11.Connection, raw: bytes, *, ended: bool = False) -> Opinion:
    start: tuple[bytes, ...] = ()
    lines: Lines = ()
    body = b""
    try:
        connection.receive_data(raw)
        if ended and raw:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                start, lines = (event.method, event.target), lowered(event.headers)
            elif isinstance(event, h11.Response):
                start, lines = (b"%d" % event.status_code,), lowered(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Message(start, lines, body, connection.trailing_data[0])
            elif not isinstance(event, h11.InformationalResponse):
                return Rejected("unfinished")
    except h11.RemoteProtocolError as error:
        return Rejected(str(error))
