"""Targets, field lines and bodies are forwarded unchanged, both ways."""

import pytest

from tests.wire.kit import Wire

OK = b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nhi"

TARGETS = [
    b"/", b"/a%2fb", b"/%2e%2e/x", b"//evil.example/x", b"/a;b=c", b"/a+b", b"/%zz", b"/x?", b"/x??a=b?", b"/[x]",
    b"/a\\b", b"/../../etc/passwd", b"/a//b/", b"/x?q=%00&r=[]{}|^`\"<>", b"/'()*,!$&=@:~",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
async def test_a_target_crosses_byte_for_byte(wire: Wire, target: bytes) -> None:
    """Nothing is decoded, normalised or quoted anew, and no target changes whom is asked."""
    client, backend, asked = await wire.asked(b"GET " + target + b" HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert asked.start == b"GET " + target + b" HTTP/1.1"
    assert asked.get(b"host") == b"shop.example"
    await backend.send(OK)
    assert (await client.message()).body == b"hi"
