"""Forwarding fields for the upstream: Via, X-Forwarded-*, Forwarded (RFC 9110 section 7.6.3, RFC 7239)."""

from dataclasses import dataclass

from proxy.http.fields import Fields, Lines
from proxy.http.message import UNIX, Peer, Request


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The fields to add. `style` is x-forwarded, forwarded, both or off."""

    via: bool
    style: str

    def lines(self, request: Request) -> Lines:
        """Return the field lines to add to a forwarded request, with its own X-Forwarded-For merged in."""
        peer, fields = request.peer, request.fields
        added: list[tuple[bytes, bytes]] = []
        if self.via:
            added.append((b"Via", b"1.%d backstay" % request.minor))
        if self.style in ("x-forwarded", "both"):
            added += _addresses(fields, peer)
            if b"x-forwarded-proto" not in fields:
                added.append((b"X-Forwarded-Proto", peer.scheme.encode()))
            if b"x-forwarded-host" not in fields and request.authority:
                added.append((b"X-Forwarded-Host", request.authority))
        if self.style in ("forwarded", "both"):
            added.append((b"Forwarded", _forwarded(fields, _element(peer, request.authority))))
        return tuple(added)

    @property
    def replaced(self) -> frozenset[bytes]:
        """Return the lower-case names that `lines` continues: the client's own lines are not forwarded."""
        names: set[bytes] = set()
        if self.style in ("x-forwarded", "both"):
            names.add(b"x-forwarded-for")
        if self.style in ("forwarded", "both"):
            names.add(b"forwarded")
        return frozenset(names)


def _addresses(fields: Fields, peer: Peer) -> Lines:
    """Return X-Forwarded-For. A peer without an address adds none, and the received value is kept."""
    if peer.address != UNIX:
        return ((b"X-Forwarded-For", _appended(fields, b"x-forwarded-for", peer.address.encode())),)
    came = fields.all(b"x-forwarded-for")
    return ((b"X-Forwarded-For", b", ".join(came)),) if came else ()


def _appended(fields: Fields, name: bytes, value: bytes) -> bytes:
    return b", ".join([*fields.all(name), value]) if name in fields else value


def _forwarded(fields: Fields, element: bytes) -> bytes:
    """Append to the received value, unless it has an unterminated quotation, which would swallow the element."""
    came = b", ".join(fields.all(b"forwarded"))
    quotes = came.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"')
    return element if not came or quotes % 2 else came + b", " + element


def _element(peer: Peer, authority: bytes) -> bytes:
    """Return one forwarded-element; the node is `unknown` without an address (RFC 7239 sections 4 and 6.2)."""
    address = peer.address
    if not address or address == UNIX:
        address = "unknown"
    elif ":" in address:
        address = f'"[{address.partition("%")[0]}]"'
    host = b';host="%b"' % authority if authority else b""
    return f"for={address};proto={peer.scheme}".encode() + host
