"""The control plane's listener. It shows everything and decides nothing; what changes or exports needs the token."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping

from aiohttp import web

from proxy.admin.answers import CONTROL, Handler, guarded, json, plainly, problem
from proxy.admin.control import ControlPlane
from proxy.admin.records import exported
from proxy.admin.snapshot import circuit_view, restoration_view
from proxy.admin.status import add_status
from proxy.errors import StartError
from proxy.observe.metrics import encode
from proxy.policy.breaker import CircuitBreaker, Mode

ACTIONS: Mapping[str, Callable[[CircuitBreaker, float], None]] = {
    "reset": lambda circuit, now: circuit.reset(now),
    "open": lambda circuit, now: circuit.force(Mode.FORCED_OPEN, now),
    "close": lambda circuit, now: circuit.force(Mode.FORCED_CLOSED, now),
    "auto": lambda circuit, now: circuit.force(Mode.AUTO, now),
}


async def _alive(request: web.Request) -> web.Response:
    return json({"status": "alive"})


async def _ready(request: web.Request) -> web.Response:
    if request.app[CONTROL].ready():
        return json({"status": "ready"})
    return problem(503, "The sidecar is starting or draining.")


async def _metrics(request: web.Request) -> web.Response:
    """Collect here, where the integers hold still (1 ms), and write them out in a thread (3 ms)."""
    families = request.app[CONTROL].metrics.collect()
    body, content_type = await asyncio.to_thread(encode, families, request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _stats(request: web.Request) -> web.Response:
    return json(request.app[CONTROL].statistics.summary())


async def _circuits(request: web.Request) -> web.Response:
    control = request.app[CONTROL]
    now = control.now()
    return json([circuit_view(circuit, now) for circuit in control.circuits.values()])


async def _move_circuit(request: web.Request) -> web.Response:
    control, name = request.app[CONTROL], request.match_info["name"]
    circuit = control.circuits.get(name)
    if circuit is None:
        return problem(404, f"No circuit is called {name!r}: there are {_listed(control.circuits)}.")
    now = control.now()
    ACTIONS[request.match_info["action"]](circuit, now)
    return json(circuit_view(circuit, now))


async def _switches(request: web.Request) -> web.Response:
    return json(dict(request.app[CONTROL].switches()))


async def _switch(request: web.Request) -> web.Response:
    control, name = request.app[CONTROL], request.match_info["name"]
    if name not in control.switches():
        return problem(404, f"No switch is called {name!r}: there are {_listed(control.switches())}.")
    control.switch(name, request.match_info["position"] == "on")
    return await _switches(request)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"


async def _drain(request: web.Request) -> web.Response:
    request.app[CONTROL].drain()
    return json({"status": "draining"}, status=202)


async def _forget(request: web.Request) -> web.Response:
    subject = request.query.get("subject")
    if not subject:
        return problem(400, "Say whose kept answers to drop: DELETE /kept?subject=...")
    request.app[CONTROL].forget(subject)
    return json({"subject": subject, "status": "dropped"})


async def _audit(request: web.Request) -> web.Response:
    """Copy the list here and select in a thread: ten thousand records as CSV take their time."""
    newest = tuple(request.app[CONTROL].newest)
    try:
        body, content_type = await asyncio.to_thread(exported, newest, request.query)
    except ValueError as error:
        return problem(400, str(error))
    return web.Response(body=body, content_type=content_type)


async def _restorations(request: web.Request) -> web.Response:
    control, subject = request.app[CONTROL], request.match_info["subject"]
    return json(restoration_view(subject, control.restorations.of(subject, control.now()), control.now()))


OPEN: tuple[tuple[str, Handler], ...] = (
    ("/healthz", _alive),
    ("/readyz", _ready),
    ("/metrics", _metrics),
    ("/stats", _stats),
    ("/circuits", _circuits),
    ("/switches", _switches),
)
GUARDED: tuple[tuple[str, str, Handler], ...] = (
    ("POST", f"/circuits/{{name}}/{{action:{'|'.join(ACTIONS)}}}", _move_circuit),
    ("POST", "/switches/{name}/{position:on|off}", _switch),
    ("POST", "/drain", _drain),
    ("DELETE", "/kept", _forget),
    ("GET", "/audit", _audit),
    ("GET", "/restorations/{subject:.+}", _restorations),
)


def application(control: ControlPlane) -> web.Application:
    """Return the aiohttp application over `control`."""
    app = web.Application(middlewares=[plainly])
    app[CONTROL] = control
    for path, handler in OPEN:
        app.router.add_get(path, handler)
    add_status(app)
    for method, path, handler in GUARDED:
        app.router.add_route(method, path, guarded(handler))
    return app


class AdminListener:
    """The open listener; `port` is the real one, also where 0 was asked for."""

    __slots__ = ("_runner", "host", "port")

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self.host = host
        self.port = port

    @property
    def url(self) -> str:
        """Return the address as a browser takes it."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def close(self) -> None:
        """Stop listening; what is being answered has a second to finish."""
        await self._runner.cleanup()


async def start_admin(control: ControlPlane, address: str) -> AdminListener:
    """Listen on `address`, "HOST:PORT"; raise StartError if that cannot be."""
    host, port = _parsed(address)
    runner = web.AppRunner(application(control), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise StartError(f"cannot listen on {address} (admin.address): {_reason(error)}") from error
    return AdminListener(runner, *runner.addresses[0][:2])


def _reason(error: OSError) -> str:
    """Return the system's own words (asyncio and uvloop wrap them); a name look-up numbers its errors for itself."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()


def _parsed(address: str) -> tuple[str, int]:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise StartError(f"cannot listen on {address} (admin.address): write HOST:PORT, such as 127.0.0.1:9901")
    return host.strip("[]"), int(port)
