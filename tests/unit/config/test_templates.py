"""Path templates, and the sidecar's own requests."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.objections import Objection
from proxy.config.templates import parse_request, parse_template


def test_a_template_is_a_method_and_a_path_with_names() -> None:
    """Names are found in order, and the shape leaves them out."""
    template = parse_template("GET /a/{x}/b/{y}")
    assert template == ("GET", "/a/{x}/b/{y}")
    assert template.names == ("x", "y")
    assert template.shapes == parse_template("GET /a/{other}/b/{names}").shapes


def test_a_rest_is_a_name_that_comes_last() -> None:
    """`{rest...}` stands for every further segment, `{name}` for one."""
    template = parse_template("GET /a/{x}/{rest...}")
    assert (template.names, template.rest) == (("x", "rest"), "rest")
    assert template.shapes != parse_template("GET /a/{x}/{rest}").shapes


@pytest.mark.parametrize("text", ["GET, POST /a", "GET,POST /a", "GET , POST, GET /a"])
def test_a_route_may_name_several_methods(text: str) -> None:
    """They are a list with commas, in the written order."""
    template = parse_template(text)
    assert template == ("GET, POST", "/a")
    assert template.shapes == ("GET /a", "POST /a")
    assert parse_template("ANY /a").methods == ("ANY",)


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("GET /a/*", '"GET /a/{rest...}"'),
        ("GET /a/**", '"GET /a/{rest...}"'),
        ("GET /a*", '"GET /{rest...}"'),
        ("GET /a/*path", '"GET /a/{path...}"'),
        ("GET /*/b", '"GET /{name}/b"'),
        ("GET /*/*", '"GET /{name}/{rest...}"'),
        ("GET /a/:id", '"GET /a/{id}"'),
        ("GET /a/:id?", '"GET /a/{id}"'),
        ("GET /a/:id*", '"GET /a/{id...}"'),
        ("GET /:id/{id}", '"GET /{id1}/{id}"'),
        ("GET /:id/:id/:id", '"GET /{id}/{id2}/{id3}"'),
        ("GET /:id/*/x/*", '"GET /{id}/{name}/x/{rest...}"'),
        ("GET /a/<id>", '"GET /a/{id}"'),
        ("GET /a/<int:id>", '"GET /a/{id}"'),
        ("GET /a/<path:p>", '"GET /a/{p...}"'),
        ("GET /a/{id:int}", '"GET /a/{id}"'),
        ("GET /a/{p:path}", '"GET /a/{p...}"'),
        ("GET /a/{*p}", '"GET /a/{p...}"'),
        ("GET /a/{p+}", '"GET /a/{p...}"'),
        ("GET, POST /a/:id", '"GET, POST /a/{id}"'),
        (r"GET /a/:id(\d+)", '"GET /a/{id}"'),
        (r"GET /a/:id(\d+)?/b", '"GET /a/{id}/b"'),
        ("GET /a/:from-:to", '"GET /a/{from_to}"'),
        ("GET /a/:file.:ext", '"GET /a/{file_ext}"'),
        ("GET /a/[id]", '"GET /a/{id}"'),
        ("GET /a/[id].json", '"GET /a/{id}"'),
        ("GET /a/[...rest]", '"GET /a/{rest...}"'),
        ("GET /a/[[...slug]]", '"GET /a/{slug...}"'),
        ("GET /a/$id", '"GET /a/{id}"'),
        ("GET /a/$userId/b", '"GET /a/{userId}/b"'),
        (r"GET /a/(?P<id>[0-9]+)/b", '"GET /a/{id}/b"'),
        (r"GET /a/(?<id>(x|y))$", '"GET /a/{id}"'),
    ],
)
def test_what_other_routers_write_is_refused_with_what_is_written_here(text: str, cure: str) -> None:
    """As a literal segment it would match no request, without an error."""
    with pytest.raises(Objection) as refused:
        parse_template(text)
    assert refused.value.cure == cure
    parse_template(cure.strip('"'))


@pytest.mark.parametrize(
    "text", ["POST /a/x:batchGet", "GET /a/b<c", "GET /~user", "GET /$metadata", "GET /p/$everything", "GET /a(b)"]
)
def test_a_literal_segment_may_have_such_characters_elsewhere(text: str) -> None:
    """A custom verb after a colon is a literal, as before."""
    assert parse_template(text).names == ()


@pytest.mark.parametrize(
    ("text", "message", "cure"),
    [
        ("/a", '"/a" is not a method and a path', '"GET /a"'),
        ("a/b", '"a/b" is not a method and a path', '"GET /a/b"'),
        ("GET/a", '"GET/a" is not a method and a path', '"GET /a"'),
        ("/a put", '"/a put" is not a method and a path', '"PUT /a"'),
        (" GET\t/a", '" GET\t/a" is not a method and a path', '"GET /a"'),
        ("GET", '"GET" is not a method and a path', '"GET /api/sessions/{report_id}"'),
        ("", '"" is not a method and a path', '"GET /api/sessions/{report_id}"'),
        ("GET  /a/:id", '"GET  /a/:id" has spaces besides that between method and path', '"GET /a/{id}"'),
        ("GET /a ", '"GET /a " has spaces besides that between method and path', '"GET /a"'),
        ("GET http://h:1/a", '"http://h:1/a" does not begin with a slash', '"GET /a"'),
        ("GET http://[/a", '"http://[/a" does not begin with a slash', '"GET /"'),
        ("GET ^/a$", '"^/a$" does not begin with a slash', '"GET /a"'),
        ("get /a", '"get" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"GET /a"'),
        ("PSOT /a", '"PSOT" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"POST /a"'),
        ("* /a", '"*" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"ANY /a"'),
        ("GET,post /a", '"post" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"GET, POST /a"'),
        ("GET|POST /a", '"GET|POST" is not a list of methods', '"GET, POST /a"'),
        ("GET POST /a", '"GET POST /a" has no comma between its methods', '"GET, POST /a"'),
        ("GET /{x...}/a", "{x...} is the rest of a path, so it must be the last segment", '"GET /{x}/a"'),
        ("GET /a{x...}", "{x...} is the rest of a path, so it must be the last segment", '"GET /{x...}"'),
        ("GET /{x}/{x...}", '"/{x}/{x...}" names {x} twice', '"GET /{other_x}/{x...}"'),
        ("GET a", '"a" does not begin with a slash', '"GET /a"'),
        ("GET /{x}/{x}", '"/{x}/{x}" names {x} twice', '"GET /{other_x}/{x}"'),
        ("GET /{x", '"/{x" has a brace that is not a name in braces', '"GET /{x}"'),
        ("GET /x}", '"/x}" has a brace that is not a name in braces', '"GET /{x}"'),
        ("GET /{}", '"/{}" has a brace that is not a name in braces', '"GET /{name}"'),
        ("GET /{a-b}", '"/{a-b}" has a brace that is not a name in braces', '"GET /{a_b}"'),
        (
            "GET /v{x}",
            '"v{x}" is more than a name in braces, which fills a whole segment',
            '"GET /{x}"',
        ),
        (
            "GET /{rest}...",
            '"{rest}..." is more than a name in braces, which fills a whole segment',
            '"GET /{rest...}"',
        ),
        (
            "GET /{id}.json",
            '"{id}.json" is more than a name in braces, which fills a whole segment',
            '"GET /{id}"',
        ),
        (r"GET /{id:\d{4}}", r'"/{id:\d{4}}" has a brace that is not a name in braces', '"GET /{id_4}"'),
        ("GET /{9}/{...}", '"/{9}/{...}" has a brace that is not a name in braces', '"GET /{_9}/{name...}"'),
        ("GET /a?b=1", '"/a?b=1" has a query, but only paths are matched', '"GET /a"'),
        ("GET /a b", '"/a b" is not a plain path', '"GET /a%20b"'),
        ("GET /é", '"/é" is not a plain path', '"GET /%C3%A9"'),
    ],
)
def test_a_wrong_template_is_refused_with_a_cure(text: str, message: str, cure: str) -> None:
    """Each way to write a template wrong has its own sentence and its own cure."""
    with pytest.raises(Objection) as refused:
        parse_template(text)
    assert (refused.value.message, refused.value.cure) == (message, cure)
    parse_template(json.loads(cure))


@given(st.one_of(st.text(), st.text(alphabet='GET ,|/{}:*.<>[]$?#^()ab1é\t"\\').map(lambda path: f"GET {path}")))
def test_every_cure_is_accepted(text: str) -> None:
    """Whoever follows one is not refused again: neither for a route nor for a request."""
    for parse in (parse_template, parse_request):
        try:
            parse(text)
        except Objection as refused:
            parse(json.loads(refused.cure))


def test_a_request_of_the_sidecars_own_may_have_names_anywhere() -> None:
    """What is asked, other than what is matched, can have a query and a name within a segment."""
    assert parse_request("GET /sessions.v1?report={subject}&again={subject}").names == ("subject", "subject")


@pytest.mark.parametrize(
    ("text", "cure"),
    [("ANY /a", '"GET /a"'), ("GET, POST /a", '"GET /a"'), ("GET /a/{x...}", '"GET /a/{x}"')],
)
def test_a_request_of_the_sidecars_own_is_one_request(text: str, cure: str) -> None:
    """It has one method, and each name stands for one segment."""
    with pytest.raises(Objection) as refused:
        parse_request(text)
    assert refused.value.cure == cure
