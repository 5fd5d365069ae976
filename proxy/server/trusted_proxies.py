"""Find the client's address behind trusted proxies."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from proxy.http.fields import Fields
from proxy.http.headers import FROM_TRUSTED_PROXY
from proxy.http.message import UNIX, Peer

_MOST_HOPS = 32  # addresses that are checked; a client could send thousands
_LONGEST_HOP = 64  # characters; an IPv6 address with a zone and a port is shorter


def _without_port(hop: str) -> str:
    """Return the address in `192.0.2.1:443`, `[2001:db8::1]:443` or a plain address."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


class TrustedProxies:
    """Find the client's address behind trusted proxies.

    "unix" trusts every client of a Unix socket: the mode of its file limits who can connect.
    """

    __slots__ = ("_networks", "_none", "_trusted", "_trusts_unix")

    def __init__(self, trusted: tuple[IPv4Network | IPv6Network | str, ...]) -> None:
        self._none = not trusted
        self._trusts_unix = "unix" in trusted
        self._networks = tuple(network for network in trusted if not isinstance(network, str))
        self._trusted = lru_cache(maxsize=1024)(self._is_trusted)

    def look(self, peer: Peer, fields: Fields) -> tuple[Fields, str, bytes]:
        """Return the trustworthy fields and the result of `client`."""
        if self._none:
            return fields, peer.address, b""
        fields = self.vetted(peer, fields)
        return fields, *self.client(peer, fields)

    def client(self, peer: Peer, fields: Fields) -> tuple[str, bytes]:
        """Return the right-most untrusted address of X-Forwarded-For, or the peer's, and the chain up to it.

        Trusted proxies report the same client on every path through them, so the rest of the chain does not
        distinguish requests. With more than `_MOST_HOPS` trusted proxies the last of these is the client.
        """
        address = peer.address
        if self._none or b"x-forwarded-for" not in fields or not self._trusts(peer):
            return address, b""
        chain = b",".join(fields.all(b"x-forwarded-for"))
        hops = [hop.strip() for hop in chain.rsplit(b",", _MOST_HOPS)]
        at, first = len(hops), len(hops) - _MOST_HOPS if len(hops) > _MOST_HOPS else 0
        while at > first:
            at -= 1
            address = _without_port(hops[at].decode("latin-1"))
            if len(address) > _LONGEST_HOP or not self._trusted(address):
                break
        return address[:64], b",".join((*hops[:at], address.encode("latin-1")))

    def vetted(self, peer: Peer, fields: Fields) -> Fields:
        """Return the fields without forwarding fields of an untrusted peer; without trusted proxies return all."""
        if self._none or self._trusts(peer) or FROM_TRUSTED_PROXY.isdisjoint(fields):
            return fields
        return fields.without(FROM_TRUSTED_PROXY)

    def _trusts(self, peer: Peer) -> bool:
        """Tell whether the peer is trusted. Only a peer can match "unix": in a field any client could write it."""
        return self._trusts_unix if peer.address == UNIX else self._trusted(peer.address)

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks if network.version == parsed.version)
