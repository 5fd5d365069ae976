"""Three OpenAPI documents of session and chat APIs become routes without errors. Every guess has its mark."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from proxy.init.configuration_text import UpstreamLine, configuration
from proxy.init.documents import read_openapi
from proxy.init.drafts import Draft, Drafts, NameList
from proxy.init.guesses import guessed
from proxy.init.operations import operations, server_of
from tests.unit.init.conftest import DOCUMENTS, Made

SESSIONS: dict[str, dict[str, Any]] = {
    "GET /api/sessions": {"operation": "list-sessions"},
    "POST /api/sessions": {
        "operation": "create-session", "subject": "body:/reportId", "coalesce": "subject",
        "on_conflict": "GET /api/sessions/{subject}", "idempotency": "inject",
    },
    "GET /api/sessions/{reportId}": {"operation": "load-session", "subject": "path:reportId"},
    "PATCH /api/sessions/{reportId}": {"operation": "update-session", "subject": "path:reportId"},
    "PUT /api/sessions/{reportId}": {
        "operation": "replace-session", "subject": "path:reportId", "coalesce": "subject"
    },
    "GET /api/conversations/{reportId}/status": {"operation": "conversation-status", "subject": "path:reportId"},
    "GET /api/conversations/{reportId}/history": {"operation": "conversation-history", "subject": "path:reportId"},
    "POST /api/logout": {"operation": "logout", "ends_session": True},
}  # fmt: skip
THREADS = "/v1/workspaces/{workspace_id}/threads"
CHAT: dict[str, dict[str, Any]] = {
    f"POST {THREADS}": {"operation": "threads-create", "subject": "body:/threadId", "coalesce": "subject"},
    f"GET {THREADS}/{{thread_id}}": {"operation": "threads-get", "subject": "path:thread_id"},
    f"DELETE {THREADS}/{{thread_id}}": {"operation": "threads-delete", "subject": "path:thread_id"},
    f"GET {THREADS}/{{thread_id}}/messages": {"operation": "messages-list", "subject": "path:thread_id"},
    f"POST {THREADS}/{{thread_id}}/messages": {
        "operation": "messages-send", "subject": "path:thread_id", "total_timeout": "30s"
    },
    "GET /v1/messages": {"operation": "get-messages", "subject": "query:thread_id"},
    "POST /v1/messages": {"operation": "post-messages", "subject": "body:/threadId", "total_timeout": "30s"},
}  # fmt: skip
ODD: dict[str, dict[str, Any]] = {
    "GET /v2/chats/": {"operation": "get-chats"},
    "HEAD /v2/chats/": {"operation": "head-chats"},
    "POST /v2/chats/": {"operation": "post-chats"},
    "GET /v2/chats/{id}/": {"operation": "get-chats-id", "subject": "path:id"},
    "GET /v2/chats/{id}": {"operation": "as-json", "subject": "path:id"},
    "GET /v2/chats/{id}/chats/{id_2}": {"operation": "passthrough-2", "subject": "path:id"},
    "GET /v2/r%C3%A4ume/{raum_nr}": {"operation": "r-ume-ffnen", "subject": "path:raum_nr"},
    "GET /v2/files/{path...}": {"operation": "download", "total_timeout": "30s"},
    "POST /v2/files/{path...}": {"operation": "download-2", "total_timeout": "30s"},
    "GET /open/invitations/{token}": {"operation": "invitation"},
    "GET /v2/": {"operation": "root"},
}
DOCUMENTED = {"sessions.yaml": SESSIONS, "chat.json": CHAT, "odd.yaml": ODD}
STATED = ("operation", "match")  # what a document states itself
SETTING = re.compile(r"(?P<key>[a-z_]+) = (?P<value>.*?)(?:\s+# (?P<note>.*))?")


def drafts(name: str) -> Drafts:
    """Return what is made from a document of the folder."""
    return guessed(operations(read_openapi((DOCUMENTS / name).read_bytes(), name)))


def guessed_from(paths: dict[str, Any]) -> tuple[Draft, ...]:
    """Return the routes of a document with these paths."""
    document = json.dumps({"openapi": "3.0.0", "paths": paths}).encode()
    return guessed(operations(read_openapi(document, "x.json"))).routes


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_routes_are_those_of_the_document(made: Made, name: str) -> None:
    """`check` has no error and no warning. Only creates share calls; a message is never shared."""
    routes = made(openapi=DOCUMENTS / name)["routes"]
    assert {route.pop("match"): route for route in routes} == DOCUMENTED[name]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_guess_is_marked(made: Made, name: str) -> None:
    """Each line of a route that the document does not state says that it is a guess."""
    made(openapi=DOCUMENTS / name)
    text = Path("backstay.toml").read_text(encoding="utf-8")
    lines = text[text.index("[[routes]]") :].splitlines()
    found = [line for each in lines if (line := SETTING.fullmatch(each)) and line["key"] not in STATED]
    assert found
    assert [line[0] for line in found if not (line["note"] or "").startswith("guess: ")] == []


@pytest.mark.parametrize(
    ("name", "match", "doubt"),
    [
        ("sessions.yaml", "GET /api/sessions", ""),
        ("chat.json", "GET /v1/messages", "guess: the default of a server variable is in the path"),
        ("odd.yaml", "GET /v2/", "guess: the base path of the first of several servers"),
        ("odd.yaml", "GET /open/invitations/{token}", ""),
    ],
)
def test_a_base_path_is_a_guess_if_servers_differ(name: str, match: str, doubt: str) -> None:
    """One server, of the document or of a path, is a fact."""
    notes = {f"{each.template.method} {each.template.path}": each.match_note for each in drafts(name).routes}
    assert notes[match] == doubt


@pytest.mark.parametrize(
    ("url", "match", "doubt", "address"),
    [
        ("", "GET /a", "", ""),
        ("/", "GET /a", "", ""),
        ("https://h/v1/", "GET /v1/a", "", "https://h"),
        ("//h/v1", "GET /v1/a", "", ""),
        ("h.example/v1", "GET /h.example/v1/a", "guess: the server's URL is relative to the document", ""),
        ("./v1", "GET /v1/a", "guess: the server's URL is relative to the document", ""),
        ("https://{host}/v1", "GET /v1/a", "", ""),
    ],
)
def test_the_base_path_of_a_server(url: str, match: str, doubt: str, address: str) -> None:
    """Only the path counts; an address is mentioned if it is one."""
    document = {"openapi": "3.0.0", "servers": [{"url": url}], "paths": {"/a": {"get": {}}}}
    root = read_openapi(json.dumps(document).encode(), "x.json")
    (route,) = guessed(operations(root)).routes
    assert (f"{route.template.method} {route.template.path}", route.match_note) == (match, doubt)
    assert server_of(root).address == address


def test_a_translated_path_says_so() -> None:
    """A whole segment in place of a part of one matches more; a trailing slash is needed."""
    notes = {each.operation: each.notes[1:] for each in drafts("odd.yaml").routes}
    assert notes["as-json"] == ('guess: "{id}.json" is a whole segment here, so more requests match',)
    assert notes["get-chats"] == ("the path ends with a slash: without it, a request does not match",)
    assert notes["download"] == ("guess: {path...} matches the rest of the path",)
    assert {each.operation: each.notes[1:] for each in drafts("chat.json").routes}["threads-delete"] == (
        "the document calls it deprecated",
    )


def test_an_operation_without_a_route_is_named(made: Made) -> None:
    """The reason is a comment in the file, and in `left_out`."""
    assert drafts("odd.yaml").left_out == (
        "paths./chats/.options: CORS preflights need no route",
        "paths./chats/.trace: no route can have the method TRACE",
        'paths./static/*.get: "*" would match only itself: here a name is {name}, and the rest of a path {rest...}',
        "GET /v2/chats/{chat}/ (again): get-chats-id matches the same requests",
    )
    made(openapi=DOCUMENTS / "odd.yaml")
    assert "# Without a route: paths./chats/.trace: " in Path("backstay.toml").read_text(encoding="utf-8")


def test_a_public_address_is_not_taken_for_the_backend(made: Made) -> None:
    """The document's server is mentioned, unless the command names the backend."""
    assert made(openapi=DOCUMENTS / "chat.json")["upstreams"]["backend"]["url"] == "http://127.0.0.1:8000"
    assert "# guess: the document says https://eu.chat.example\n" in Path("backstay.toml").read_text(encoding="utf-8")
    made(openapi=DOCUMENTS / "chat.json", upstream="http://10.0.0.1:80")
    assert "eu.chat.example" not in Path("backstay.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("operation", "settings"),
    [
        ("POST /tasks", {}),  # not "ask"
        ("POST /sessions/{id}/ask", {"subject": "path:id", "total_timeout": "30s"}),
        ("GET /sessions/{id}/messages", {"subject": "path:id"}),
        ("GET /sessions/{id}/export", {"subject": "path:id", "total_timeout": "30s"}),
        ("GET /users/{user_id}/sessions/{session_id}", {"subject": "path:session_id"}),
        ("GET /users/{user_id}/orders/{order_id}", {"subject": "path:user_id"}),
        ("GET /reset/{reset_token}", {}),
        ("GET /reset/{reset_token}/{id}", {"subject": "path:id"}),
        ("DELETE /sign-out", {"ends_session": True}),
        ("GET /logout", {}),
    ],
)
def test_names_decide(operation: str, settings: dict[str, object]) -> None:
    """A word counts as a whole, or as the beginning of one."""
    method, path = operation.split()
    document = {"openapi": "3.0.0", "paths": {path: {method.lower(): {}}}}
    (route,) = guessed(operations(read_openapi(json.dumps(document).encode(), "x.json"))).routes
    assert {each.key: each.value for each in route.settings if not each.off} == settings


