"""Serialise results for an external store. A value of another version is a miss; a damaged one is reported.

`version \n name \n length-of-the-document SP checksum-of-name-document-and-body \n document body`

The name is a digest of the key under which the value is stored. It detects a reply that belongs to another key.
"""

import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, TypeVar
from zlib import crc32

import orjson

from proxy.http.fields import Fields, Lines
from proxy.http.message import Failure, Framing, Response
from proxy.http.problems import Reason
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.response_cache import CachedResponse

MAX_VALUE = 262_144  # bytes of one response in a store: its body and its head have at most 65,536 each
T = TypeVar("T")

SUBJECT_BYTES = 160  # of version, name, sizes and the first member

_VERSION = b"backstay-3\n"
_NAME_BYTES = 40
_MARK = re.compile(rb"(mark:all|[01]:[0-9a-f]+)=")
_WRONG_SHAPE = (KeyError, TypeError, ValueError, AttributeError)  # raised for a document with unexpected members


class Damaged(Exception):  # noqa: N818 - a state, which each caller handles in its own way
    """A stored value has this version's header but not its format."""


def subject_name(subject: str) -> str:
    """Return the digest that marks a subject's values in an external store."""
    return blake2b(b"erase\0" + subject.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


def of_subject(subject: str | None) -> dict[str, Any]:
    """Return the first member of a subject's document, which is in the first `SUBJECT_BYTES` of a packed value."""
    return {} if subject is None else {"subject": subject_name(subject)}


def name_of(key: str) -> bytes:
    """Return the name of a value stored under `key`; "" is the key of a value inside another value."""
    return blake2b(key.encode(), digest_size=_NAME_BYTES // 2).hexdigest().encode()


def mark_name(key: str) -> bytes:
    """Return the beginning of this key's mark: the end of the key, which distinguishes it from other marks."""
    return b":".join(key.encode().split(b":")[-2:])


def names_another(key: str, value: bytes) -> bool:
    """Tell whether an undamaged value has the name of another key."""
    if value.startswith(_VERSION):
        name, *_ = value[len(_VERSION) :].split(b"\n", 1)
        return name != name_of(key) and _is_whole(value)
    mark = _MARK.match(value)
    return mark is not None and mark[1] != mark_name(key)


def head_names_another(key: str, head: bytes) -> bool:
    """Tell whether the first `SUBJECT_BYTES` of a value, damaged or not, have the name of another key."""
    return head.startswith(_VERSION) and not head.startswith(name_of(key), len(_VERSION))


def _is_whole(packed: bytes) -> bool:
    try:
        _split(packed)
    except Damaged:
        return False
    return True


def pack(document: dict[str, Any], body: bytes = b"", key: str = "") -> bytes:
    """Serialise a document and a body with the version of this format, to be stored under `key`."""
    head, name = orjson.dumps(document), name_of(key)
    checksum = crc32(body, crc32(head, crc32(name)))
    return b"%b%b\n%d %d\n%b%b" % (_VERSION, name, len(head), checksum, head, body)


def unpack(packed: bytes | None, key: str = "") -> tuple[dict[str, Any], bytes] | None:
    """Return document and body, None for no value or another version. Raise Damaged, also for another key's value."""
    if packed is None or not packed.startswith(_VERSION):
        return None
    name, size, rest = _split(packed)
    if name != name_of(key):
        raise Damaged("it names another key")
    try:
        document = orjson.loads(rest[:size])
    except ValueError as error:
        raise Damaged(str(error)) from None
    if not isinstance(document, dict):
        raise Damaged("it holds no JSON object")
    return document, rest[size:]


def _split(packed: bytes) -> tuple[bytes, int, bytes]:
    """Return the name, the length of the document, and document and body. Raise Damaged."""
    name, _, behind = packed[len(_VERSION) :].partition(b"\n")
    sizes, _, rest = behind.partition(b"\n")
    try:
        size, checksum = map(int, sizes.split(b" "))
    except ValueError as error:
        raise Damaged(str(error)) from None
    if crc32(rest, crc32(name)) != checksum:
        raise Damaged("the checksum differs")
    return name, size, rest


def pack_result(result: Result) -> bytes | None:
    """Serialise a result; return None for a streamed body."""
    outcome = result.outcome
    document: dict[str, Any] = {
        "recovery": result.recovery,
        "received_status": result.received_status,
        "error": result.error,
    }
    if isinstance(outcome, Failure):
        failure = {"reason": outcome.reason, "sent": outcome.sent, "detail": outcome.detail}
        return pack({**document, "failure": {**failure, "retry_after_s": outcome.retry_after_s}})
    if not isinstance(outcome.body, bytes):
        return None
    return pack({**document, "response": _head(outcome)}, outcome.body)


def unpack_result(packed: bytes | None) -> Result | None:
    """Return the deserialised result. Raise Damaged."""
    return _read(packed, _result, "")


def _read(packed: bytes | None, make: Callable[[dict[str, Any], bytes], T], key: str) -> T | None:
    """Return what `make` builds from document and body. Raise Damaged for another shape."""
    found = unpack(packed, key)
    try:
        return None if found is None else make(*found)
    except _WRONG_SHAPE as error:
        raise Damaged(f"{type(error).__name__}: {error}") from None


def _result(document: dict[str, Any], body: bytes) -> Result:
    recovery, error = document["recovery"], document["error"]
    return Result(
        _failure(document["failure"]) if "failure" in document else _response(document["response"], body),
        None if recovery is None else RecoveryKind(recovery),
        document["received_status"],
        None if error is None else Reason(error),
    )


def pack_cached(cached: CachedResponse, marks: list[str], key: str) -> bytes:
    """Serialise a cached response with the marks from before its request."""
    body = cached.response.body
    assert isinstance(body, bytes)
    document = {
        "response": _head(cached.response),
        "arrived": cached.arrived,
        "varied": cached.varied.hex(),
        "marks": marks,
    }
    return pack({**of_subject(cached.subject), **document}, body, key)


def unpack_cached(packed: bytes | None, stamp: int, key: str) -> tuple[CachedResponse, list[str]] | None:
    """Return a cached response with this process's current stamp, and its marks. Raise Damaged."""

    def cached(document: dict[str, Any], body: bytes) -> tuple[CachedResponse, list[str]]:
        response, varied = _response(document["response"], body), bytes.fromhex(document["varied"])
        return CachedResponse(response, document["arrived"], stamp, varied), document["marks"]

    return _read(packed, cached, key)


def _head(response: Response) -> dict[str, Any]:
    return {
        "status": response.status,
        "reason": response.reason.decode("latin-1"),
        "fields": _texts(response.fields.lines),
        "framing": response.framing.value,
        "trailers": _texts(response.trailers),
    }


def _response(head: dict[str, Any], body: bytes) -> Response:
    return Response(
        head["status"], head["reason"].encode("latin-1"), Fields(_lines(head["fields"])), body,
        Framing(head["framing"]), _lines(head["trailers"]),
    )  # fmt: skip


def _failure(document: dict[str, Any]) -> Failure:
    return Failure(Reason(document["reason"]), document["sent"], document["detail"], None, document["retry_after_s"])


def _texts(lines: Lines) -> list[tuple[str, str]]:
    """Return lines for JSON: Latin-1 represents every byte."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in lines]


def _lines(texts: list[list[str]]) -> Lines:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in texts)
