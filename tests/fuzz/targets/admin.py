"""The admin listener: any bytes get a response or an end, and nothing changes without the token."""

import asyncio
import re
from collections.abc import Hashable
from functools import cache

from proxy.admin.admin_listener import AdminListener, start_admin
from tests.fuzz.target import Target
from tests.settings import admin_settings
from tests.unit.admin.sidecar import TOKEN, Sidecar
from tests.unit.audit.samples import chained

PATIENCE_S = 30.0
WORDS = (
    b"GET ", b"POST ", b"DELETE ", b"PUT ", b"OPTIONS ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: a\r\n",
    b"Host: 127.0.0.1\r\n", b"\n", b"\n\n",
    b"\r\n\r\n", b"/", b"/healthz", b"/readyz", b"/metrics", b"/stats", b"/circuits", b"/circuits/sessions/open",
    b"/switches/retries/off", b"/drain", b"/kept?subject=a", b"/audit?format=csv&limit=1", b"/audit?failures=1",
    b"/restorations/r1", b"/status", b"%2f", b"%00", b"%ff", b"..", b"?", b"&", b"=", b"limit=", b"since=", b"until=",
    b"\nAuthorization: Bearer open-sesame\n", b"\nAuthorization: Bearer x\n", b"Content-Length: 3\r\n\r\nabc",
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"Accept: text/html\r\n", b"Connection: close\r\n", b"\0", b"\xff",
)  # fmt: skip


class Scene:
    """A control plane that listens, on a loop of its own."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.sidecar = Sidecar()
        self.listener: AdminListener = self.runner.run(self._start())

    async def _start(self) -> AdminListener:
        self.sidecar.newest.extend(chained(2))
        return await start_admin(self.sidecar.control(), admin_settings())

    def ask(self, data: bytes, *, ends: bool) -> bytes:
        """Return everything that comes back; `ends`: nothing more is said, so whatever is unfinished stays so."""
        return self.runner.run(self._ask(data, ends=ends))

    async def _ask(self, data: bytes, *, ends: bool) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(self.listener.url.rpartition(":")[2]))
            try:
                writer.write(data)
                if ends:
                    writer.write_eof()
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

    def changed(self) -> object:
        """Return what only the token may change."""
        circuits = tuple(repr(circuit) for circuit in self.sidecar.circuits.values())
        return self.sidecar.draining, tuple(self.sidecar.erased), tuple(self.sidecar.switches.items()), circuits


@cache
def scene() -> Scene:
    """Open the scene, once."""
    return Scene()


def check(data: bytes) -> Hashable:
    """Check what comes back: for a whole request made of these bytes, or for the bytes themselves."""
    stage = scene()
    before = stage.changed()
    raw = data.startswith(b"\0")
    said = stage.ask(data[1:], ends=True) if raw else stage.ask(whole(data), ends=False)
    statuses = tuple(int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3})", said, re.MULTILINE))
    assert raw or statuses, data
    assert 500 not in statuses, said
    assert b"Traceback" not in said
    if TOKEN.encode() not in data:
        assert stage.changed() == before
        assert TOKEN.encode() not in said
    assert b"alive" in stage.ask(whole(b"GET /healthz"), ends=False)
    return raw or statuses


def whole(data: bytes) -> bytes:
    """Return a request that is framed: its first line from the data, its fields, and a body after an empty line."""
    head, _, body = data.partition(b"\n\n")
    start, *lines = head.split(b"\n")
    framing = (b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"host")
    kept = [line for line in lines if not line.lower().startswith(framing)]
    own = b"Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d" % len(body)
    return b"\r\n".join((b" ".join(start.split()[:2]) + b" HTTP/1.1", *kept, own, b"", body))


TARGETS = (
    Target(
        "admin", check, WORDS, tuple(
            b"%b\nAuthorization: Bearer open-sesame" % line
            for line in (b"GET /circuits", b"POST /circuits/sessions/open", b"DELETE /kept?subject=a", b"GET /audit")
        )
    ),
)  # fmt: skip