@pytest.mark.parametrize(
    "path",
    [
        "/x/{otp}", "/x/{secretId}", "/x/{inviteCode}", "/x/{magic_link}", "/x/{access-code}", "/x/{passcode}",
        "/reset/{code}", "/verify-email/{id}", "/invitations/{id}", "/{oneTimePin}", "/x/{apiKey}",
    ],
)  # fmt: skip
def test_what_may_be_a_credential_is_no_subject(path: str) -> None:
    """A subject is recorded unchanged. The line says why it is off."""
    (route,) = guessed_from({path: {"get": {}}})
    (subject,) = route.settings
    assert (subject.key, subject.off) == ("subject", True)
    assert subject.note.endswith("a credential, and a subject is recorded")


@pytest.mark.parametrize(
    "path", ["/x/{countryCode}", "/{zip_code}", "/reset/{session_id}", "/reset/{otp}/{id}", "/pins/{id}", "/x/{spin}"]
)
def test_a_name_that_only_resembles_one_is_a_subject(path: str) -> None:
    """Kinds of codes, and the identifier of a session behind any word."""
    (route,) = guessed_from({path: {"get": {}}})
    assert [(line.key, line.off) for line in route.settings] == [("subject", False)]


@pytest.mark.parametrize("name", ["otp", "inviteCode"])
@pytest.mark.parametrize("place", ["query", "header"])
def test_no_parameter_that_may_be_a_credential_is_a_subject(place: str, name: str) -> None:
    """Nor is a member of a body."""
    parameter = {"name": name, "in": place, "required": True}
    schema = {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}
    body = {"content": {"application/json": {"schema": schema}}}
    (route,) = guessed_from({"/sessions": {"post": {"parameters": [parameter], "requestBody": body}}})
    assert route.settings == ()


