"""Read the decimal numbers of HTTP fields, which may have any number of digits (1*DIGIT)."""

from typing import Final

LARGEST: Final = 2**31  # the value of any greater number (RFC 9111 section 1.2.2)
_SHORT: Final = 9  # digits; a number with so few is always less than LARGEST


def saturated(value: bytes) -> int | None:
    """Return the number in a field value, at most LARGEST; None if it has anything but digits."""
    if not value.isdigit():
        return None
    digits = value if len(value) <= _SHORT else value.lstrip(b"0")
    if len(digits) > _SHORT + 1:
        return LARGEST
    return min(int(digits or b"0"), LARGEST)
