"""Read when the certificates of a PEM file expire: X.509 in DER, as far as the field `notAfter` (RFC 5280)."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION = 0xA0  # the tag of the optional first field
_VALIDITY = 3  # its place behind the serial number, the signature's algorithm and the issuer
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18


def first_expiry(pem: str) -> float | None:
    """Return when the first certificate of a chain expires, in seconds since 1970; None if there is none to read."""
    try:
        blocks = [part.partition(_END)[0] for part in pem.split(_BEGIN)[1:]]
        return min((_expiry(base64.b64decode(block)) for block in blocks), default=None)
    except (LookupError, ValueError):
        return None


def _expiry(der: bytes) -> float:
    (_, certificate), *_ = _items(der)
    (_, signed), *_ = _items(certificate)
    fields = list(_items(signed))
    _, validity = fields[_VALIDITY + (fields[0][0] == _VERSION)]
    _, (tag, not_after) = _items(validity)
    return _seconds(tag, not_after.decode("ascii"))


def _items(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:  # the low bits are the number of the length's own bytes
            length = der[at : at + (size & 0x7F)]
            size, at = int.from_bytes(length), at + len(length)
        yield tag, der[at : at + size]
        at += size


def _seconds(tag: int, text: str) -> float:
    """Return a time in seconds since 1970. Years of two digits are 1950 to 2049 (RFC 5280 section 4.1.2.5.1)."""
    if tag == _UTC_TIME:
        text = f"{'20' if text < '50' else '19'}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError(tag)
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
