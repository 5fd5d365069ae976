"""The client's key byte for byte, or a generated key in the configured form."""

import re
from random import Random
from uuid import UUID

import pytest

from proxy.http.fields import Fields
from proxy.http.problems import Refusal
from proxy.policy.idempotency import (
    IdempotencyKey,
    accepted,
    mint,
    minted,
)
from proxy.policy.routing import Idempotency
from tests.unit.policy.samples import WALL, request, route

INJECT = route(operation="create", idempotency=Idempotency.INJECT)


@pytest.mark.parametrize(
    "value",
    [
        "k",
        '"quoted"',
        "!~",
        "x" * 255,
        "val_123-create-1765751234567",
        '"a b"',
        '" "',
        r'"a \" b \\"',
        '"' + " " * 253 + '"',
    ],
)
def test_a_clients_key_passes_byte_for_byte(value: str) -> None:
    """1 to 255 visible ASCII characters, or a string of RFC 9651 section 3.3.3, are the client's business."""
    assert accepted(INJECT, request("POST", Idempotency_Key=value)) == IdempotencyKey(value.encode(), "client")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x" * 256,
        "a b",
        "a\tb",
        "\xe4",
        "\x7f",
        "\x00",
        '"a b',
        'a b"',
        '"a" b',
        r'"a \b"',
        '"a\tb c"',
        '"' + " " * 254 + '"',
    ],
)
def test_any_other_key_is_refused(value: str) -> None:
    """Everything else is a 400 that leaves the connection open."""
    with pytest.raises(Refusal) as caught:
        accepted(INJECT, request("POST", Idempotency_Key=value))
    assert (caught.value.status, caught.value.metric, caught.value.closes) == (400, "idempotency_key", False)


def test_a_route_without_idempotency_looks_at_no_key() -> None:
    """A route that is off neither checks, notes nor mints keys: they pass like any field."""
    off = route(idempotency=Idempotency.OFF)
    assert accepted(off, request("POST", Idempotency_Key="a b")) is None
    assert minted(off, request("POST"), "r1", WALL, Random(1)) is None


@pytest.mark.parametrize("idempotency", Idempotency)
@pytest.mark.parametrize("second", ["k1", "k2"])
def test_two_lines_are_no_key(idempotency: Idempotency, second: str) -> None:
    """RFC 9651 section 3.3: an item is one line. A backend could read either, so it is refused on every route."""
    asked = request("POST")
    asked.fields = Fields(((b"Idempotency-Key", b"k1"), (b"idempotency-key", second.encode())))
    with pytest.raises(Refusal, match="more than one Idempotency-Key line"):
        accepted(route(idempotency=idempotency), asked)


def test_no_key_was_sent() -> None:
    """Without the field there is nothing to accept."""
    assert accepted(INJECT, request("POST")) is None


def test_safe_requests_get_no_key() -> None:
    """Only what changes something needs one."""
    for method in ("GET", "HEAD", "OPTIONS"):
        assert minted(INJECT, request(method), "r1", WALL, Random(1)) is None
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert minted(INJECT, request(method), "r1", WALL, Random(1)) is not None


def test_a_minted_key_names_subject_operation_and_time() -> None:
    """`{subject}-{operation}-{unix ms}-{8 hex}`, as in the seed document, with a random tail."""
    key = mint("val_123", "create", WALL + 0.567, Random(1), quoted=False)
    assert re.fullmatch(rb"val_123-create-1765751234567-[0-9a-f]{8}", key.value)
    assert key.source == "minted"


def test_two_keys_of_one_millisecond_differ() -> None:
    """The random tail tells two principals of one subject apart."""
    random = Random(1)
    assert len({mint("r1", "create", WALL, random, quoted=False) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("subject", [None, "", "a b", "a/b", "x" * 129, "ä", 'a"b', "a\n"])
def test_without_a_safe_subject_the_key_is_a_uuid(subject: str | None) -> None:
    """A subject that could break out of a header, or is none, is not put into one."""
    key = mint(subject, "create", WALL, Random(1), quoted=False)
    assert UUID(key.value.decode()).version == 4


@pytest.mark.parametrize("subject", ["r1", None])
def test_a_quoted_upstream_gets_a_structured_string(subject: str | None) -> None:
    """The IETF draft's form is the bare one in double quotes."""
    bare = mint(subject, "create", WALL, Random(1), quoted=False)
    quoted = mint(subject, "create", WALL, Random(1), quoted=True)
    assert quoted.value == b'"' + bare.value + b'"'
