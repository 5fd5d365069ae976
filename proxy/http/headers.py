"""Which fields cross from one leg to the other: all but hop-by-hop ones (RFC 9110 sections 7.6.1 and 6.5.1)."""

from proxy.http.fields import Fields, Lines

HOP_BY_HOP = frozenset(b"connection keep-alive proxy-connection te transfer-encoding upgrade".split())
# and X-Forwarded-*: kept where Connection lists them, against stripping attacks (departs from RFC 9110 section 7.6.1)
PROTECTED = frozenset(
    b"""host content-length content-type authorization cookie set-cookie cache-control forwarded x-real-ip
    x-correlation-id x-request-id idempotency-key traceparent tracestate date expect""".split()
)
_OFTEN_LISTED: dict[bytes | None, frozenset[bytes]] = {
    None: frozenset(),
    **{value: frozenset({value.lower()}) for value in (b"keep-alive", b"Keep-Alive", b"close", b"Close")},
}
_NO_TRAILER = HOP_BY_HOP | {b"trailer", b"content-encoding", b"content-range", b"te"}


def hop_only(fields: Fields, dropped: frozenset[bytes]) -> set[bytes]:
    """Return the names that do not cross: among `dropped`, hop-by-hop ones with them, or listed in Connection."""
    names = fields.keys() & dropped
    if b"connection" in fields:
        names |= fields.keys() & listed(fields)
    return names


def listed(fields: Fields) -> frozenset[bytes]:
    """Return the lower-case members of Connection, but for the protected names."""
    value = fields.get(b"connection")
    if value in _OFTEN_LISTED and len(fields) == len(fields.lines):
        return _OFTEN_LISTED[value]
    return frozenset([name for name in fields.tokens(b"connection") if not _is_protected(name)])


def _is_protected(name: bytes) -> bool:
    return name in PROTECTED or name.startswith(b"x-forwarded-")


def trailers_that_cross(lines: Lines) -> Lines:
    """Return the trailer lines that may follow a body: none that frames, routes or authenticates (RFC 9110 6.5.1)."""
    lowered = [(line[0].lower(), line) for line in lines]
    return tuple([line for name, line in lowered if name not in _NO_TRAILER and not _is_protected(name)])
