"""The composition root: it starts, reloads, drains and stops the sidecar, and holds nothing else."""

import asyncio
import os
from collections.abc import Callable
from random import Random, SystemRandom

import structlog

from proxy.admin.control import ControlPlane
from proxy.admin.listener import AdminListener, start_admin
from proxy.admin.rules import AdminRules
from proxy.assembly import Assembly
from proxy.books import books
from proxy.clock import Clock, SystemClock
from proxy.config.load import read_token
from proxy.config.problems import ConfigError
from proxy.config.settings import Settings
from proxy.errors import Refusal, StartError
from proxy.exchange.handler import RequestHandler
from proxy.exchange.handler_factory import HandlerFactory
from proxy.memory import MemoryBudget, budget_of
from proxy.message import Peer, Request
from proxy.observe.logging import Throttle
from proxy.observe.metrics import Metrics, Sources
from proxy.observe.minutely import Minutely
from proxy.observe.observer import Observer
from proxy.observe.statistics import Statistics
from proxy.observe.targets import TargetLog
from proxy.observe.traces import start_tracing
from proxy.parts import Client
from proxy.policy.breaker import CircuitBreaker, State
from proxy.policy.coalescing import Flights
from proxy.policy.retry import RetryPolicy
from proxy.store.opening import open_shelf
from proxy.threads import in_daemon_thread
from proxy.wire.downstream import Downstream
from proxy.wire.endpoint import Endpoint, file_mode
from proxy.wire.forwarding import TrustedProxies
from proxy.wire.gate import Gate
from proxy.wire.handshakes import HandshakeRules
from proxy.wire.heads import HeadLimits
from proxy.wire.listener import Listener
from proxy.wire.rules import GateRules
from proxy.wire.tls import NO_FILES, TlsFiles, client_context, renew, server_context

TARGETS_EVERY_S = 10.0  # an operation's missed targets are logged this often at the most
DRAIN_STEP_S = 0.02  # how often a drain looks whether it is over
SWEEP_S = 0.25  # the coarse clock of all connections
SUSPENDED_S = 1.0  # a sweep that comes so late: the process was suspended, and nobody was silent meanwhile
READ_AT_START = ("listen", "admin", "audit", "store", "log")  # tables that a reload cannot take over
log = structlog.get_logger("backstay")


