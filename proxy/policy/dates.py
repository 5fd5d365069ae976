"""The one way in which HTTP writes dates, and the two in which it did (RFC 9110 section 5.6.7)."""

from datetime import UTC
from email.utils import parsedate_to_datetime


def unix_seconds(value: bytes) -> float | None:
    """Return the Unix time that an HTTP-date names; None for what is none."""
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
    except (ValueError, OverflowError):  # the latter for a year or an offset beyond a C integer
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()  # the asctime form does not say that it is in UTC