@pytest.mark.parametrize(
    ("path", "template", "note"),
    [
        ("/p/{proxy+}", "/p/{proxy...}", "guess: {proxy...} matches the rest of the path"),
        ("/p/{proxy*}", "/p/{proxy...}", "guess: {proxy...} matches the rest of the path"),
        ("/p/{*proxy}", "/p/{proxy...}", "guess: {proxy...} matches the rest of the path"),
        ("/p/{**proxy}", "/p/{proxy...}", "guess: {proxy...} matches the rest of the path"),
        ("/p/{+proxy}", "/p/{proxy...}", "guess: {proxy...} matches the rest of the path"),
        ("/p/{a-b...}", "/p/{a_b...}", "guess: {a_b...} matches the rest of the path"),
        ("/p/{p:path}", "/p/{p...}", "guess: {p...} matches the rest of the path"),
        ("/{p+}/x", "/{p}/x", 'guess: "{p+}" may be several segments, and {p} is one'),
        ("/{id:[0-9]+}", "/{id}", 'guess: "{id:[0-9]+}" has the form of a name with a rule'),
    ],
)
def test_a_name_in_another_form_is_marked(path: str, template: str, note: str) -> None:
    """A name of several segments is the rest of a path; nothing is changed without a mark."""
    (route,) = guessed_from({path: {"get": {}}})
    assert route.template.path == template
    assert [each for each in route.notes if each.startswith(note)]


