"""Credentials that apply to a connection instead of a request (RFC 4559 section 6)."""

from proxy.http.fields import Fields

_SCHEMES = (b"ntlm", b"negotiate")
_INITIALS = frozenset({b"", b"n", b"N", b" ", b"\t"})


def are_personal(fields: Fields, name: bytes) -> bool:
    """Tell whether a present field authenticates its connection, which other callers then must not use."""
    if fields[name][:1] not in _INITIALS and not fields.repeats(name):
        return False
    return any(value.lstrip().lower().startswith(_SCHEMES) for value in fields.all(name))
