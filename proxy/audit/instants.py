"""Parse times from users and queries into the format of the records, which sorts by time as text."""

import re
from datetime import UTC, datetime

from proxy.audit.chain import timestamp

_CURE = "write 2026-11-23T15:00:00Z, or an offset such as +01:00, whose + is %2B in a URL"
_DATE = r"[0-9]{4}(-?[0-9]{2}-?[0-9]{2}|-?W[0-9]{2}(-?[0-9])?)"
_ISO = re.compile(rf"{_DATE}([Tt ][0-9:.,]{{2,40}}([Zz]|[+-][0-9:]{{2,8}})?)?")
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def instant(text: str) -> str:
    """Return an ISO 8601 instant in the format of the records; the default offset is UTC, the default time midnight.

    An instant before year 1 or after year 9999 in UTC becomes the first or last one. Raise ValueError with the cure.
    """
    if _ISO.fullmatch(text) is None:  # datetime allows any separator, and so reads an offset as a time
        raise ValueError(f"{text[:64]!r} is not a time: {_CURE}")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError(f"{text!r} is not a time: {_CURE}") from None
    return _in_utc(moment).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant_or_age(text: str, now: float) -> str:
    """Return an instant, which may be an age before `now` (Unix seconds), such as 10m. Raise ValueError."""
    if ago := _AGO.fullmatch(text):
        return timestamp(max(0.0, now - int(ago[1]) * _UNITS[ago[2]]))
    try:
        return instant(text)
    except ValueError as error:
        raise ValueError(f"{error}; or 10m for ten minutes ago") from None


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == 1 else _LAST
