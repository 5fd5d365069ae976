"""Steps 1 and 2: choose the route of a request with a complete head, and make a handler with its stages."""

from proxy.exchange.dry_run import DRY
from proxy.exchange.handler import RequestHandler
from proxy.exchange.pipeline import REAL, pipeline
from proxy.exchange.ports import Client, Ports
from proxy.exchange.state import Exchange
from proxy.http.message import Request


class HandlerFactory:
    """Make a handler for each request. A reload makes a new factory; running requests keep their stages."""

    __slots__ = ("_dry_run", "_pipelines", "_router")

    def __init__(self, ports: Ports, *, dry_run: bool) -> None:
        """Build the stages of every route."""
        stages = DRY if dry_run else REAL
        self._dry_run = dry_run
        self._router = ports.router
        self._pipelines = {route.operation: pipeline(route, ports, stages) for route in ports.router.routes}

    def open(self, request: Request, client: Client) -> RequestHandler:
        """Return the handler of a request, whose body may still arrive, within the route's limits."""
        match = self._router.match(request)
        exchange = Exchange(request, client, match)
        if self._dry_run:
            exchange.would = []
        return RequestHandler(exchange, self._pipelines[match.route.operation])
