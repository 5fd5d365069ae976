"""A wrong document is one error that names the place and the cure."""

import json
import sys
from typing import Any

import pytest

from proxy.errors import StartError
from proxy.init.documents import DocumentError, read_openapi
from proxy.init.operations import operations

OK: dict[str, Any] = {"openapi": "3.1.0", "paths": {"/a": {"get": {}}}}


def refused(document: object, file: str = "api.json") -> str:
    """Return the error for a document: text, or data that is written as JSON."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(DocumentError) as error:
        list(operations(read_openapi(text.encode(), file)))
    return str(error.value)


def with_get(**operation: Any) -> dict[str, Any]:
    """Return a document with one operation."""
    return {**OK, "paths": {"/a": {"get": operation}}}


def test_a_small_document_is_enough() -> None:
    """What the specification demands but no route needs may be absent."""
    assert [each.place for each in operations(read_openapi(json.dumps(OK).encode(), "x"))] == ["paths./a.get"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "api.json: it is not an OpenAPI document; one begins with openapi: \"3.1.0\""),
        ("[1]", "api.json: it is not an OpenAPI document; one begins with openapi: \"3.1.0\""),
        ({"paths": {}}, "api.json: it is not an OpenAPI document; one begins with openapi: \"3.1.0\""),
        ({"swagger": "2.0"}, 'api.json: swagger: "2.0" is an older format; convert it to OpenAPI 3 first, '),
        ({**OK, "openapi": "3.10.0"}, 'api.json: openapi: "3.10.0" is not a version that is read here: 3.0 and 3.1'),
        ({**OK, "openapi": 4}, 'api.json: openapi: "4" is not a version'),
        ({"openapi": "3.0.3"}, "api.json: it has no paths; write at least one operation below paths"),
        ({**OK, "paths": []}, "api.json: paths: [] is not a table; write keys and values below it"),
        ({**OK, "paths": {"a": {}}}, 'api.json: paths: "a" does not begin with a slash; write "/a"'),
        ({**OK, "paths": {"/a": "x"}}, 'api.json: paths./a: "x" is not a table; write keys and values below it'),
        ({**OK, "paths": {"/a": {"GET": {}}}}, 'api.json: paths./a: "GET" is not a method here; write get'),
        ({**OK, "paths": {"/a?b={c}": {"get": {}}}}, 'api.json: paths./a?b={c}.get: "/a?b={c}" has a query or'),
        (with_get(operationId=7), "api.json: paths./a.get.operationId: 7 is not a string; write it in quotes"),
        (with_get(parameters={}), "api.json: paths./a.get.parameters: a table is not a list; write a list"),
        (with_get(parameters=[{"in": "path"}]), "api.json: paths./a.get.parameters[0]: it has no name; write name"),
        (with_get(parameters=[{"name": "x", "in": "body"}]), "api.json: paths./a.get.parameters[0]: in is 'body', not"),
        (
            with_get(parameters=[{"$ref": "#/components/parameters/x~1y"}]),
            'api.json: paths./a.get.parameters[0]: $ref "#/components/parameters/x~1y" leads nowhere; define "',
        ),
        (
            with_get(requestBody={"$ref": "bodies.yaml#/x"}),
            'api.json: paths./a.get.requestBody: $ref "bodies.yaml#/x" leads to another file; bundle the document into',
        ),
        (with_get(requestBody={"$ref": 3}), "api.json: paths./a.get.requestBody: $ref 3 is not a string; write $ref:"),
        (
            {**with_get(requestBody={"$ref": "#/x"}), "x": {"$ref": "#/x"}},
            "api.json: paths./a.get.requestBody: the reference leads to itself; write the value itself",
        ),
        ({**OK, "servers": [{"url": "http://[x"}]}, 'api.json: servers[0]: "http://[x" is not a URL; write url:'),
        ('{"openapi": "3.0.0",\n "paths" {}}', "api.json:2: not JSON: expecting ':' delimiter; correct column 10"),
        ('{"paths": {"/a": 1, "/a": 2}}', 'api.json: the key "/a" stands twice in one table; remove one'),
        ('{"a": ' * 100_000, "api.json: it is nested too deeply; name an OpenAPI document"),
        ('{"a": 1' + "0" * 5000 + "}", "api.json: not JSON: Exceeds the limit"),
        ("openapi: 3.0.0\npaths:\n  /a: [", "api.json:3: not YAML: "),
        ("openapi: 3.0.0\npaths:\n  /a: {}\n  /a: {}", "api.json:4: not YAML: found duplicate key"),
        ("openapi: 3.0.0\nx: !!python/object:os.system {}", "api.json:2: not YAML: could not determine a constructor"),
        ("openapi: 3.0.0\n---\nopenapi: 3.0.0", "api.json:2: not YAML: but found another document"),
        ("openapi: 3.0.0\nx: 2024-99-99", "api.json: not YAML: month must be in 1..12; correct it"),
        ("openapi: " + "[" * 5000, "api.json: it is nested too deeply"),
    ],
)  # fmt: skip
def test_the_place_and_the_cure_are_named(document: object, said: str) -> None:
    """One line, whatever is wrong."""
    text = refused(document)
    assert text.startswith(said)
    assert "\n" not in text


def test_other_bytes_are_refused() -> None:
    """A byte order mark is none of them."""
    with pytest.raises(DocumentError, match="x: it is not UTF-8; save it in UTF-8"):
        read_openapi(b"\xff\xfe{", "x")
    assert read_openapi(b"\xef\xbb\xbf" + json.dumps(OK).encode(), "x").value == OK


def test_an_alias_may_lead_to_itself() -> None:
    """Nothing follows it without end."""
    text = "openapi: 3.1.0\nx: &x {again: *x}\npaths: {/a: {get: {requestBody: *x}}}"
    assert len(list(operations(read_openapi(text.encode(), "x")))) == 1


def test_numbers_are_read_as_versions_and_keys() -> None:
    """YAML has `3.1` and the keys of `responses` as numbers."""
    (operation,) = operations(read_openapi(b"openapi: 3.1\npaths: {/a: {get: {responses: {200: {}}}}}", "x"))
    assert operation.statuses == {"200"}


def test_without_the_extra_json_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML names what to install."""
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    assert read_openapi(json.dumps(OK).encode(), "x").value == OK
    with pytest.raises(StartError, match=r"YAML needs ruamel.yaml: pip install 'backstay\[inject\]'"):
        read_openapi(b"openapi: 3.0.0", "x")
