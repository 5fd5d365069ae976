"""Addresses to listen on and to connect to."""

import pytest

from proxy.config.addresses import Address, Tcp, Unix, is_host, parse_address, parse_upstream
from proxy.config.objections import Objection


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Tcp("0.0.0.0", 8080)),
        ("localhost:0", Tcp("localhost", 0)),
        ("[::1]:65535", Tcp("::1", 65535)),
        ("unix:/run/backstay.sock", Unix("/run/backstay.sock")),
    ],
)
def test_an_address_is_a_host_and_port_or_a_socket(text: str, address: Address) -> None:
    """Names, IPv4, IPv6 in brackets and sockets in the file system are addresses."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9000", "0.0.0.0:9000"),
        (":9000", "0.0.0.0:9000"),
        ("host", "host:8080"),
        ("http://h:1", "h:1"),
        ("[::1]", "[::1]:8080"),
    ],
)
def test_what_is_nearly_an_address_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    """A missing host or port, and a URL: the cure contains the written part."""
    with pytest.raises(Objection, match="is not an address") as refused:
        parse_address(text)
    assert refused.value.cure == f'"{meant}"'


@pytest.mark.parametrize(
    "text", ["host:", "::1:80", "host:65536", "unix:run", "h:1 ", "", "[:::]:80", "[a.b]:80", "a" * 5_000]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A port too high, bare IPv6 and other texts are refused with two examples."""
    with pytest.raises(Objection, match="is not an address") as refused:
        parse_address(text)
    assert refused.value.cure == '"0.0.0.0:8080" or "unix:/run/backstay.sock"'


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", Tcp("127.0.0.1", 8000)),
        ("http://backend", Tcp("backend", 80)),
        ("http://backend/", Tcp("backend", 80)),
        ("https://backend", Tcp("backend", 443)),
        ("http://[::1]", Tcp("::1", 80)),
        ("http://[::1]:8000", Tcp("::1", 8000)),
        ("unix:/run/app.sock", Unix("/run/app.sock")),
    ],
)
def test_an_upstream_is_an_origin(url: str, address: Address) -> None:
    """An origin with or without a port, or a socket, names an upstream."""
    assert parse_upstream(url) == address


@pytest.mark.parametrize(
    ("url", "message", "cure"),
    [
        ("http://b/api", '"http://b/api" has a path, but request targets are forwarded unchanged', '"http://b"'),
        ("b:80", '"b:80" is not the URL of an upstream', '"http://b:80"'),
        ("8001", '"8001" is not the URL of an upstream', '"http://127.0.0.1:8001"'),
        ("HTTPS://b", '"HTTPS://b" is not the URL of an upstream', '"https://b"'),
        ("http://", '"http://" is not the URL of an upstream', '"http://127.0.0.1:8000" or "unix:/run/app.sock"'),
        (
            "http://[1.2.3.4]:80",
            '"http://[1.2.3.4]:80" is not the URL of an upstream',
            '"http://127.0.0.1:8000" or "unix:/run/app.sock"',
        ),
        (
            "http://[::1",
            '"http://[::1" is not the URL of an upstream',
            '"http://127.0.0.1:8000" or "unix:/run/app.sock"',
        ),
    ],
)
def test_what_is_no_upstream_is_refused_with_a_cure(url: str, message: str, cure: str) -> None:
    """TLS, a path, a missing scheme and a missing host each say what to write."""
    with pytest.raises(Objection) as refused:
        parse_upstream(url)
    assert (refused.value.message, refused.value.cure) == (message, cure)


@pytest.mark.parametrize(
    ("text", "host"),
    [("a.b", True), ("a:80", True), ("[::1]", True), ("[:::]", False), ("a:65536", False), ("a/b", False), ("", False)],
)
def test_a_host_is_a_name_or_an_address(text: str, host: bool) -> None:
    """RFC 3986 section 3.2.2: what stands in brackets is an IPv6 address."""
    assert is_host(text) is host
