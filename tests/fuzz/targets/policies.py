"""Policies that parse field values: any value is accepted or refused, and the result is valid."""

import math
import re
from collections.abc import Hashable
from ipaddress import ip_network
from random import Random

from proxy.errors import MalformedFieldLines, TooManyFieldLines
from proxy.http.fields import Fields
from proxy.http.message import (
    Framing,
    Peer,
    Request,
    Response,
)
from proxy.http.problems import Refusal
from proxy.http1.field_lines import read_lines
from proxy.policy import idempotency, response_cache, trace_context
from proxy.policy.coalescing import never_shared, shareable
from proxy.policy.correlation import correlate
from proxy.policy.cors import CorsMemory
from proxy.policy.deadline import callers_budget
from proxy.policy.recovery_plan import Result
from proxy.policy.request_key import Identifier
from proxy.policy.retry import retry_after
from proxy.policy.routing import Idempotency
from proxy.server.trusted_proxies import TrustedProxies
from proxy.upstream.forwarding import Forwarding
from tests.fuzz.target import Target
from tests.settings import OWN_FIELDS, a_route, redaction
from tests.unit.policy.samples import WALL

PEER = Peer("10.0.0.1", 50_000)
PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
ROUTE = a_route(
    "r", "POST", "/", "u", "c", idempotency=Idempotency.INJECT, reuse_s=10.0, principal=("authorization", "cookie:sid")
)  # fmt: skip
PLAIN = a_route("r", "POST", "/", "u", "c")
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WORDS = (
    b"\r\n", b": ", b", ", b";", b"=", b'"', b"\\", b"-", b"0", b"00", b" ", b"\t", b"\xff", b"*", b"[", b"]", b":",
    b"traceparent: " + TRACE + b"\r\n", b"tracestate: a=1,b=2\r\n", b"X-Correlation-ID: a\r\n",
    b"Idempotency-Key: k\r\n", b'Idempotency-Key: "a b"\r\n', b"X-Forwarded-For: 192.0.2.1, 10.0.0.9\r\n",
    b"X-Forwarded-For: [fd00::1]:80\r\n", b"Forwarded: for=192.0.2.1\r\n", b"Connection: X-A, Cookie\r\n",
    b"X-Request-Deadline-Ms: 200\r\n", b"Retry-After: 5\r\n", b"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994", b"99999", b"-0001", b"Age: 5\r\n", b"Vary: *\r\n",
    b"Cookie: sid=1; a=b\r\n", b"Authorization: Bearer x\r\n", b"Origin: https://a\r\n", b"Cache-Control: no-cache\r\n",
    b"Access-Control-Allow-Origin: *\r\n", b"Set-Cookie: a=b\r\n", b"Accept: text/event-stream\r\n",
    b"Range: bytes=0-\r\n",
)  # fmt: skip


def check(data: bytes) -> Hashable:
    """Check what every policy makes of these field lines."""
    block = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
    try:
        fields = read_lines(block, 100)
    except (MalformedFieldLines, TooManyFieldLines) as error:
        return type(error).__name__
    request = Request("POST", b"/x?a=b", fields, PEER, b"body")
    return traced(fields), keyed(request), client(request), timed(fields), whose(request), answered(request)


def traced(fields: Fields) -> Hashable:
    """Check ids: a rejected one is never told on."""
    correlation = correlate("r", fields.get(b"x-correlation-id"), WALL, Random(1))
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", correlation.id)
    vetted, parent = trace_context.vetted(fields)
    assert trace_context.vetted(vetted) == (vetted, parent)
    if parent is None:
        assert vetted.keys().isdisjoint({b"traceparent", b"tracestate"})
    return correlation.replaced, parent is None, b"tracestate" in vetted


def keyed(request: Request) -> Hashable:
    """Check the client's key: as it came, or refused."""
    try:
        key = idempotency.accepted(ROUTE, request)
    except Refusal as refusal:
        assert (refusal.status, refusal.closes) == (400, False)
        return refusal.metric
    assert key is None or (0 < len(key.value) <= 255 and key.value.isascii() and key.value.decode().isprintable())
    return key is None


def client(request: Request) -> Hashable:
    """Check who the client is, and what the backend is told of it."""
    fields, address, hops = PROXIES.look(request.peer, request.fields)
    assert len(address) <= 64
    for style in ("x-forwarded", "forwarded", "both"):
        for name, value in Forwarding(via=True, style=style).lines(request):
            assert not re.search(rb"[\r\n\0]", name + value)
    shown = redaction(salt=b"salt", clients="plain").client(address)
    assert shown is not None
    assert redaction(headers=(b"cookie",)).noted_headers(fields).keys() <= {"cookie"}
    return address == PEER.address, bool(hops), fields is request.fields


def timed(fields: Fields) -> Hashable:
    """Check times: each is a number of seconds that can be waited for, or nothing."""
    budget = callers_budget(fields.get(b"x-request-deadline-ms"))
    asked = retry_after(Response(503, b"", fields), WALL)
    for seconds in (budget, asked):
        assert seconds is None or (math.isfinite(seconds) and seconds >= 0)
    age = response_cache.CachedResponse(Response(200, b"", fields), WALL, 0).age_s(WALL + 1.0)
    assert age >= 1
    return budget is None, asked is None, age > 1


def whose(request: Request) -> Hashable:
    """Check identities: equal for equal requests, whatever their fields' order of reading."""
    again = Request(request.method, request.target, Fields(request.fields.lines), PEER, request.body)
    for route in (ROUTE, PLAIN):
        identifier = Identifier(route, OWN_FIELDS)
        assert identifier.identify(request, "s") == Identifier(route, OWN_FIELDS).identify(again, "s")
        assert list(identifier.owners(request)) == list(identifier.owners(again))
    return len(list(Identifier(PLAIN, OWN_FIELDS).owners(request))) > 1


def answered(request: Request) -> Hashable:
    """Check what is shared and kept of an answer with these fields."""
    answer = Response(200, b"", request.fields, b"body", Framing.LENGTH)
    cors = CorsMemory()
    cors.learn(request, answer, b"")
    cors.lines(request)
    asked = Request("GET", b"/", request.fields, PEER)
    return (
        never_shared(asked),
        shareable(Result(answer), in_person=b"cookie" not in asked.fields),
        response_cache.may_read(ROUTE, asked),
    )


TARGETS = (Target("policies", check, WORDS),)
