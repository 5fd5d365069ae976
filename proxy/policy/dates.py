"""Parse HTTP dates in the current form and the two obsolete ones (RFC 9110 section 5.6.7)."""

from datetime import UTC
from email.utils import parsedate_to_datetime


def unix_seconds(value: bytes) -> float | None:
    """Return the Unix time of an HTTP-date; None if it is invalid."""
    try:
        date = parsedate_to_datetime(value.decode("latin-1"))
    except (ValueError, OverflowError):  # OverflowError for a year or an offset beyond a C integer
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()  # the asctime form has no time zone; it is UTC