def test_a_plain_name_has_no_mark() -> None:
    """A hyphen or a dot is only not possible in a template."""
    (route,) = guessed_from({"/x/{report-id}/{a.b}": {"get": {}}})
    assert (route.template.path, len(route.notes)) == ("/x/{report_id}/{a_b}", 1)


def test_a_backend_that_makes_the_key_gets_every_create() -> None:
    """Two chats about one report are two. Their GET has another kind of subject, and the line says so."""
    schema = {"type": "object", "required": ["reportId"], "properties": {"reportId": {"type": "string"}}}
    post = {"requestBody": {"content": {"application/json": {"schema": schema}}}, "responses": {"201": {}}}
    paths = {"/chats": {"post": post}, "/chats/{chatId}": {"get": {}}}
    (subject,) = (line for line in guessed_from(paths)[0].settings if line.key != "total_timeout")
    note = "guess: the body names reportId; GET of one chat has another subject, chatId"
    assert (subject.key, subject.value, subject.note) == ("subject", "body:/reportId", note)
    assert [line.key for line in guessed_from({"/chats": {"post": post}})[0].settings if not line.off] == ["subject"]


def test_check_does_not_doubt_what_is_proposed(made: Made) -> None:
    """A word that `check` doubts has a timeout; `made` refuses a warning."""
    paths: dict[str, Any] = {f"/{word}/{{id}}": {"get": {}} for word in ("reports", "chat", "events", "sse", "watch")}
    Path("x.json").write_text(json.dumps({"openapi": "3.0.0", "paths": paths}), encoding="utf-8")
    assert [route["total_timeout"] for route in made(openapi=Path("x.json"))["routes"]] == ["30s"] * 5


def test_the_credentials_of_a_documents_server_are_not_written() -> None:
    """A comment names its address only."""
    document = b'{"openapi": "3.0.0", "servers": [{"url": "https://u:p@api.example/v1"}], "paths": {}}'
    assert server_of(read_openapi(document, "x.json")) == ("/v1", "", "https://api.example")


@pytest.mark.parametrize(
    ("operation_id", "path", "name"),
    [
        ("create_session_api_sessions_post", "/api/sessions", "create-session"),  # as FastAPI makes them
        ("load_api_sessions__report_id__post", "/api/sessions/{report_id}", "load"),
        ("page__post", "/", "page"),
        ("createSession", "/api/sessions", "create-session"),
        ("HTTPServerReset", "/", "http-server-reset"),
        ("api_sessions_post", "/api/sessions", "api-sessions-post"),
        ("", "/api/sessions/{id}", "post-api-sessions-id"),
        ("x" * 70, "/", "x" * 64),
        ("!", "/", "operation"),
    ],
)
def test_an_operation_is_named_as_in_the_document(operation_id: str, path: str, name: str) -> None:
    """In lower case with hyphens; without an operationId, by method and path."""
    document = {"openapi": "3.0.0", "paths": {path: {"post": {"operationId": operation_id}}}}
    (route,) = guessed(operations(read_openapi(json.dumps(document).encode(), "x.json"))).routes
    assert route.operation == name


