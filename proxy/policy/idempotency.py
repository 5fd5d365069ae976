"""Accept or mint one idempotency key for a flight, the same for every attempt."""

import re
import uuid
from typing import NamedTuple

from proxy.http.message import Request
from proxy.http.problems import Refusal
from proxy.policy.routing import Idempotency, Route
from proxy.runtime.random import RandomSource

_KEY_LIMIT = 255  # bytes
_BARE = re.compile(rb"[\x21-\x7e]+")
_QUOTED = re.compile(rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"')  # a string of RFC 9651 section 3.3.3
_SAFE_SUBJECT = re.compile(r"[A-Za-z0-9._~-]{1,128}")


class IdempotencyKey(NamedTuple):
    """A key as it is sent upstream, and its origin: `client` or `minted`."""

    value: bytes
    source: str


def accepted(route: Route, request: Request) -> IdempotencyKey | None:
    """Return the client's key unchanged. Raise Refusal if it is invalid.

    A key is 1 to 255 visible ASCII characters, with spaces only inside a quoted string. A second line is refused on
    every route: a backend could read either, and a request with an ambiguous key must not be retried.
    """
    fields = request.fields
    value = fields.get(b"idempotency-key")
    if value is None:
        return None
    if fields.repeats(b"idempotency-key"):
        raise _refused("there is more than one Idempotency-Key line; send one")
    if route.idempotency is Idempotency.OFF:
        return None
    if len(value) > _KEY_LIMIT or not (_BARE.fullmatch(value) or _QUOTED.fullmatch(value)):
        raise _refused(
            "Idempotency-Key must be 1 to 255 visible ASCII characters; spaces may only stand inside a quoted string"
        )
    return IdempotencyKey(value, "client")


def _refused(detail: str) -> Refusal:
    return Refusal(400, "idempotency_key", detail, closes=False)


def minted(
    route: Route, request: Request, subject: str | None, wall: float, random: RandomSource
) -> IdempotencyKey | None:
    """Return a new key for an unsafe request, if the route injects keys."""
    if request.safe or route.idempotency is Idempotency.OFF:
        return None
    return mint(subject, route.operation, wall, random, quoted=route.quoted_key)


def mint(subject: str | None, operation: str, wall: float, random: RandomSource, *, quoted: bool) -> IdempotencyKey:
    """Return `{subject}-{operation}-{unix ms}-{8 hex}`, or a UUID without a safe subject; never a payload's hash."""
    if subject is None or not _SAFE_SUBJECT.fullmatch(subject):
        value = str(uuid.UUID(int=random.getrandbits(128), version=4))
    else:
        value = f"{subject}-{operation}-{int(wall * 1000)}-{random.getrandbits(32):08x}"
    return IdempotencyKey(f'"{value}"'.encode() if quoted else value.encode(), "minted")
