"""The memory for addresses that clients name is bounded."""

from ipaddress import ip_network

from proxy.http.fields import Fields
from proxy.http.message import Peer
from proxy.server.trusted_proxies import TrustedProxies

PROXY = Peer("10.0.0.1", 1)


def test_the_memory_of_addresses_is_bounded() -> None:
    """1,024 short ones, whatever stands in X-Forwarded-For; what is no address is not remembered for its length."""
    trusted = TrustedProxies((ip_network("10.0.0.0/8"),))
    for number in range(2_000):
        trusted.look(
            PROXY,
            Fields(((b"X-Forwarded-For", b"192.0.2.%d, 10.%d.%d.1" % (number % 250, number // 250, number % 250)),)),
        )
        trusted.look(PROXY, Fields(((b"X-Forwarded-For", b"%d" % number + b"a" * 60_000),)))
    seen = trusted._trusted.cache_info()
    assert seen.currsize == seen.maxsize == 1024
    assert trusted.client(PROXY, Fields(((b"X-Forwarded-For", b"a" * 60_000),)))[0] == "a" * 64
