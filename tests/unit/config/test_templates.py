"""Path templates, and the sidecar's own requests."""

import pytest

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
    ],
)
def test_what_other_routers_write_is_refused_with_what_is_written_here(text: str, cure: str) -> None:
    """As a literal segment it would match no request, without an error."""
    with pytest.raises(Objection) as refused:
        parse_template(text)
    assert refused.value.cure == cure
    parse_template(cure.strip('"'))


@pytest.mark.parametrize("text", ["POST /a/x:batchGet", "GET /a/b<c", "GET /~user", "GET /$metadata"])
def test_a_literal_segment_may_have_such_characters_elsewhere(text: str) -> None:
    """A custom verb after a colon is a literal, as before."""
    assert parse_template(text).names == ()


@pytest.mark.parametrize(
    ("text", "message", "cure"),
    [
        ("/a", '"/a" is not a method and a path', '"GET /api/sessions/{report_id}"'),
        ("get /a", '"get" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"GET /a"'),
        ("PSOT /a", '"PSOT" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"POST /a"'),
        ("* /a", '"*" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"ANY /a"'),
        ("GET,post /a", '"post" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, ANY', '"GET, POST /a"'),
        ("GET|POST /a", '"GET|POST" is not a list of methods', '"GET, POST /a"'),
        ("GET POST /a", '"GET POST /a" has no comma between its methods', '"GET, POST /a"'),
        ("GET /{x...}/a", "{x...} is the rest of a path, so it must be the last segment", '"GET /{x}/a"'),
        ("GET /a{x...}", "{x...} is the rest of a path, so it must be the last segment", '"GET /a{x}"'),
        ("GET /{x}/{x...}", '"/{x}/{x...}" names {x} twice', '"GET /{other_x}/{x...}"'),
        ("GET a", '"a" does not begin with a slash', '"GET /a"'),
        ("GET /{x}/{x}", '"/{x}/{x}" names {x} twice', '"GET /{other_x}/{x}"'),
        ("GET /{x", '"/{x" has a brace that is not a name in braces', '"GET /api/sessions/{report_id}"'),
        ("GET /x}", '"/x}" has a brace that is not a name in braces', '"GET /api/sessions/{report_id}"'),
        ("GET /{}", '"/{}" has a brace that is not a name in braces', '"GET /api/sessions/{report_id}"'),
        ("GET /{a-b}", '"/{a-b}" has a brace that is not a name in braces', '"GET /api/sessions/{report_id}"'),
        (
            "GET /v{x}",
            '"v{x}" is more than a name in braces, which fills a whole segment',
            '"GET /api/sessions/{report_id}"',
        ),
        ("GET /a?b=1", '"/a?b=1" has a query, but only paths are matched', '"GET /a"'),
        ("GET /a b", '"/a b" is not a plain path', "it with other characters percent-encoded"),
        ("GET /é", '"/é" is not a plain path', "it with other characters percent-encoded"),
    ],
)
def test_a_wrong_template_is_refused_with_a_cure(text: str, message: str, cure: str) -> None:
    """Each way to write a template wrong has its own sentence and its own cure."""
    with pytest.raises(Objection) as refused:
        parse_template(text)
    assert (refused.value.message, refused.value.cure) == (message, cure)


def test_a_request_of_the_sidecars_own_may_have_names_anywhere() -> None:
    """What is asked, other than what is matched, can have a query and a name within a segment."""
    assert parse_request("GET /sessions.v1?report={subject}&again={subject}").names == ("subject", "subject")


@pytest.mark.parametrize(
    ("text", "cure"),
    [("ANY /a", '"GET /a"'), ("GET, POST /a", '"GET /a"'), ("GET /a/{x...}", '"GET /api/sessions/{report_id}"')],
)
def test_a_request_of_the_sidecars_own_is_one_request(text: str, cure: str) -> None:
    """It has one method, and each name stands for one segment."""
    with pytest.raises(Objection) as refused:
        parse_request(text)
    assert refused.value.cure == cure
