"""The content of a row: what the memory of a process holds, packed as for any external store."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from proxy.policy.bounded import Holder
from proxy.policy.claim_rules import Orphaned, Settled
from proxy.policy.response_cache import CachedResponse
from proxy.store.disk.disk_changes import Row
from proxy.store.disk.index import Scopes
from proxy.store.packing import Damaged, pack, pack_cached, pack_result, unpack, unpack_cached, unpack_result

T = TypeVar("T")
_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class KeptResponse(NamedTuple):
    """A cached response as a row has it; `until` is wall time in seconds."""

    name: bytes
    cached: CachedResponse
    scopes: Scopes
    holder: Holder
    until: float


class KeptClaim(NamedTuple):
    """A used key as a row has it: settled, or left behind by a process that ended before it had the outcome."""

    name: bytes
    claim: str
    state: Settled | Orphaned
    holder: Holder
    until: float
    subject: bytes


class OpenMark(NamedTuple):
    """A write that was under way or in doubt: until `until` (wall time), or for `for_s` seconds from now."""

    scope: bytes
    until: float
    for_s: float


def response_content(kept: KeptResponse) -> bytes:
    """Return the content of a cached response's row."""
    scopes = kept.scopes
    document = {
        "writes": _hex(scopes.writes),
        "owners": _hex(scopes.owners),
        "route": scopes.route.hex(),
        "holder": _holder(kept.holder),
        "until": kept.until,
    }
    return pack(document, pack_cached(kept.cached._replace(subject=None), [], ""), kept.name.hex())


def read_response(row: Row, stamp: int) -> KeptResponse:
    """Return the cached response of a row. Raise Damaged."""

    def read(document: dict[str, Any], body: bytes) -> KeptResponse:
        found = unpack_cached(body, stamp, "")
        if found is None:
            raise Damaged("it has another version")
        scopes = Scopes(
            _digests(document["writes"]), _digests(document["owners"]), row.subject, bytes.fromhex(document["route"])
        )
        return KeptResponse(row.name, found[0], scopes, _held_by(document["holder"]), float(document["until"]))

    return _read(row, read)


def claim_content(kept: KeptClaim) -> bytes:
    """Return the content of a used key's row."""
    state = kept.state
    document = {
        "claim": kept.claim,
        "settled": isinstance(state, Settled),
        "fingerprint": state.fingerprint,
        "key": state.key,
        "holder": _holder(kept.holder),
        "until": kept.until,
    }
    packed = (state.result and pack_result(state.result)) or b"" if isinstance(state, Settled) else b""
    return pack(document, packed, kept.name.hex())


def read_claim(row: Row) -> KeptClaim:
    """Return the used key of a row; one that was not settled is orphaned. Raise Damaged."""

    def read(document: dict[str, Any], body: bytes) -> KeptClaim:
        fingerprint, key, until = str(document["fingerprint"]), str(document["key"]), float(document["until"])
        state: Settled | Orphaned = Orphaned(fingerprint, key, "")
        if document["settled"]:
            state = Settled(fingerprint, key, unpack_result(body or None), 0.0)
        return KeptClaim(row.name, str(document["claim"]), state, _held_by(document["holder"]), until, row.subject)

    return _read(row, read)


def mark_content(mark: OpenMark) -> bytes:
    """Return the content of a mark's row."""
    return pack({"until": str(mark.until), "for_s": mark.for_s}, key=mark.scope.hex())


def read_mark(row: Row) -> OpenMark:
    """Return the mark of a row. Raise Damaged."""
    return _read(row, lambda document, _: OpenMark(row.name, float(document["until"]), float(document["for_s"])))


def _read(row: Row, read: Callable[[dict[str, Any], bytes], T]) -> T:
    if row.content is None:
        raise Damaged("it cannot be decrypted where it stands")
    found = unpack(row.content, row.name.hex())
    if found is None:
        raise Damaged("it has another version")
    try:
        return read(*found)
    except _WRONG_SHAPE as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def _hex(digests: frozenset[bytes]) -> list[str]:
    return sorted(digest.hex() for digest in digests)


def _digests(texts: list[str]) -> frozenset[bytes]:
    return frozenset(map(bytes.fromhex, texts))


def _holder(holder: Holder) -> list[str]:
    return [holder.address, holder.caller.hex()]


def _held_by(texts: list[str]) -> Holder:
    return Holder(str(texts[0]), bytes.fromhex(texts[1]))
