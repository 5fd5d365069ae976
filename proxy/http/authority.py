"""Validate the authority of a Host field or a request target (RFC 9110 section 7.2, RFC 3986 section 3.2.2)."""

import re
from ipaddress import AddressValueError, IPv6Address

from proxy.http.numbers import saturated

_NAME = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=-]*(?:%[0-9A-Fa-f]{2}[A-Za-z0-9._~!$&'()*+,;=-]*)*")
_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]{2,45}")  # characters of an IPv6 address; a zone identifier is refused
_PORT_LIMIT = 65_535


def names_host(authority: bytes) -> bool:
    """Tell whether `authority` is a non-empty host with an optional port.

    An http URI with an empty host is invalid (RFC 9110 section 4.2.1). User information is refused.
    """
    if authority.startswith(b"["):
        address, bracket, port = authority[1:].partition(b"]")
        return bool(bracket) and _is_ipv6(address) and (not port or (port.startswith(b":") and _is_port(port[1:])))
    name, _, port = authority.partition(b":")
    return bool(name) and _NAME.fullmatch(name) is not None and _is_port(port)


def _is_port(port: bytes) -> bool:
    """Tell whether `port` is a port number or empty (RFC 3986 section 3.2.3)."""
    number = saturated(port)
    return not port or (number is not None and number <= _PORT_LIMIT)


def _is_ipv6(address: bytes) -> bool:
    if _ADDRESS.fullmatch(address) is None:
        return False
    try:
        IPv6Address(address.decode("ascii"))
    except AddressValueError:
        return False
    return True
