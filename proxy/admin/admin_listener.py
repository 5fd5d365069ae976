"""The control plane's listener: its own port or Unix socket, with reserved file descriptors."""

import asyncio
import socket
from contextlib import suppress

from aiohttp import web

from proxy.admin.application import application
from proxy.admin.connections import AdminConnection, AdminConnections
from proxy.admin.control import ControlPlane
from proxy.admin.hosts import OwnNames
from proxy.admin.read_ahead import ReadAhead
from proxy.admin.responses import raw_problem
from proxy.config.settings import Admin
from proxy.errors import StartError
from proxy.server.acceptor import Acceptor
from proxy.server.endpoint import Endpoint, file_mode
from proxy.transport.descriptors import accept_from_share

SHUTDOWN_S = 1.0  # seconds for running requests


class AdminListener:
    """One listen address, until `close`."""

    __slots__ = ("_acceptors", "_beginning", "_connections", "_endpoint", "_runner")

    def __init__(self, endpoint: Endpoint, connections: AdminConnections, runner: web.AppRunner) -> None:
        self._endpoint = endpoint
        self._connections = connections
        self._runner = runner
        self._acceptors: list[Acceptor] = []
        self._beginning: set[asyncio.Task[object]] = set()  # accepted connections that have no protocol yet

    async def open(self) -> None:
        """Start listening. Raise StartError."""
        self._acceptors = [Acceptor(door, self._take, accept_from_share) for door in await self._endpoint.open()]

    @property
    def url(self) -> str:
        """Return the URL for a browser."""
        return self._endpoint.url("http")

    @property
    def port(self) -> int:
        """Return the bound port, also if 0 was configured; 0 for a Unix socket."""
        return self._endpoint.port

    def sweep(self, now: float) -> None:
        """Apply all timeouts at `now`, in the loop's time."""
        self._connections.sweep(now)

    def _take(self, visitor: socket.socket) -> None:
        if not self._connections.make_room(len(self._beginning)):
            with suppress(OSError):  # the client has left or reads nothing
                visitor.send(raw_problem(503, "The admin listener has too many requests; try again shortly."))
            visitor.close()
            return
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(loop.connect_accepted_socket(self._connection, visitor))
        self._beginning.add(task)
        task.add_done_callback(self._began)

    def _connection(self) -> ReadAhead:
        server = self._runner.server
        assert server is not None
        reader = AdminConnection(server, self._connections).reader
        assert reader is not None
        return reader

    def _began(self, task: "asyncio.Task[object]") -> None:
        self._beginning.discard(task)
        if not task.cancelled():
            task.exception()  # the client has left

    async def close(self) -> None:
        """Stop listening; running requests have a second to finish. A response that nobody reads is cut."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._endpoint.remove()
        await self._runner.cleanup()
        self._connections.abort()


async def start_admin(control: ControlPlane, settings: Admin) -> AdminListener:
    """Listen on the address of the settings. Raise StartError."""
    endpoint = Endpoint(settings.address, "admin.address", file_mode(settings.socket_mode))
    names = None if endpoint.host is None else OwnNames(endpoint.host, settings.allowed_hosts)
    answers = application(control, names, settings.max_viewers)
    runner = web.AppRunner(answers, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    listener = AdminListener(endpoint, AdminConnections(settings, asyncio.get_running_loop().time()), runner)
    try:
        await listener.open()
    except StartError:
        await runner.cleanup()
        raise
    return listener
