"""Steps 1 and 2: a request whose head is here gets its route, and a handler with that route's stages."""

from proxy.exchange.dry_run import DRY
from proxy.exchange.handler import RequestHandler
from proxy.exchange.pipeline import REAL, pipeline
from proxy.exchange.ports import Client, Ports
from proxy.exchange.state import Exchange
from proxy.http.message import Request


class HandlerFactory:
    """Makes a handler for each request. A reload makes a new factory; what is under way keeps its stages."""

    __slots__ = ("_dry_run", "_pipelines", "_router")

    def __init__(self, ports: Ports, *, dry_run: bool = False) -> None:
        """Build the stages of every route."""
        stages = DRY if dry_run else REAL
        self._dry_run = dry_run
        self._router = ports.router
        self._pipelines = {route.operation: pipeline(route, ports, stages) for route in ports.router.routes}

    def open(self, request: Request, client: Client) -> RequestHandler:
        """Return the handler of a request; its body may arrive until it runs, within its route's limits."""
        match = self._router.match(request)
        exchange = Exchange(request, client, match)
        if self._dry_run:
            exchange.would = []
        return RequestHandler(exchange, self._pipelines[match.route.operation])
