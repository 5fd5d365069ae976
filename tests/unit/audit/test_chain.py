"""The framing: a line can be verified from its own bytes, and no other bytes pass."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.audit.chain import GENESIS, Chain, parse_link, timestamp
from tests.unit.audit.samples import chained, fields

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
any_fields = st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), json_values, min_size=1, max_size=6)


def test_a_line_carries_its_place_first_and_its_hash_last() -> None:
    """A record keeps its order, with v and seq before it, prev and hash behind it."""
    line = Chain().append({"ts": "now", "id": "a"})
    assert list(orjson.loads(line)) == ["v", "seq", "ts", "id", "prev", "hash"]
    assert line.endswith(b'"}\n')


@settings(max_examples=40, deadline=None)
@given(st.lists(any_fields, min_size=1, max_size=5))
def test_any_record_can_be_sealed_and_its_links_meet(records: list[dict[str, object]]) -> None:
    """Whatever JSON can say comes back as a whole line, numbered from 1, each naming the one before."""
    chain = Chain()
    links = [parse_link(chain.append(record)) for record in records]
    assert [link and link.seq for link in links] == list(range(1, len(records) + 1))
    assert [link and link.prev for link in links] == [GENESIS.hash, *(link and link.hash for link in links[:-1])]


def test_a_chain_goes_on_from_a_head_and_a_number() -> None:
    """A chain made from another's head and number writes the same bytes as the other would."""
    first = Chain()
    first.append(fields(1))
    second = Chain(first.head, first.seq)
    assert second.append(fields(2)) == first.append(fields(2))


def test_what_json_cannot_say_moves_nothing() -> None:
    """A record with a value that is no JSON raises, and the next record takes its place in the chain."""
    chain = Chain()
    with pytest.raises(TypeError):
        chain.append({"id": object()})
    assert chain.append(fields(1)) == chained(1)[0]


def test_gaps_and_torn_lines_are_records_themselves() -> None:
    """A gap and a torn line stand in the chain with their time and size."""
    chain = Chain()
    gap, torn = orjson.loads(chain.gap("now", 7)), orjson.loads(chain.torn("now", 80))
    assert (gap["seq"], gap["ts"], gap["gap"]) == (1, "now", 7)
    assert (torn["seq"], torn["torn"], torn["prev"]) == (2, 80, gap["hash"])


@pytest.mark.parametrize(
    "junk", [b"", b"\n", b"{}\n", b"null\n", b"\x00" * 300, b'{"v":1,"seq":1,' + b"x" * 200 + b"}\n"]
)
def test_what_is_no_line_is_not_unsealed(junk: bytes) -> None:
    """Blank lines, other JSON and binary are no links."""
    assert parse_link(junk) is None


def test_a_line_without_its_newline_is_not_whole() -> None:
    """The newline is part of the line: without it the write did not finish."""
    assert parse_link(chained(1)[0].removesuffix(b"\n")) is None


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1795448224.123456, "2026-11-23T15:37:04.123456Z"),
        (1795448224.9999999, "2026-11-23T15:37:05.000000Z"),
    ],
)
def test_a_timestamp_has_microseconds_and_rounds_to_them(wall: float, text: str) -> None:
    """Unix seconds become ISO 8601 in UTC, six digits always, carrying into the next second."""
    assert timestamp(wall) == text
