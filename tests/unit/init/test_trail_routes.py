"""Routes from what a trail shows as passed through."""

from collections.abc import Iterator

import pytest

from proxy.init.drafts import Draft
from proxy.init.trail_routes import proposed


def passed(method: str, path: str, status: int = 200, times: int = 1) -> list[dict[str, object]]:
    """Return records of requests that no route matched."""
    return [{"operation": "passthrough", "method": method, "path": path, "status": status}] * times


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
