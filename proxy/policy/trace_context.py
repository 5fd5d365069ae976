"""Parse `traceparent` and `tracestate` (W3C Trace Context, level 2)."""

from typing import NamedTuple

from proxy.http.fields import Fields
from proxy.http.headers import TRACE_CONTEXT

SAMPLED = 1
RANDOM = 2  # the last seven bytes of the trace id are random
KNOWN_FLAGS = SAMPLED | RANDOM  # section 3.2.2.5: all others are sent as zero

_LENGTH = 55  # of version 00, and the minimum of later versions
_HEX = b"0123456789abcdef"
_MAX_MEMBERS = 32
_MAX_COMMAS = 127
_MAX_TEXT = 256  # characters of a key and of a value
_KEY_START = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789")
_KEY = b"abcdefghijklmnopqrstuvwxyz0123456789_-*/@"
_VALUE = bytes(code for code in range(0x20, 0x7F) if code not in b",=")


class Parent(NamedTuple):
    """The caller's span: trace id and span id in lower-case hexadecimal, and its flags."""

    trace_id: str
    span_id: str
    flags: int


def vetted(fields: Fields) -> tuple[Fields, Parent | None]:
    """Return the fields without invalid trace context, and the caller's span.

    Without exactly one valid `traceparent` both fields are removed; an invalid `tracestate` is removed alone. Several
    lines of `tracestate` are joined in order.
    """
    parent = None if fields.repeats(b"traceparent") else parse(fields.get(b"traceparent", b""))
    if parent is None:
        return fields.without(TRACE_CONTEXT), None
    if b"tracestate" not in fields:
        return fields, parent
    lines = fields.all(b"tracestate")
    state = b",".join([line for line in lines if line])
    if not _is_state(state):
        return fields.without((b"tracestate",)), parent
    return fields if len(lines) == 1 else fields.with_line(b"tracestate", state), parent


def parse(traceparent: bytes) -> Parent | None:
    """Return the span of a `traceparent`, None if it is invalid (section 3.2).

    A later version may have more members after the flags (section 3.2.4); version ff and zero ids are invalid.
    """
    parts = traceparent[: _LENGTH + 1].split(b"-")
    if len(traceparent) < _LENGTH or [len(part) for part in parts[:4]] != [2, 32, 16, 2]:
        return None
    version, trace_id, span_id, flags = parts[:4]
    if (
        b"".join(parts[:4]).translate(None, _HEX)
        or version == b"ff"
        or not (trace_id.strip(b"0") and span_id.strip(b"0"))
    ):
        return None
    if version == b"00" and len(traceparent) > _LENGTH:
        return None
    return Parent(trace_id.decode("ascii"), span_id.decode("ascii"), int(flags, 16) & KNOWN_FLAGS)


def _is_state(state: bytes) -> bool:
    """Tell whether a joined `tracestate` has 1 to 32 members with distinct keys (section 3.3).

    Empty members are allowed and not counted (RFC 9110 section 5.6.1.2).
    """
    if state.count(b",") > _MAX_COMMAS:
        return False
    members = [member for member in (part.strip(b" \t") for part in state.split(b",")) if member]
    if not 0 < len(members) <= _MAX_MEMBERS:
        return False
    pairs = [member.partition(b"=") for member in members]
    return len({key for key, _, _ in pairs}) == len(pairs) and all(
        _is_key(key) and _is_value(value) for key, _, value in pairs
    )


def _is_key(key: bytes) -> bool:
    return 0 < len(key) <= _MAX_TEXT and key[0] in _KEY_START and not key.translate(None, _KEY)


def _is_value(value: bytes) -> bool:
    return 0 < len(value) <= _MAX_TEXT and not value.translate(None, _VALUE)
