"""Path templates, and the sidecar's own requests."""

import pytest

from proxy.config.objections import Objection
from proxy.config.templates import parse_request, parse_template


def test_a_template_is_a_method_and_a_path_with_names() -> None:
    """Names are found in order, and the shape leaves them out."""
    template = parse_template("GET /a/{x}/b/{y}")
    assert template == ("GET", "/a/{x}/b/{y}")
    assert template.names == ("x", "y")
    assert template.shape == parse_template("GET /a/{other}/b/{names}").shape


@pytest.mark.parametrize(
    ("text", "message", "cure"),
    [
        ("/a", '"/a" is not a method and a path', '"GET /api/sessions/{report_id}"'),
        ("get /a", '"get" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS', '"GET /a"'),
        ("PSOT /a", '"PSOT" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS', '"POST /a"'),
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
