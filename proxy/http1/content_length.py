"""Read Content-Length (RFC 9110 section 8.6): one number of any length, which no conversion may overflow."""

from typing import Final

from proxy.http.fields import Fields
from proxy.http.problems import Refusal

_NAME: Final = b"content-length"
_DIGITS: Final = 18  # of the largest body, in bytes: what a signed integer of 64 bits holds


def body_length(values: list[bytes]) -> int:
    """Return the length in bytes. Raise Refusal if it is not one number, or larger than any body."""
    if len(values) > 1 or not values[0].isdigit():
        raise Refusal(400, "malformed", "Content-Length must be one number")
    digits = values[0] if len(values[0]) <= _DIGITS else values[0].lstrip(b"0")
    if len(digits) > _DIGITS:
        raise Refusal(400, "malformed", "Content-Length is larger than any body")
    return int(digits or b"0")


def without_zeros(fields: Fields) -> Fields:
    """Return the fields with a Content-Length that has no leading zeros: the next reader may limit its digits."""
    value = fields[_NAME]
    if len(value) == 1 or not value.startswith(b"0") or not value.isdigit() or fields.repeats(_NAME):
        return fields
    return fields.with_line(b"Content-Length", value.lstrip(b"0") or b"0")


def made_one(fields: Fields) -> Fields:
    """Return the fields with one Content-Length if a backend repeated the same value, without leading zeros."""
    value = fields[_NAME]
    if value.isdigit() and not fields.repeats(_NAME):
        return without_zeros(fields) if value.startswith(b"0") else fields
    members = [member.strip(b" \t") for line in fields.all(_NAME) for member in line.split(b",")]
    return without_zeros(fields.with_line(b"Content-Length", members[0])) if len(set(members)) == 1 else fields