class Sidecar:
    """One running sidecar."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        random: Random | None = None,
        lines_dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        self.settings = self._began_with = settings
        self._lines_dropped = lines_dropped
        self._clock = clock or SystemClock()
        # asking the system for each id costs 14 µs; an id need be unique, not secret
        random = random or Random(SystemRandom().getrandbits(128))  # noqa: S311 - ids, not secrets
        name = f"{random.getrandbits(32):08x}"  # this process, in flight and record ids
        self.metrics = Metrics()
        kept = books(settings, name, self._clock, self.metrics.audit_written)
        self.audit, self._ledger = kept.log, kept.ledger
        self._statistics = Statistics(self.metrics)
        self._minutely = Minutely(self._statistics)
        targets = TargetLog(Throttle(TARGETS_EVERY_S, self._clock.now))
        self._tracer = start_tracing(os.environ, random)
        self._observer = Observer(self._ledger, self.metrics, targets, self._tracer)
        self._shelf = open_shelf(settings.store, name, self._clock, self.metrics.store_failed)
        self._flights = Flights(self._shelf.seals, name)
        self._retry = RetryPolicy(random)
        self._assembly = Assembly(
            self._flights, self._retry, self._shelf, self.metrics, self._observer, self._clock, random,
            self._on_transition, kept.witness, self._tracer,
        )  # fmt: skip
        self._parts = self._assembly.build(settings)
        self._handlers = HandlerFactory(self._parts, dry_run=settings.dry_run)
        self.gate = self._gate(settings)
        self._memory = MemoryBudget(settings.listen.max_memory or budget_of(), self._shelf.shed, self.gate.relieve)
        self._tls = server_context(_tls_files(settings)) if settings.listen.tls_certificate else None
        self._listener = self._listener_of(settings)
        self._admin: AdminListener | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = self._suspended_s = 0.0  # the loop's time, and how long the process stood still
        self._ready = False
        self.stopping = asyncio.Event()
        self._hurries = 0
        self._declare()

    def _gate(self, settings: Settings) -> Gate:
        listen = settings.listen
        rules = GateRules(
            listen.head_timeout,
            listen.keepalive_timeout,
            listen.idle_timeout,
            listen.max_connections,
            listen.expose,
            listen.tunnel_timeout,
        )
        limits = HeadLimits(listen.max_head, listen.max_target, listen.max_fields, listen.underscores)
        trusted = TrustedProxies(listen.trusted_proxies)
        return Gate(rules, limits, trusted, self._open, self._on_refusal, self._clock)

    def _listener_of(self, settings: Settings) -> Listener:
        listen = settings.listen
        endpoint = Endpoint(listen.address, "listen.address", file_mode(listen.socket_mode))
        tls = None
        if self._tls is not None:
            tls = HandshakeRules(self._tls, listen.head_timeout, self.gate.has_room, self.metrics.handshake_failed)
        return Listener(endpoint, lambda: Downstream(self.gate), tls)

    def _open(self, request: Request, client: Client) -> RequestHandler:
        return self._handlers.open(request, client)

    def _declare(self) -> None:
        circuits = self._assembly.breakers
        self.metrics.declare(self._parts.wiring, circuits, self.settings.upstreams)
        self.metrics.read_from(
            Sources(
                flights=lambda: len(self._flights),
                followers=lambda: self._flights.followers,
                circuits=lambda: {name: breaker.shown.value for name, breaker in circuits.items()},
                audit_records=lambda: self.audit.records,
                audit_gaps=lambda: self.audit.gaps,
                audit_queue=lambda: self.audit.queued,
                store_up=lambda: int(self._shelf.kept.up),
                log_lines_dropped=self._lines_dropped,
            )
        )

    # start

    async def start(self) -> None:
        """Open the trail, then both listeners. Raises StartError before anything is served.

        It may be cancelled, and leaves nothing open then.
        """
        await self._ledger.start()
        try:
            await self._open_store()
            self._admin = await start_admin(self._control(), self.settings.admin.address, _admin_rules(self.settings))
            await self._listener.open()
        except BaseException:  # refused, or stopped meanwhile
            await self._close()
            raise
        self._sweep()
        self._ready = True

    async def _open_store(self) -> None:
        await self._shelf.start()
        required = [route.operation for route in self._parts.router.routes if route.store_required]
        if required and not self._shelf.kept.up:
            text = f"the store (store.url) cannot be reached, and {', '.join(required)} requires it (store_required)"
            raise StartError(text)

    def _control(self) -> ControlPlane:
        return ControlPlane(
            metrics=self.metrics,
            statistics=self._statistics,
            restorations=self._observer.restorations,
            routes=lambda: self._parts.router.routes,
            circuits=self._assembly.breakers,
            newest=self.audit.newest,
            token=read_token(self.settings.admin),
            now=self._clock.now,
            ready=lambda: self._ready,
            switches=lambda: {"retries": self._retry.enabled, "coalescing": self._flights.enabled},
            switch=self._switch,
            drain=self.stopping.set,
            forget=self._flights.seals.drop_subject,
        )

    @property
    def url(self) -> str:
        """Return where clients ask."""
        return self._listener.url

    @property
    def admin_url(self) -> str:
        """Return where the control plane listens."""
        assert self._admin is not None
        return self._admin.url

    @property
    def running(self) -> int:
        """Return the exchanges that have begun and left no record yet."""
        return self.gate.begun - self._ledger.recorded

    @property
    def _busy(self) -> bool:
        return bool(self.gate.connections or self._listener.handshakes or self.running)

    # while it runs

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late_s = now - self._swept_at - SWEEP_S if self._swept_at else 0.0
        if late_s > SUSPENDED_S:
            self._suspended_s += late_s
            log.warning("suspended", seconds=round(late_s, 1), detail="idle times do not count this")
        self._swept_at = now
        self.sweep(now)
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def sweep(self, now: float) -> None:
        """End what has waited too long at `now`, in the loop's seconds."""
        self.gate.crowded = self._memory.look()
        awake = now - self._suspended_s
        self.gate.sweep(awake)
        if self._admin is not None:
            self._admin.sweep(awake)
        self._assembly.sweep(now, awake)
        self._minutely.sweep(now)

    def _switch(self, name: str, on: bool) -> None:
        (self._retry if name == "retries" else self._flights).enabled = on
        log.info("switched", switch=name, on=on)

    def _on_refusal(self, refusal: Refusal, peer: Peer) -> None:
        self.metrics.bad_request(refusal.metric)
        self._ledger.refused(refusal, peer, self._clock.wall())

    def _on_transition(self, breaker: CircuitBreaker, state: State, now: float) -> None:
        self.metrics.transitioned(breaker.name, state.name.lower())
        self._ledger.circuit(breaker, self._clock.wall())
        log.warning("circuit", circuit=breaker.name, to=state.name, failures=breaker.failures)

    def reload(self, load_again: Callable[[], Settings]) -> None:
        """Take over new settings for routes, upstreams and policies; a bad file changes nothing and says why.

        Also reopen the audit trail, for whoever renamed it.
        """
        self.audit.reopen()
        try:
            settings = load_again()
        except ConfigError as error:
            log.error("reload_refused", problems=[str(problem) for problem in error.problems])
            return
        changed = [name for name in READ_AT_START if getattr(settings, name) != getattr(self._began_with, name)]
        if changed:
            log.warning("reload_partial", changed=changed, detail="these change only with a restart")
        try:
            self._check_files(settings)
            self._parts = self._assembly.build(settings)
            self._handlers = HandlerFactory(self._parts, dry_run=settings.dry_run)
            if self._tls is not None:
                renew(self._tls, _tls_files(self.settings))
        except StartError as error:
            log.error("reload_refused", problems=[str(error)])
            return
        self.settings = settings
        self._declare()
        log.info("reloaded", routes=len(settings.routes))

    def _check_files(self, settings: Settings) -> None:
        """Raise StartError for a TLS file of either leg before anything changes: a reload is whole, or is not made."""
        if self._tls is not None:
            server_context(_tls_files(self.settings))
        for upstream in settings.upstreams.values():
            files = TlsFiles(upstream.tls_certificate, upstream.tls_key, upstream.tls_ca)
            if files != NO_FILES and any(url.startswith("https:") for url in upstream.url):
                client_context(files)

    # stop

    def hurry(self) -> None:
        """Shorten the drain: the first time by its delay, the second time by all waiting for what is under way."""
        self._hurries += 1

    async def stop(self, *, delay_s: float | None = None) -> None:
        """Drain (W17): not ready, accept for a while, let what is under way end, cut the rest, flush the trail."""
        listen = self.settings.listen
        self._ready = False
        self._assembly.probes.close()
        self.gate.drain()
        until = self._clock.now() + (listen.drain_delay if delay_s is None else delay_s)
        while not self._hurries and self._clock.now() < until:
            await self._clock.sleep(DRAIN_STEP_S)
        await self._listener.drain_backlog()
        self.gate.close_idle()
        until = self._clock.now() + listen.drain_timeout
        while self._busy and self._hurries < 2 and self._clock.now() < until:
            await self._clock.sleep(DRAIN_STEP_S)
        for connection in tuple(self.gate.connections):
            connection.abort()
        while self.running and self._clock.now() < until + 1.0:  # what was cut still leaves its record
            await self._clock.sleep(DRAIN_STEP_S)
        await self._close()

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._listener.close()
        self._assembly.close()
        await self._shelf.close()
        if self._admin is not None:
            await self._admin.close()
        await self.audit.close()
        if self._tracer is not None:
            await in_daemon_thread(self._tracer.close)


def _admin_rules(settings: Settings) -> AdminRules:
    admin = settings.admin
    return AdminRules(
        admin.max_connections, admin.max_viewers, admin.head_timeout, admin.keepalive_timeout, admin.idle_timeout,
        admin.allowed_hosts, file_mode(admin.socket_mode),
    )  # fmt: skip


def _tls_files(settings: Settings) -> TlsFiles:
    listen = settings.listen
    return TlsFiles(listen.tls_certificate, listen.tls_key, listen.tls_client_ca)
