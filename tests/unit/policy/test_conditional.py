"""RFC 9110 section 13 and RFC 9111 section 4.3, for cached responses."""

import pytest

from proxy.http.message import Framing
from proxy.policy.conditional import not_modified, refreshed, unchanged
from tests.unit.policy.samples import request, response

OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("tag", "wanted", "same"),
    [
        ('"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('W/"a"', '"a"', True),
        ('W/"a"', 'W/"a"', True),
        ('"a"', '"b", W/"a" ,"c"', True),
        ('"a,b"', '"x", "a,b"', True),
        ('"a"', '"a,b"', False),
        ('""', '""', True),
        ('"a"', "*", True),
        ('"a"', '"b"', False),
        ('"a"', "a", False),
        ('"a"', '"a', False),
        ('"a"', "", False),
        ("a", '"a"', False),
        ('w/"a"', '"a"', False),
        ('"\\"', '"\\"', True),
    ],
)
def test_if_none_match(tag: str, wanted: str, same: bool) -> None:
    """Section 13.1.2: any of the list, compared weakly; `*` matches what is there."""
    assert unchanged(request(If_None_Match=wanted), response(ETag=tag)) is same


def test_a_list_over_several_lines() -> None:
    """Section 5.3: field lines of one name are one list."""
    asked = request(If_None_Match='"a"')
    asked.fields = type(asked.fields)((*asked.fields.lines, (b"if-none-match", b'"b"')))
    assert unchanged(asked, response(ETag='"b"'))


@pytest.mark.parametrize(
    ("since", "fields", "same"),
    [
        (OLD, {"Last_Modified": OLD}, True),
        (NEW, {"Last_Modified": OLD}, True),
        (OLD, {"Last_Modified": NEW}, False),
        (NEW, {"Date": OLD}, True),
        (OLD, {"Date": NEW}, False),
        (OLD, {}, False),
        ("yesterday", {"Last_Modified": OLD}, False),
        (OLD, {"Last_Modified": "yesterday"}, False),
    ],
)
def test_if_modified_since(since: str, fields: dict[str, str], same: bool) -> None:
    """Section 13.1.3 and RFC 9111 section 4.3.2: not later than the date; what is no date does not count."""
    assert unchanged(request(If_Modified_Since=since), response(**fields)) is same  # type: ignore[arg-type]


def test_a_tag_counts_before_a_date() -> None:
    """Section 13.1.3: If-Modified-Since is ignored where there is an If-None-Match."""
    asked = request(If_None_Match='"b"', If_Modified_Since=NEW)
    assert not unchanged(asked, response(ETag='"a"', Last_Modified=OLD))


def test_only_get_and_head_ask() -> None:
    """Section 13.1.2: for any other method a match means something else."""
    assert unchanged(request("HEAD", If_None_Match="*"), response())
    assert not unchanged(request("OPTIONS", If_None_Match="*"), response())
    assert not unchanged(request(), response(ETag='"a"'))


def test_a_304_carries_what_it_must() -> None:
    """Section 15.4.5; and what a page on another origin needs to read it."""
    answer = response(
        200, b"body", Content_Type="text/plain", Content_Length="4", Content_Location="/x", Date=OLD, ETag='"a"',
        Expires=NEW, Vary="Origin", Cache_Control="max-age=1", Last_Modified=OLD, X_Other="1", Age="3",
        Access_Control_Allow_Origin="https://app.example", Link="</x>",
    )  # fmt: skip
    told = not_modified(answer)
    assert (told.status, told.body, told.framing, told.trailers) == (304, b"", Framing.NONE, ())
    assert set(told.fields) == set(
        b"content-location date etag expires vary cache-control age access-control-allow-origin".split()
    )
    assert not_modified(response(Last_Modified=OLD)).fields == {b"last-modified": OLD.encode()}


@pytest.mark.parametrize(
    ("new", "kept", "about"),
    [
        ({"ETag": '"a"'}, {"ETag": '"a"'}, True),
        ({"ETag": '"a"'}, {"ETag": '"b"'}, False),
        ({"ETag": '"a"'}, {"ETag": 'W/"a"'}, False),
        ({"ETag": 'W/"a"'}, {"ETag": '"a"'}, True),
        ({"ETag": 'W/"a"'}, {"ETag": 'W/"a"'}, True),
        ({"ETag": '"a"'}, {}, False),
        ({"ETag": "odd"}, {"ETag": "odd"}, False),
        ({"Last-Modified": OLD}, {"Last-Modified": OLD}, True),
        ({"Last-Modified": NEW}, {"Last-Modified": OLD}, False),
        ({"Last-Modified": OLD}, {"ETag": '"a"'}, False),
        ({"ETag": '"a"', "Last-Modified": NEW}, {"ETag": '"a"', "Last-Modified": OLD}, True),
        ({}, {}, True),
        ({}, {"ETag": '"a"'}, False),
        ({}, {"Last-Modified": OLD}, False),
    ],
)
def test_which_answer_a_304_is_about(new: dict[str, str], kept: dict[str, str], about: bool) -> None:
    """RFC 9111 section 4.3.4: the one with the same validator, or the one that has none as it has none."""
    found = refreshed(response(200, b"x", **kept), response(304, b"", **new))
    assert (found is not None) is about


def test_a_304_changes_fields_and_leaves_the_body() -> None:
    """RFC 9111 section 3.2: new fields replace old ones; what describes the body stays."""
    old = response(
        200, b"body", ETag='"a"', Content_Type="text/plain", Content_Length="4", Age="9", X_Old="1", X_Both="1"
    )
    new = response(304, b"", ETag='"a"', Content_Type="text/html", Content_Length="0", Age="0", X_Both="2", X_New="2")
    found = refreshed(old, new)
    assert found is not None
    assert (found.status, found.body) == (200, b"body")
    assert found.fields == {
        b"etag": b'"a"', b"content-type": b"text/plain", b"content-length": b"4", b"age": b"0", b"x-old": b"1",
        b"x-both": b"2", b"x-new": b"2",
    }  # fmt: skip
