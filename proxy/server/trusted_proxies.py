"""The client's address behind proxies that are trusted to name it."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from proxy.http.fields import Fields
from proxy.http.headers import FROM_TRUSTED_PROXY
from proxy.http.message import UNIX, Peer

_MOST_HOPS = 32  # addresses of proxies that are looked at; a client could name thousands
_LONGEST_HOP = 64  # characters; an IPv6 address with a zone and a port is shorter


def _without_port(hop: str) -> str:
    """Return the address in `192.0.2.1:443`, `[2001:db8::1]:443` or a plain address."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


class TrustedProxies:
    """Tell the client's address behind proxies that are trusted to name it.

    "unix" among them trusts whoever connects through a Unix socket: its file's mode says who can.
    """

    __slots__ = ("_networks", "_none", "_trusted", "_trusts_unix")

    def __init__(self, trusted: tuple[IPv4Network | IPv6Network | str, ...]) -> None:
        self._none = not trusted
        self._trusts_unix = "unix" in trusted
        self._networks = tuple(network for network in trusted if not isinstance(network, str))
        self._trusted = lru_cache(maxsize=1024)(self._is_trusted)

    def look(self, peer: Peer, fields: Fields) -> tuple[Fields, str, bytes]:
        """Return what may be believed of the fields, and then who `client` is."""
        if self._none:
            return fields, peer.address, b""
        fields = self.vetted(peer, fields)
        return fields, *self.client(peer, fields)

    def client(self, peer: Peer, fields: Fields) -> tuple[str, bytes]:
        """Return the right-most address of X-Forwarded-For that no trusted proxy has, or the peer's own.

        And the chain up to there, "" if none was told: proxies that are trusted to name the client name it alike,
        whichever way a request took through them, so the rest of the chain tells no two requests apart. Behind more
        than `_MOST_HOPS` trusted proxies the last of these counts as the client.
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
        """Return the fields without what nobody we trust said of the client; who trusts nobody by name passes all."""
        if self._none or self._trusts(peer) or FROM_TRUSTED_PROXY.isdisjoint(fields):
            return fields
        return fields.without(FROM_TRUSTED_PROXY)

    def _trusts(self, peer: Peer) -> bool:
        """Only a peer can be one through a socket: what a chain calls "unix" is a word that anybody can write."""
        return self._trusts_unix if peer.address == UNIX else self._trusted(peer.address)

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks if network.version == parsed.version)
