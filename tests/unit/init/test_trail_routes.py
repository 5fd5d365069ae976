"""Routes from what a trail shows as passed through."""

from collections.abc import Iterator
from typing import Any

import pytest

from proxy.init.drafts import Draft
from proxy.init.trail_routes import proposed


def passed(method: str, path: str, status: int = 200, times: int = 1, **more: Any) -> list[dict[str, object]]:
    """Return records of requests that no route matched."""
    return [{"operation": "passthrough", "method": method, "path": path, "status": status, **more}] * times


def matches(*records: list[dict[str, object]]) -> dict[str, Draft]:
    """Return the proposed routes by what they match."""
    drafts = proposed(record for each in records for record in each)
    return {f"{draft.template.method} {draft.template.path}": draft for draft in drafts.routes}


@pytest.mark.parametrize(
    "identifier",
    [
        "42",
        "val_1",
        "c7f3e2",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "deadbeef01",
        "*",
        "a%20b",
        "user@example",
        "x" * 41,
    ],
)
def test_an_identifier_is_a_name(identifier: str) -> None:
    """Also what the trail redacted. The name comes from the segment before."""
    found = matches(passed("GET", f"/api/v1/sessions/{identifier}/turns?page=*"))
    (draft,) = found.values()
    assert list(found) == ["GET /api/v1/sessions/{session_id}/turns"]
    assert [(line.key, line.value) for line in draft.settings] == [("subject", "path:session_id")]


def test_words_are_segments_until_there_are_many() -> None:
    """More than ten different words at one place are names."""
    few = [passed("GET", f"/users/{word}") for word in "abcdefghij"]
    assert len(matches(*few)) == 10
    assert list(matches(*few, passed("GET", "/users/k"), passed("PUT", "/users/k/image"))) == [
        "GET /users/{user_id}", "PUT /users/{user_id}/image"
    ]  # fmt: skip


RESOURCES = (
    "users", "sessions", "search", "login", "logout", "settings", "billing", "teams", "files", "tags", "favicon.ico",
    "health-check",
)  # fmt: skip


@pytest.mark.parametrize("root", ["", "/api", "/v2", "/api/v1"])
def test_the_first_segment_of_an_api_is_a_word(root: str) -> None:
    """An API may have any number of resources: none of them is an identifier, and none is the subject of all."""
    requests = [passed("GET", f"{root}/{word}") for word in RESOURCES]
    found = matches(*requests, passed("GET", f"{root}/sessions/val_1"))
    assert set(found) == {*(f"GET {root}/{word}" for word in RESOURCES), f"GET {root}/sessions/{{session_id}}"}
    assert {each for each, draft in found.items() if draft.settings} == {f"GET {root}/sessions/{{session_id}}"}


def test_a_first_segment_of_codes_is_a_name() -> None:
    """Short links do not look like words."""
    assert list(matches(*(passed("GET", f"/x{number}") for number in range(12)))) == ["GET /{id}"]


def test_a_frequent_word_stays_a_segment_among_names() -> None:
    """`me` is asked for by everybody."""
    names = [passed("GET", f"/users/{word}") for word in "abcdefghijkl"]
    assert list(matches(*names, passed("GET", "/users/me", times=9))) == ["GET /users/{user_id}", "GET /users/me"]


def test_a_word_before_a_name_is_a_collection() -> None:
    """Below an API's first segment too; but of many such words, names are followed by names."""
    admin = [passed("GET", f"/admin/{word}") for word in RESOURCES]
    found = matches(*admin, passed("GET", "/admin/users/7"))
    assert set(found) == {"GET /admin/{admin_id}", "GET /admin/users", "GET /admin/users/{user_id}"}
    assert list(matches(*(passed("GET", f"/repos/{word}/7") for word in "abcdefghijkl"))) == [
        "GET /repos/{repo_id}/{id}"
    ]


def test_what_never_succeeded_makes_no_name() -> None:
    """A scanner's thousand guesses below one segment do not turn its words into names."""
    scans = [passed("GET", f"/users/{word}", 404) for word in "abcdefghijkl"]
    assert list(matches(*scans, passed("GET", "/users/me"), passed("GET", "/users/list"))) == [
        "GET /users/me", "GET /users/list"
    ]  # fmt: skip


