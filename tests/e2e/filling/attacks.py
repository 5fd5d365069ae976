"""The attacks of one caller that fill memory or hold the loop, each with its rate."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from tests.e2e.raw import request

BIG = 60_000  # bytes of what is sent in one head or body
PATH = 15_000  # bytes of a long path
SECRET = "0a1b2c3d4e5f6071"  # begins a cookie that names somebody
SESSION = "GET /api/sessions/{} HTTP/1.1\r\nHost: app.example\r\n{}\r\n"


class RequestAttack(NamedTuple):
    """Requests, each answered before the next is sent on its connection, `rate` a second in all.

    `answer` names what as much harmless traffic is answered with.
    """

    rate: float
    made: Callable[[int], bytes]
    addresses: int = 1  # that they come from
    answer: str = "small"


class Held(NamedTuple):
    """Connections that say this, in pieces of so many bytes, and then hold on without reading; `rate` a second."""

    rate: float
    most: int
    made: Callable[[int], bytes]
    piece: int = 1 << 20
    answer: str = "small"


Attack = RequestAttack | Held


def get(path: str, **headers: str) -> bytes:
    """Return a request without a body."""
    return request("GET", path, None, **headers)


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Return a request with a body."""
    return request("POST", path, body, **headers)


def other_caller(n: int) -> str:
    """Return a cookie that names one caller of many."""
    return f"sid={SECRET}{n:08x}"


def harmless(attack: Attack) -> RequestAttack:
    """Return as many requests as an attack sends, of as many bytes and answered with as many, that fill nothing."""
    body = b"x" * max(0, len(attack.made(0)) - 150)
    return RequestAttack(attack.rate, lambda n: post(f"/{attack.answer}/plain", body, Cookie=f"sid={SECRET}9"))


def creation(n: int) -> bytes:
    """Return a request whose subject is long."""
    return post("/api/sessions", b'{"reportId":"%d%b"}' % (n, b"s" * BIG), Cookie=other_caller(n))


def preflight(n: int) -> bytes:
    """Return a preflight that nobody sent before, of the greatest length."""
    asks = {"Access_Control_Request_Method": "GET", "Access_Control_Request_Headers": "h" * (BIG - PATH)}
    return request("OPTIONS", f"/{n}{'p' * PATH}", None, Origin=f"http://{n}", **asks)


def many_names(n: int) -> bytes:
    """Return a request with as many fields as there may be, of names that nobody had before."""
    lines = b"".join(b"X-%d-%d: 1\r\n" % (n, line) for line in range(120))
    return b"GET /api/sessions/1 HTTP/1.1\r\nHost: app.example\r\n%b\r\n" % lines


def pipelined(n: int) -> bytes:
    """Return many heads of many short fields; each answer takes its time."""
    lines = b"".join(b"%x:%x\r\n" % (line, line + n) for line in range(100))
    return b"".join(
        b"GET /slow/%x HTTP/1.1\r\nHost: x\r\nA: %x\r\n%b\r\n" % (ahead, ahead, lines) for ahead in range(64)
    )


ATTACKS: Mapping[str, Attack] = {
    "many callers": RequestAttack(60, lambda n: get(f"/large/{n}", Cookie=other_caller(n)), 16, "large"),
    "large kept answers": RequestAttack(60, lambda n: get(f"/large/{n}", Cookie=other_caller(0)), answer="large"),
    "long cookies": RequestAttack(60, lambda n: get(f"/api/sessions/{n}", Cookie=f"sid={n:x}{'c' * BIG}")),
    "many cookies": RequestAttack(40, lambda n: post("/x", b"", Cookie=";".join(f"{n:x}{i:x}=1" for i in range(6000)))),
    "long field names": RequestAttack(60, lambda n: get("/api/sessions/1", **{f"X{n}{'a' * BIG}": "1"})),
    "new field names": RequestAttack(60, many_names),
    "subjects": RequestAttack(60, creation),
    "restorations": RequestAttack(100, lambda n: get(f"/api/sessions/{n}{'r' * 240}", Cookie=other_caller(n))),
    "origins": RequestAttack(60, lambda n: get("/x", Origin=f"http://{n}{'o' * BIG}")),
    "preflights": RequestAttack(60, preflight),
    "keys": RequestAttack(
        60, lambda n: post("/order", b'{"id":%d}' % n, Cookie=other_caller(n), Idempotency_Key=f"k{n}"), answer="large"
    ),
    "long paths": RequestAttack(100, lambda n: get(f"/x/{n}{'/p' * (PATH // 2)}", X_Correlation_ID=f"{n:0128}")),
    "chunks of a byte": RequestAttack(
        40, lambda n: request("POST", "/x", b"1\r\na\r\n" * 9000 + b"0\r\n\r\n", Transfer_Encoding="chunked")
    ),
    "unfinished heads": Held(200, 1500, lambda n: get(f"/{n}", X_Long="h" * BIG)[:-2]),
    "unfinished uploads": Held(200, 1500, lambda n: post("/x", b"u" * BIG)[:-1]),
    "uploads in small pieces": Held(8, 300, lambda n: post("/x", b"u" * 30_000)[:-1], piece=40),
    "heads read ahead": Held(100, 1000, pipelined),
    "slow answers": Held(100, 1000, lambda n: post(f"/slow/{n}", b"b" * BIG, X_Long="h" * (BIG // 2))),
    "slow readers": Held(10, 500, lambda n: get(f"/huge/{n}"), answer="huge"),
    "readers of one stream": Held(20, 60, lambda n: get("/events/1")),
    "many connections": Held(400, 6000, lambda n: b""),
}
