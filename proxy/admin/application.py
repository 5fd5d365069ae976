"""The handlers of the control plane. They contain no rules. Changes and exports require the admin token."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from json import dumps

from aiohttp import web

from proxy.admin.control import ControlPlane
from proxy.admin.endpoints import ENDPOINTS
from proxy.admin.hosts import OwnNames
from proxy.admin.records import exported
from proxy.admin.responses import (
    CONTROL,
    NAMES,
    Handler,
    found,
    guarded,
    json,
    named,
    plainly,
    problem,
)
from proxy.admin.snapshot import circuit_view, restoration_view
from proxy.admin.status import add_status
from proxy.config.effective import EffectiveSetting
from proxy.observe.metrics import encode, process_families
from proxy.policy.breaker import CircuitBreaker, CircuitMode

ACTIONS: Mapping[str, Callable[[CircuitBreaker, float], None]] = {
    "reset": lambda circuit, now: circuit.reset(now),
    "open": lambda circuit, now: circuit.force(CircuitMode.FORCED_OPEN, now),
    "close": lambda circuit, now: circuit.force(CircuitMode.FORCED_CLOSED, now),
    "auto": lambda circuit, now: circuit.force(CircuitMode.AUTO, now),
}

_STORE_AWAY = (
    "Only what this process holds is erased: the store (store.url) could not be reached or refused it. "
    "Repeat the call when backstay_store_up is 1."
)


async def _alive(request: web.Request) -> web.Response:
    return json({"status": "alive"})


async def _ready(request: web.Request) -> web.Response:
    if request.app[CONTROL].ready():
        return json({"status": "ready"})
    return problem(503, "The sidecar is starting or draining.")


async def _metrics(request: web.Request) -> web.Response:
    """Collect on the loop, where the integers are consistent (1 ms), and encode in a thread (3 ms)."""
    families = request.app[CONTROL].metrics.collect()
    accept = request.headers.get("Accept", "")
    body, content_type = await asyncio.to_thread(lambda: encode([*families, *process_families()], accept))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def _stats(request: web.Request) -> web.Response:
    return json(request.app[CONTROL].statistics.summary())


async def _circuits(request: web.Request) -> web.Response:
    control = request.app[CONTROL]
    now = control.now()
    return json([circuit_view(circuit, now) for circuit in control.shown_circuits])


async def _move_circuit(request: web.Request) -> web.Response:
    control, name = request.app[CONTROL], request.match_info["name"]
    found = control.circuits_of(name)
    if not found:
        known = {**control.circuits, **(control.route_circuits if ":" in name else {})}
        return problem(404, f"No circuit is called {name!r}: there are {_listed(known)}.")
    now, action = control.now(), request.match_info["action"]
    for circuit in found if action == "reset" else found[:1]:
        ACTIONS[action](circuit, now)
    return json(circuit_view(found[0], now))


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


async def _erase(request: web.Request) -> web.Response:
    subject = request.query.get("subject")
    if not subject:
        return problem(400, "Name the subject whose responses to erase: DELETE /kept?subject=...")
    erased = await request.app[CONTROL].erase(subject)
    if not erased.complete:
        return problem(503, _STORE_AWAY)
    counts = {"cached": erased.cached, "idempotent": erased.idempotent, "restorations": erased.restorations}
    return json({"subject": subject, "status": "dropped", **counts})


async def _audit(request: web.Request) -> web.Response:
    """Copy the list here and select in a thread: ten thousand records as CSV take long."""
    control = request.app[CONTROL]
    newest, default = tuple(control.newest), control.export_format()
    try:
        body, content_type = await asyncio.to_thread(exported, newest, request.query, default)
    except ValueError as error:
        return problem(400, str(error))
    return web.Response(body=body, content_type=content_type)


async def _config(request: web.Request) -> web.Response:
    """List the settings in a thread: thousands of routes take seconds."""
    settings = request.app[CONTROL].config()
    return web.Response(body=await asyncio.to_thread(_described, settings), content_type="application/json")


def _described(settings: Iterable[EffectiveSetting]) -> bytes:
    """Encode with the standard library: a fallback may contain an integer of more than 64 bits."""
    return dumps({"settings": [each.described() for each in settings]}, ensure_ascii=False).encode()


async def _restorations(request: web.Request) -> web.Response:
    control, subject = request.app[CONTROL], request.match_info["subject"]
    return json(restoration_view(subject, control.restorations.of(subject, control.now()), control.now()))


HANDLERS: Mapping[str, Handler] = {
    "/healthz": _alive,
    "/readyz": _ready,
    "/metrics": _metrics,
    "/stats": _stats,
    "/circuits": _circuits,
    "/switches": _switches,
    "/circuits/{name}/{action}": _move_circuit,
    "/switches/{name}/{position}": _switch,
    "/drain": _drain,
    "/kept": _erase,
    "/audit": _audit,
    "/config": _config,
    "/restorations/{subject}": _restorations,
}


def application(control: ControlPlane, names: OwnNames | None, max_viewers: int) -> web.Application:
    """Return the aiohttp application over `control`. `names` None accepts any host: no browser can connect."""
    app = web.Application(middlewares=[plainly, named, found])
    app[CONTROL], app[NAMES] = control, names
    for endpoint in ENDPOINTS:
        handler = HANDLERS[endpoint.place]
        if endpoint.guarded:
            app.router.add_route(endpoint.method, endpoint.path, guarded(handler))
        else:
            app.router.add_get(endpoint.path, handler)
    add_status(app, max_viewers)
    return app