def test_a_browsers_preflights_are_no_route() -> None:
    """As with a document."""
    drafts = proposed(passed("OPTIONS", "/api/sessions", 204, times=2))
    assert drafts == ((), ("OPTIONS (2 requests): CORS preflights need no route",))


@pytest.mark.parametrize(
    ("more", "timeout"),
    [
        ({"duration_ms": 900}, None),
        ({"duration_ms": 1200.5}, "5s"),
        ({"duration_ms": 10_032.1}, "30s"),
        ({"duration_ms": 25_000}, "1m"),
        ({"duration_ms": 9e6}, "5h"),
        ({"duration_ms": 60_000, "metadata": {"head_ms": 5.0}}, None),  # a download: only its head is timed
        ({"duration_ms": 60_000, "metadata": {"head_ms": 4000, "endless": True}}, "10s"),
        ({"duration_ms": 60_000, "metadata": {"endless": True}}, None),  # a tunnel
        ({"duration_ms": "1", "metadata": 1}, None),
    ],
)
def test_a_slow_success_has_room(more: dict[str, Any], timeout: str | None) -> None:
    """A route has 2 s by default, and a request that was passed through had 30 s."""
    (draft,) = matches(
        passed("GET", "/a"), passed("GET", "/a", **more), passed("GET", "/a", 500, duration_ms=9e9)
    ).values()
    assert [line.value for line in draft.settings if line.key == "total_timeout"] == ([timeout] if timeout else [])
    assert all(line.note.startswith("guess: ") for line in draft.settings)


def test_a_name_with_the_secret_of_an_e_mail_is_no_subject() -> None:
    """A subject is recorded unchanged."""
    (draft,) = matches(passed("POST", "/reset/abc123")).values()
    assert (draft.template.path, draft.settings) == ("/reset/{reset_id}", ())


def test_the_most_frequent_is_the_first_and_says_how_often() -> None:
    """A guess has its reason: how many requests, and how many succeeded."""
    found = matches(passed("GET", "/a"), passed("POST", "/b/1", times=3), passed("POST", "/b/2", 500))
    assert list(found) == ["POST /b/{b_id}", "GET /a"]
    assert found["POST /b/{b_id}"].match_note == "guess: 4 requests, of which 3 succeeded"
    assert [found[each].operation for each in found] == ["post-b", "get-a"]


def test_what_never_succeeded_is_no_route() -> None:
    """Scanners ask for much that is not there."""
    drafts = proposed(passed("GET", "/wp-admin/setup.php", 404, times=2))
    assert drafts.routes == ()
    assert drafts.left_out == ("GET /wp-admin/setup.php (2 requests): none of them succeeded",)


def test_other_records_are_not_requests_that_were_passed_through() -> None:
    """Routes, circuits, refused messages, tunnels and forged lines."""
    records: list[dict[str, object]] = [
        {"operation": "session-load", "method": "GET", "path": "/a", "status": 200},
        {"operation": "circuit", "outcome": "open"},
        *passed("CONNECT", "example:443"),
        *passed("GET", "*"),
        {"operation": "passthrough", "method": ["GET"], "path": None, "status": "200"},
    ]
    assert proposed(records) == ((), ())


def test_a_path_that_is_no_template_is_left_out() -> None:
    """A brace in a path, and a segment in another router's syntax, cannot stand in a template."""
    (left_out,) = proposed(passed("GET", "/a/{x")).left_out
    assert left_out.startswith('GET /a/{x (1 requests): "/a/{x" has a brace')


def test_an_endless_number_of_paths_is_bounded() -> None:
    """The number of routes is, and so is the memory."""

    def many() -> Iterator[dict[str, object]]:
        for number in range(25_000):
            yield from passed("GET", "/" + "/".join(str(number).translate(LETTERS)))

    drafts = proposed(many())
    assert len(drafts.routes) <= 100
    assert any("too many different paths" in each for each in drafts.left_out)


LETTERS = str.maketrans("0123456789", "abcdefghij")
