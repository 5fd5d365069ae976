"""Whom a request may be for. A page whose name points at this address is a stranger's (DNS rebinding): it is refused.

A browser lets such a page read what it gets from its own name. It cannot have an address for its name, so that
addresses are always ours: those of probes and scrapers are. Nor can it have a name without a dot (ICANN's SAC 053):
that is a Service, a container or a line of a hosts file. Programs ask by those. What is made for browsers, the status
page and its live figures, is for own names alone, for a resolver may add a domain to a name without a dot.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from proxy.http.authority import names_host

_ABSOLUTE = re.compile(r"[a-z]{1,8}://([^/?#]*)", re.IGNORECASE)
FOR_BROWSERS = frozenset({"/", "/events"})
LOOPBACK = "localhost"  # and all names below it (RFC 6761 section 6.3)


class OwnNames:
    """The names that the listener is asked by: the loopback's, the configured one, and those that a setting allows."""

    def __init__(self, configured: str, allowed: Iterable[str] = ()) -> None:
        self._names = frozenset(map(_plain, (LOOPBACK, configured, *allowed)))

    def refusal(self, hosts: Sequence[str], target: str, path: str, *, required: bool) -> tuple[int, str] | None:
        """Return the status and the sentence for a request that is for nobody, or for somebody else.

        `hosts` are the values of its Host fields, `path` is what its target leads to. `required`: one field there must
        be (RFC 9112 section 3.2).
        """
        asked = _asked(hosts, target)
        if not asked and not required:
            return None
        if len(asked) != 1 or not names_host(asked[0].encode("utf-8", "surrogateescape")):
            return 400, "Say in one Host field whom the request is for."
        if self.include(asked[0], dotless=path not in FOR_BROWSERS):
            return None
        return 421, f"This listener is not {asked[0]!r}: ask it by its address, or add the name to admin.allowed_hosts."

    def include(self, authority: str, *, dotless: bool) -> bool:
        """Tell whether a host, perhaps with a port, is one of ours; `dotless`: any name without a dot is."""
        host = authority[1:].partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
        name = _plain(host)
        if _is_address(host) or name in self._names or name.endswith(f".{LOOPBACK}"):
            return True
        return dotless and "." not in name


def _asked(hosts: Sequence[str], target: str) -> Sequence[str]:
    """Return every authority that a request names; an absolute target's counts beside the Host field."""
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