def test_names_are_distinct() -> None:
    """A number is added to a name that is taken, within 64 characters; `passthrough` is taken."""
    names = NameList()
    assert [names.fresh(each) for each in ("a", "A", "a-2", "a", "passthrough", "")] == [
        "a", "a-2", "a-2-2", "a-3", "passthrough-2", "operation"
    ]  # fmt: skip
    assert [len(names.fresh("y" * 80)) for _ in range(12)] == [64] * 12


CREATE = {"subject": "body:/id", "coalesce": "subject"}


@pytest.mark.parametrize(
    ("path", "members", "other", "settings"),
    [
        ("/sessions", ("id",), "/sessions/{sid}", {**CREATE, "on_conflict": "GET /sessions/{subject}"}),
        ("/sessions", ("sessionId",), None, {"subject": "body:/sessionId", "coalesce": "subject"}),
        ("/orders/", ("id",), "/orders/{order}/", {**CREATE, "on_conflict": "GET /orders/{subject}/"}),
        ("/sessions", ("reportId",), "/sessions/{sid}", {"subject": "body:/reportId", "coalesce": "subject"}),
        ("/sessions", ("session id", "sessionToken"), None, {}),
        ("/orders", ("id",), None, {}),  # nothing says that this makes an order
        ("/notes", ("sessionId",), "/notes/{note}", {"subject": "body:/sessionId"}),  # the backend makes its key
        ("/login", ("id",), None, {}),
        ("/sessions/{sid}", ("id",), "/sessions/{sid}", {"subject": "path:sid"}),
    ],
)
def test_only_a_create_shares_calls(
    path: str, members: tuple[str, ...], other: str | None, settings: dict[str, object]
) -> None:
    """The client chooses the key of what is made, and a collection or a session is what the path names."""
    properties = {name: {"type": "string"} for name in members}
    schema = {"type": "object", "required": list(members), "properties": properties}
    body = {"content": {"application/json": {"schema": schema}}}
    paths: dict[str, Any] = {path: {"post": {"requestBody": body, "responses": {"409": {}}}}}
    if other is not None:
        paths.setdefault(other, {})["get"] = {}
    document = json.dumps({"openapi": "3.0.0", "paths": paths}).encode()
    route = guessed(operations(read_openapi(document, "x.json"))).routes[0]
    assert {each.key: each.value for each in route.settings if not each.off} == settings


def test_half_a_surrogate_pair_is_no_traceback() -> None:
    """JSON can write it; no request and no file can have it."""
    document = r'{"openapi": "3.0.0", "paths": {"/\ud800": {"get": {"operationId": "\ud800"}}, "/a": {"get": {}}}}'
    drafts = guessed(operations(read_openapi(document.encode(), "x.json")))
    assert [route.operation for route in drafts.routes] == ["get-a"]
    text = configuration(UpstreamLine("http://a", "http://\ud800"), drafts, None)
    assert text.encode().count(b"\\ud800") == 2


def test_text_of_a_document_stays_in_its_comment() -> None:
    """A line break or an escape sequence in a path or a name writes no line of its own."""
    document = r'{"openapi": "3.0.0", "paths": {"/a\n[x]/\u001b[31m": {"get": {"operationId": "x\"\n[y]"}}}}'
    (route,) = guessed(operations(read_openapi(document.encode(), "x.json"))).routes
    assert (route.operation, route.template.path) == ("x-y", "/a%0A%5Bx%5D/%1B%5B31m")
