"""Refuse requests for other host names, which protects against DNS rebinding.

A page can read the responses of its own origin. An attacker's page has this listener as its origin if the attacker's
name resolves to this address. Such an origin has a name, so IP addresses, which probes and scrapers use, are always
accepted. Names without a dot (ICANN's SAC 053) belong to Services, containers or hosts files and are accepted for
programs. The status page and its events are for browsers. They require a known name, because a resolver may add a
domain to a name without a dot.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from proxy.http.authority import names_host

_ABSOLUTE = re.compile(r"[a-z]{1,8}://([^/?#]*)", re.IGNORECASE)
FOR_BROWSERS = frozenset({"/", "/events"})
LOOPBACK = "localhost"  # its subdomains are accepted too (RFC 6761 section 6.3)


class OwnNames:
    """The accepted names: the loopback's, the configured host, and `allowed_hosts`."""

    def __init__(self, configured: str, allowed: Iterable[str] = ()) -> None:
        self._names = frozenset(map(_plain, (LOOPBACK, configured, *allowed)))

    def refusal(self, hosts: Sequence[str], target: str, path: str, *, required: bool) -> tuple[int, str] | None:
        """Return status and sentence for a request without a host, or for another host.

        `hosts` are the values of the Host fields, `path` is the target's path. `required`: a Host field is required
        (RFC 9112 section 3.2).
        """
        authorities = _authorities(hosts, target)
        if not authorities and not required:
            return None
        if len(authorities) != 1 or not names_host(authorities[0].encode("utf-8", "surrogateescape")):
            return 400, "Send exactly one Host field, with the name or address of this listener."
        if self.include(authorities[0], dotless=path not in FOR_BROWSERS):
            return None
        return 421, f"This listener is not {authorities[0]!r}: use its address, or add the name to admin.allowed_hosts."

    def include(self, authority: str, *, dotless: bool) -> bool:
        """Tell whether a host, perhaps with a port, is accepted; `dotless` accepts any name without a dot."""
        host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
        name = _plain(host)
        if _is_address(host) or name in self._names or name.endswith(f".{LOOPBACK}"):
            return True
        return dotless and "." not in name


def _authorities(hosts: Sequence[str], target: str) -> Sequence[str]:
    """Return every authority in a request: the Host fields and that of an absolute target."""
    absolute = _ABSOLUTE.match(target)
    return hosts if absolute is None or absolute[1] in hosts else [*hosts, absolute[1]]


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
