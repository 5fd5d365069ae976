"""Targets and subjects: the route and the subject of any bytes, and the results that depend on them."""

from collections.abc import Hashable
from random import Random
from urllib.parse import unquote_to_bytes

import httptools
import orjson

from proxy.config.objections import Objection
from proxy.config.templates import parse_request, parse_template
from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.http.problems import Refusal
from proxy.http1.head import RequestHeadReader
from proxy.policy.idempotency import mint
from proxy.policy.recovery_plan import fill_path, filled
from proxy.policy.routing import Match, Router, SubjectRule, subject_of
from tests.fuzz.target import Target
from tests.settings import a_route, head_limits
from tests.unit.policy.samples import WALL

PEER = Peer("192.0.2.1", 50_000)
ROUTES = tuple(
    a_route(f"r{number}", "GET", template, "u", "c")
    for number, template in enumerate(("/", "/a", "/a/{x}", "/a/{x}/b", "/{y}/b", "/a/{x}/{y}", "/{x}/{y}/{z}/d"))
)
ROUTER = Router(ROUTES, a_route("rest", "*", "*", "u", "c"))
SOURCES = (
    SubjectRule("path", "x"), SubjectRule("query", "id"), SubjectRule("header", "X-Id"),
    SubjectRule("body", "/a/0/b~1c"), SubjectRule("body", ""), SubjectRule("body", "/id"),
)  # fmt: skip
TEMPLATES = ("/t/{subject}", "/t/{x}/u?q={subject}", "/{subject}/{x}/")
WORDS = (
    b"/", b"//", b"/a/", b"/b", b"..", b"%2f", b"%2e%2e", b"%00", b"%", b"%zz", b"%ff", b"?", b"#", b"*", b"http://",
    b"https://a", b"[::1]", b":80", b"@", b"\\", b";", b"=", b"&", b"id=", b"{", b"}", b"{x}", b'"', b'{"id":"', b'":"',
    b"[", b"]", b"null", b"true", b"1e999", b"\\ud800", b"\xed\xa0\x80", b"\xc3\xa9", b"a~1b", b"GET /", b" ", b"\n",
)  # fmt: skip


def check_target(data: bytes) -> Hashable:
    """Check a request target: what is routed, whom it names, and that it goes on as it came."""
    method = "OPTIONS" if data.startswith(b"*") else "GET"
    try:
        head = RequestHeadReader(head_limits()).read(method.encode() + b" " + data + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    except Refusal as refusal:
        return refusal.status, refusal.metric
    if data.startswith((b"/", b"*")):
        assert (head.target, head.authority) == (data, b"a")
    else:
        absolute(data, head.target, head.authority)
    request = Request(method, head.target, head.fields, PEER)
    match = ROUTER.match(request)
    segments = request.path.split(b"/")[1:]
    for name, value in match.names.items():
        raw = value.encode("utf-8", "surrogateescape")
        assert raw in [unquote_to_bytes(segment) for segment in segments], (name, value)
    if match.names:
        assert len(match.route.template.split("/")[1:]) == len(segments)
    return match.route.operation, len(match.names), data[:1]


def absolute(data: bytes, target: bytes, authority: bytes) -> None:
    """Check an absolute target against llhttp's reading of it."""
    assert authority in data
    assert target[:1] in (b"/", b"*")
    try:
        url = httptools.parse_url(data)
    except httptools.HttpParserInvalidURLError:
        return
    host = (
        url.host if url.port is None or not authority.endswith(b":%d" % url.port) else b"%b:%d" % (url.host, url.port)
    )
    assert authority.replace(b"[", b"").replace(b"]", b"").startswith(host.split(b":")[0]), (authority, host)
    assert url.path in (None, target.partition(b"?")[0]), (target, url.path)
    assert not url.userinfo, data


def check_subject(data: bytes) -> Hashable:
    """Check a subject: the first byte says where it stands, the first line is a target, the rest is a body."""
    rule = SOURCES[data[0] % len(SOURCES)] if data else SOURCES[0]
    line, _, body = data[1:].partition(b"\n")
    target = b"/" + bytes(byte for byte in line if 32 < byte < 127)
    fields = Fields(((b"X-Id", bytes(byte for byte in line if byte >= 32 and byte != 127)),))
    request = Request("POST", target, fields, PEER, body)
    route = a_route("r", "POST", "/a/{x}", "u", "c", subject=rule)
    name = unquote_to_bytes(target[1:]).decode("utf-8", "surrogateescape") or "none"
    subject = subject_of(Match(route, {"x": name}), request)
    assert (subject.value is None) == (subject.missing is not None)
    names_one_place(subject.value, {"x": name})
    key = mint(subject.value, "r", WALL, Random(1), quoted=bool(len(data) % 2))
    assert key.value.isascii()
    assert all(32 < byte < 127 for byte in key.value)
    return rule.source, subject.missing, subject.value is None or subject.value.isascii()


def names_one_place(subject: str | None, names: dict[str, str]) -> None:
    """Check that a value fills one segment of a path and no more, and makes no broken document."""
    for template in TEMPLATES:
        path = fill_path(template, names, subject)
        if path is not None:
            assert path.count(b"/") == template.count("/"), path
            assert path.count(b"?") == template.count("?"), path
            assert all(32 < byte < 127 for byte in path), path
            assert not {b".", b".."} & set(path.partition(b"?")[0].split(b"/")), path
    orjson.dumps(filled({"a": ["{subject}", {"b": "{x}{none}"}]}, names, subject))


def check_template(data: bytes) -> Hashable:
    """Check a template of the configuration: it is read, or refused with a cure."""
    text = data.decode("utf-8", "replace")
    outcomes = []
    for read in (parse_template, parse_request):
        try:
            outcomes.append(len(read(text).names))
        except Objection as objection:
            assert objection.message
            assert objection.cure
            outcomes.append(-1)
    if outcomes[0] >= 0:
        template = parse_template(text)
        assert len(set(template.names)) == len(template.names)
        router = Router((a_route("r", template.method, template.path, "u", "c"),), a_route("rest", "*", "*", "u", "c"))
        path = template.path
        for name in template.names:
            path = path.replace(f"{{{name}}}", "v")
        assert router.match(Request(template.method, path.encode(), Fields(()), PEER)).route.operation == "r"
    return tuple(outcomes)


TARGETS = (
    Target("targets", check_target, WORDS),
    Target("subjects", check_subject, WORDS),
    Target("templates", check_template, WORDS),
)
