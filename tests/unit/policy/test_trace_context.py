"""W3C Trace Context, level 2: the parent of a request, and the forwarded fields. Sections are the document's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.fields import Fields
from proxy.policy.trace_context import Parent, parse, vetted

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
VALID = b"00-" + TRACE + b"-" + SPAN + b"-01"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (VALID, 1),
        (b"00-" + TRACE + b"-" + SPAN + b"-00", 0),
        (b"00-" + TRACE + b"-" + SPAN + b"-02", 2),
        (b"00-" + TRACE + b"-" + SPAN + b"-ff", 3),
        (b"01-" + TRACE + b"-" + SPAN + b"-01", 1),
        (b"cc-" + TRACE + b"-" + SPAN + b"-03-what-comes-later", 3),
        (b"cc-" + TRACE + b"-" + SPAN + b"-01-", 1),
    ],
)
def test_a_valid_traceparent_names_its_span(value: bytes, flags: int) -> None:
    """Sections 3.2.2 and 3.2.4: version 00 exactly, a later one with or without more; unknown flags are not kept."""
    assert parse(value) == Parent(TRACE.decode(), SPAN.decode(), flags)


INVALID = [
    b"",
    b"00-" + TRACE + b"-" + SPAN,
    b"00-" + TRACE + b"-" + SPAN + b"-1",
    b"00-" + TRACE + b"-" + SPAN + b"-0g",
    b"00-" + TRACE + b"-" + SPAN + b"-001",
    b"00-" + TRACE + b"-" + SPAN + b"-01-more",
    b"00-" + TRACE + b"-" + SPAN + b"-01-",
    b"000-" + TRACE + b"-" + SPAN + b"-01",
    b"0-" + TRACE + b"-" + SPAN + b"-010",
    b".0-" + TRACE + b"-" + SPAN + b"-01",
    b"CC-" + TRACE + b"-" + SPAN + b"-01",
    b"ff-" + TRACE + b"-" + SPAN + b"-01",
    b"00-" + b"0" * 32 + b"-" + SPAN + b"-01",
    b"00-" + TRACE + b"-" + b"0" * 16 + b"-01",
    b"00-" + TRACE.upper() + b"-" + SPAN + b"-01",
    b"00-" + TRACE[:-1] + b"-" + SPAN + b"-01-",
    b"00-" + TRACE[:-1] + b"-" + SPAN + b"0-01",
    b"00-" + TRACE + b"-" + SPAN[:-1] + b".-01",
    b"cc-" + TRACE + b"-" + SPAN + b"-01more",
    b"cc-" + TRACE + b"-" + SPAN + b"-01.more",
    b"00_" + TRACE + b"_" + SPAN + b"_01",
    b" " + VALID,
    VALID + b"\n",
    VALID + b", " + VALID,
]


@pytest.mark.parametrize("value", INVALID)
def test_an_invalid_traceparent_is_none(value: bytes) -> None:
    """Section 3.2.2: both fields go, whatever the state says; nobody is told of an invalid one."""
    assert parse(value) is None
    fields = Fields(((b"A", b"b"), (b"traceparent", value), (b"tracestate", b"a=1")))
    assert vetted(fields) == (Fields(((b"A", b"b"),)), None)


@pytest.mark.parametrize("second", [VALID, VALID.replace(b"0a", b"0b"), b""])
def test_two_traceparents_are_none(second: bytes) -> None:
    """Section 3.2: which of them is the caller's is unknown, even where they are equal."""
    fields = Fields(((b"traceparent", VALID), (b"TraceParent", second), (b"tracestate", b"a=1")))
    assert vetted(fields)[0].lines == ()
    assert vetted(fields)[1] is None


def test_a_state_without_a_parent_goes() -> None:
    """Section 3.3: a state whose parent is unknown is not even read."""
    assert vetted(Fields(((b"tracestate", b"a=1"), (b"A", b"b"))))[0].lines == ((b"A", b"b"),)


def carried(*states: bytes) -> list[bytes]:
    """Return what goes on of these `tracestate` lines beside a valid parent, which always goes on."""
    fields = Fields(((b"traceparent", VALID), *((b"TraceState", state) for state in states)))
    kept, parent = vetted(fields)
    assert parent is not None
    assert kept[b"traceparent"] == VALID
    return kept.all(b"tracestate")


@pytest.mark.parametrize(
    "state",
    [
        b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        b"0=1",
        b"a_-*/@0@=x",
        b"k" * 256 + b"=" + b"v" * 256,
        b"a=" + bytes(code for code in range(0x20, 0x7F) if code not in b",="),
        b"a= leading",
        b"a=1;b",
        b"a=1 \t,\t b=2",
        b",a=1,, ,b=2,",
        b",".join(b"k%d=v" % n for n in range(32)),
        b",".join(b"k%d=v" % n for n in range(32)) + b",,",
    ],
)
def test_a_valid_state_goes_on_as_it_came(state: bytes) -> None:
    """Section 3.3: up to 32 members, keys and values of up to 256 characters; empty members are allowed."""
    assert carried(state) == [state]


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b" ,, ",
        b"a",
        b"a=",
        b"=1",
        b"A=1",
        b"a.b=1",
        b"a =1",
        b"@a=1",
        b"_a=1",
        b"a=1=2",
        b"a=\t1\t2",
        b"a=\xe9",
        b"a=1,b",
        b"a=1,a=2",
        b"a=1,b=2,a=1",
        b"k" * 257 + b"=v",
        b"k=" + b"v" * 257,
        b",".join(b"k%d=v" % n for n in range(33)),
    ],
)
def test_an_invalid_state_goes_whole(state: bytes) -> None:
    """Section 3.3: nothing of it goes on, and its parent does all the same."""
    assert carried(state) == []


def test_several_states_are_one_in_their_order() -> None:
    """Section 3.3: lines combine as RFC 9110 section 5.3 says; empty ones add nothing."""
    assert carried(b"a=1,b=2", b"", b"c=3") == [b"a=1,b=2,c=3"]
    assert carried(b"a=1", b"a=2") == []
    assert carried(b"a=1", b"b") == []
    assert carried(*(b"k%d=v" % n for n in range(33))) == []


@given(st.binary(max_size=80), st.lists(st.binary(max_size=40), max_size=3))
def test_whatever_is_said_is_never_invented(traceparent: bytes, states: list[bytes]) -> None:
    """Whatever comes, no line goes on that did not come, and what goes on is valid."""
    lines = ((b"traceparent", traceparent), *((b"tracestate", state) for state in states))
    kept, parent = vetted(Fields(lines))
    assert (parent is None) == (b"traceparent" not in kept)
    assert vetted(kept) == (kept, parent)
