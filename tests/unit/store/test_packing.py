"""Packed values are unpacked unchanged, whatever their bytes; those of another version are not."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.http.fields import Fields
from proxy.http.message import Failure, Framing, Response
from proxy.http.problems import Reason
from proxy.policy.claim_rules import Claim, Settled, StoreUnavailable
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.response_cache import CachedResponse
from proxy.store.packing import (
    MAX_VALUE,
    Damaged,
    mark_name,
    names_another,
    pack,
    pack_cached,
    pack_result,
    unpack,
    unpack_cached,
    unpack_result,
)
from proxy.store.redis_claims import _packed, _settled, claim_state
from tests.simulation.scripted import ScriptedStream

LINES = st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=4).map(tuple)
RESPONSES = st.builds(
    Response, st.integers(200, 999), st.binary(), LINES.map(Fields), st.binary(), st.sampled_from(Framing), LINES
)
FAILURES = st.builds(
    Failure, st.sampled_from(Reason), st.booleans(), st.text(), st.none(), st.none() | st.floats(0, 1e6),
    st.just(value=True), st.just(value=False),  # what an attempt says of its backend concerns the process that made it
)  # fmt: skip
RESULTS = st.builds(
    Result, RESPONSES | FAILURES, st.none() | st.sampled_from(RecoveryKind), st.none() | st.integers(200, 999),
    st.none() | st.sampled_from(Reason), st.none(), st.just(value=False),
)  # fmt: skip


def plain(result: Result | None) -> object:
    """Return a result's parts, comparable."""
    if result is None or isinstance(result.outcome, Failure):
        return result
    return result._replace(outcome=result.outcome._replace(fields=result.outcome.fields.lines))  # type: ignore[arg-type]


@given(RESULTS)
def test_a_result_comes_back(result: Result) -> None:
    """Every field line, byte for byte and in order; failures with their reasons."""
    assert plain(unpack_result(pack_result(result))) == plain(result)


@given(RESPONSES, st.floats(0, 2e9), st.lists(st.text(max_size=8), max_size=4))
def test_a_kept_answer_comes_back_with_its_marks(response: Response, arrived: float, marks: list[str]) -> None:
    """Under the stamp of the process that reads it."""
    found = unpack_cached(pack_cached(CachedResponse(response, arrived, 7), marks, "a:b"), 9, "a:b")
    assert found is not None
    cached, back = found
    assert (cached.arrived, cached.stamp, back) == (arrived, 9, marks)
    assert plain(Result(cached.response)) == plain(Result(response))


def test_a_stream_cannot_be_packed() -> None:
    """It is still on its way."""
    assert pack_result(Result(Response(200, b"", Fields(()), ScriptedStream(b"x")))) is None


def test_what_another_version_packed_is_a_miss() -> None:
    """An unknown version is not understood, and no error."""
    assert unpack(b"backstay-1\n5\n{}abc") is None
    assert unpack(b"backstay-2\n2 2745614147\n{}") is None
    assert unpack(None) is None
    assert unpack(pack({"a": 1}, b"\n\x00")) == ({"a": 1}, b"\n\x00")


def test_an_answer_that_is_too_large_for_a_store_is_settled_without_it() -> None:
    """One large value would keep Redis from everybody; the key stays used, and nobody asks with it again."""
    claim = Claim("name", "print", "key", 60.0, 60.0)
    for size, is_there in ((1000, True), (MAX_VALUE, False)):
        packed = _settled(claim, _packed(Result(Response(200, b"", Fields(()), bytes(size)))), "claim:name")
        told = claim_state("claim:name", packed, 0, 60_000)
        assert isinstance(told, Settled)
        assert told.result is not None
        assert isinstance(told.result.outcome, Response) is is_there
        assert len(packed) < MAX_VALUE


def read(packed: bytes) -> list[object]:
    """Read bytes in every way; return what was found, which is nothing for what is damaged or another version's."""
    found: list[object] = []
    for how in (unpack, unpack_result, lambda data: unpack_cached(data, 9, ""), lambda data: _found(data)):
        try:
            found.append(how(packed))
        except Damaged:
            continue
    return [one for one in found if one is not None]


def _found(packed: bytes) -> object:
    told = claim_state("", packed, 1, 1)
    return None if isinstance(told, StoreUnavailable) else told


@given(RESPONSES, st.data())
def test_whatever_is_damaged_or_cut_is_not_used(response: Response, data: st.DataObject) -> None:
    """Before, a damaged document raised out of the request, and half a body was answered as a whole one."""
    packed = pack_cached(CachedResponse(response, 1.0, 7), ["a"], "")
    assert read(packed)
    at = data.draw(st.integers(0, len(packed) - 1))
    other = data.draw(st.integers(1, 255))
    assert not read(packed[:at])
    assert not read(packed[:at] + bytes([packed[at] ^ other]) + packed[at + 1 :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("response", "failure", "recovery", "error", "settled", "fingerprint", "key", "token", "varied", "marks")


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=len(NAMES)))
@example({"recovery": None, "received_status": None, "error": None, "response": {}})
@example({"settled": False})
def test_a_document_of_another_shape_raises_nothing_else(document: dict[str, Any]) -> None:
    """Somebody else may have written it, checksum and all."""
    read(pack(document))


@pytest.mark.parametrize(
    "packed", [b"backstay-3\n", b"backstay-3\na\nx y\n{}", b"backstay-3\na\n2\n{}", pack({})[:-1] + b"]"]
)
def test_a_damaged_head_is_told(packed: bytes) -> None:
    """It is this version's, so it is no miss that is to be expected."""
    with pytest.raises(Damaged):
        unpack(packed)


def test_a_value_of_another_key_is_not_read() -> None:
    """A reply that belongs to another command cannot be served, whatever it holds."""
    packed = pack({"a": 1}, b"body", "backstay:one")
    assert unpack(packed, "backstay:one") == ({"a": 1}, b"body")
    assert names_another("backstay:two", packed)
    assert not names_another("backstay:one", packed)
    with pytest.raises(Damaged, match="another key"):
        unpack(packed, "backstay:two")


def test_a_damaged_value_names_nothing() -> None:
    """Another program wrote to it: the connection is in step, and the store stays up."""
    packed = pack({"a": 1}, b"body", "backstay:one")
    assert not names_another("backstay:two", packed[:-1])
    assert not names_another("backstay:two", b"backstay-3\n")
    assert not names_another("backstay:two", b"whatever=else")


@pytest.mark.parametrize("key", ["backstay:mark:all", "backstay:mark:0:1f", "a:b:mark:1:1f"])
def test_a_mark_of_another_key_is_not_read(key: str) -> None:
    """It would make an old response of somebody else current."""
    assert not names_another(key, mark_name(key) + b"=replica-1")
    assert names_another("backstay:mark:1:20", mark_name(key) + b"=replica-1")
    assert names_another("backstay:a-digest", mark_name(key) + b"=replica-1")
    assert not names_another(key, b"replica-1")  # an older release wrote it
