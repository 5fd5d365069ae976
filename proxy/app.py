"""The composition root: start, reload, drain and stop the sidecar."""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable
from functools import partial
from random import Random, SystemRandom

import structlog

from proxy.admin.admin_listener import AdminListener, start_admin
from proxy.admin.control import ControlPlane
from proxy.assembly import Assembly
from proxy.audit.factory import audit_trail
from proxy.clock import Clock, SystemClock
from proxy.config.document import Document
from proxy.config.effective import effective
from proxy.config.objections import ConfigError, Keys
from proxy.config.seed import SWITCH, seed_effects
from proxy.config.settings import Settings
from proxy.errors import StartError
from proxy.exchange.handler_factory import HandlerFactory
from proxy.http.message import Peer
from proxy.http.problems import Refusal
from proxy.http1.head import HeadLimits
from proxy.loaded import Loaded, Loader
from proxy.memory_budget import MemoryBudget, budget_of
from proxy.observe.failure_log import FailureLog
from proxy.observe.logging import Throttle
from proxy.observe.metrics import Metrics, Sources
from proxy.observe.observer import Observer
from proxy.observe.periodic_summary import PeriodicSummary
from proxy.observe.principal_log import PrincipalLog
from proxy.observe.statistics import Statistics
from proxy.observe.target_log import TargetLog
from proxy.observe.traces import start_tracing
from proxy.policy.breaker import CircuitBreaker, CircuitMode, CircuitState
from proxy.policy.coalescing import Flights
from proxy.policy.retry import RetryPolicy
from proxy.principals.registry import Principals
from proxy.runtime.threads import in_daemon_thread
from proxy.server.client_connection import ClientConnection
from proxy.server.endpoint import Endpoint, file_mode
from proxy.server.handshakes import HandshakeRules
from proxy.server.listener import Listener
from proxy.server.server_state import ServerState
from proxy.server.trusted_proxies import TrustedProxies
from proxy.store.bundle import open_store
from proxy.store.erased import Erased
from proxy.transport.tls import trusts_all

TARGETS_EVERY_S = 10.0  # an operation's missed targets are logged at most this often
SPLITS_EVERY_S = 3600.0  # a principal whose tokens differ is logged at most this often
KEYS_EVERY_S = 600.0  # an issuer whose keys cannot be read is logged at most this often
FAILURES_EVERY_S = 10.0  # each kind of failure of an operation is logged at most this often
DRAIN_STEP_S = 0.02  # the interval at which a drain checks whether it is done
SWEEP_S = 0.25  # the coarse clock of all connections
SUSPENDED_S = 1.0  # a sweep that is later than this means that the process was suspended
READ_AT_START = ("listen", "audit", "store", "log", "admin")  # tables that a reload cannot change, but the admin token
RELOAD_WITHIN_S = 10.0  # timeout of a reload: a file on an unreachable server may block forever
log = structlog.get_logger("backstay")


def _is_read_at_start(keys: Keys) -> bool:
    """Tell whether only a restart changes a setting."""
    return keys[0] in READ_AT_START and keys not in (("admin", "token"), ("admin", "token_file"))


def log_seed(settings: Settings) -> None:
    """Name each variable of the seed document that took effect: its name does not say that this program reads it."""
    for effect in seed_effects(settings.document):
        detail = f"{SWITCH}=0 ignores the variables of the seed document"
        log.warning("seed_variable", variable=effect.variable, sets=effect.changed, detail=detail)


class Sidecar:
    """One running sidecar."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        random: Random | None = None,
        lines_dropped: Callable[[], int] = lambda: 0,
    ) -> None:
        loaded = Loader(lambda: settings).run()
        self.settings = settings  # of what a reload cannot change, what the process began with
        self._token = loaded.token
        self._certificates = loaded.certificates
        self._lines_dropped = lines_dropped
        self._first_document = settings.document
        self._clock = clock or SystemClock()
        # a system call for each id costs 14 µs; ids must be unique, not secret
        random = random or Random(SystemRandom().getrandbits(128))  # noqa: S311 - ids, not secrets
        self._random = random
        name = f"{random.getrandbits(32):08x}"  # identifies this process in the ids of flights and records
        self.metrics = Metrics()
        trail = audit_trail(settings, name, self._clock, self.metrics.audit_written)
        self.audit, self._ledger = trail.log, trail.ledger
        self._statistics = Statistics(self.metrics)
        self._minutely = PeriodicSummary(self._statistics)
        targets = TargetLog(Throttle(TARGETS_EVERY_S, self._clock.now))
        self._tracer = start_tracing(os.environ, random)
        self._principals = self._judging(loaded)
        failures = FailureLog(Throttle(FAILURES_EVERY_S, self._clock.now))
        self._observer = Observer(self._ledger, self.metrics, targets, failures, self._tracer)
        self._bundle = open_store(settings.store, name, self._clock, self.metrics.store_failed)
        self._flights = Flights(self._bundle.invalidations, name)
        self._retry = RetryPolicy(random)
        self._assembly = Assembly(
            self._flights, self._retry, self._bundle, self.metrics, self._observer, self._clock, random,
            self._on_transition, trail.durability_gate, self._tracer, self._principals,
        )  # fmt: skip
        self._ports = self._assembly.build(settings, loaded.upstream_tls)
        self.server_state = self._server_state(settings)
        self._memory = MemoryBudget(settings.listen.max_memory or budget_of(), self._bundle.shed, self._relieve)
        self._tls = loaded.listen_tls
        self._tls_generation = 0  # incremented when a reload reads the listener's TLS files
        self._listener = self._listener_of(settings)
        self._admin: AdminListener | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._swept_at = self._suspended_s = 0.0  # the loop's time, and for how long the process was suspended
        self._ready = False
        self.stopping = asyncio.Event()
        self._hurries = 0
        self._declare()

    def _judging(self, loaded: Loaded) -> Principals:
        now = self._clock.now
        principals = Principals(PrincipalLog(self.metrics, Throttle(SPLITS_EVERY_S, now), Throttle(KEYS_EVERY_S, now)))
        principals.use(loaded.settings.principal, loaded.key_files)
        return principals

    def _server_state(self, settings: Settings) -> ServerState:
        listen = settings.listen
        limits = HeadLimits.of(listen)
        trusted = TrustedProxies(listen.trusted_proxies)
        handlers = HandlerFactory(self._ports, dry_run=settings.dry_run)
        return ServerState(listen, limits, trusted, handlers.open, self._on_refusal, self._clock, self._random)

    def _listener_of(self, settings: Settings) -> Listener:
        listen = settings.listen
        endpoint = Endpoint(listen.address, "listen.address", file_mode(listen.socket_mode))
        tls = None if self._tls is None else self._handshake_rules(self._tls)
        return Listener(endpoint, partial(ClientConnection, self.server_state), tls)

    def _handshake_rules(self, tls: ssl.SSLContext) -> HandshakeRules:
        timeout_s = self.settings.listen.head_timeout
        return HandshakeRules(tls, timeout_s, self.server_state.has_room, self.metrics.handshake_failed)

    def _declare(self) -> None:
        assembly, settings = self._assembly, self.settings
        circuits = assembly.breakers
        of_all = (*circuits, *assembly.route_breakers)
        self.metrics.declare(self._ports.wiring, of_all, settings.upstreams, settings.principal)
        self.metrics.read_from(
            Sources(
                flights=lambda: len(self._flights),
                followers=lambda: self._flights.followers,
                circuits=lambda: {name: breaker.shown.value for name, breaker in circuits.items()},
                route_circuits=lambda: {name: breaker.shown.value for name, breaker in assembly.route_breakers.items()},
                audit_records=lambda: self.audit.records,
                audit_gaps=lambda: self.audit.gaps,
                audit_queue=lambda: self.audit.queued,
                store_up=lambda: int(self._bundle.responses.up),
                store_waiting=lambda: self._bundle.waiting,
                log_lines_dropped=self._lines_dropped,
                connections=lambda: len(self.server_state.connections),
                in_flight=lambda: self.running,
                audit_write_errors=lambda: self.audit.write_errors,
                certificates=lambda: self._certificates,
                principal_keys=lambda: {view.name: view.keys for view in self._principals.views(0.0)},
            )
        )

    # start

    async def start(self) -> None:
        """Open the trail, then both listeners. Raise StartError before anything is served.

        A cancelled start leaves nothing open.
        """
        await self._ledger.start()
        try:
            await self._open_store()
            self._admin = await start_admin(self._control(), self.settings.admin)
            await self._principals.start(asyncio.get_running_loop().time())
            await self._listener.open()
        except BaseException:  # failed or cancelled
            await self._close()
            raise
        self._sweep()
        self._ready = True
        log_seed(self.settings)

    async def _open_store(self) -> None:
        self._bundle.on_erasure_elsewhere(self._observer.restorations.erase)
        await self._bundle.start()
        required = [route.operation for route in self._ports.router.routes if route.store_required]
        if required and not self._bundle.responses.up:
            text = f"the store (store.url) cannot be reached, and {', '.join(required)} requires it (store_required)"
            raise StartError(text)

    def _control(self) -> ControlPlane:
        return ControlPlane(
            metrics=self.metrics,
            statistics=self._statistics,
            restorations=self._observer.restorations,
            routes=lambda: self._ports.router.routes,
            circuits=self._assembly.breakers,
            route_circuits=self._assembly.route_breakers,
            newest=self.audit.newest,
            token=lambda: self._token,
            now=self._clock.now,
            ready=lambda: self._ready,
            switches=lambda: {"retries": self._retry.enabled, "coalescing": self._flights.enabled},
            switch=self._switch,
            drain=self.stopping.set,
            export_format=lambda: self.settings.audit.export_format,
            erase=self._erase,
            config=lambda: effective(self.settings, partial(self._document_of, self.settings.document)),
            principals=lambda: self._principals.views(asyncio.get_running_loop().time()),
        )

    def _document_of(self, current: Document, keys: Keys) -> Document:
        """Return the document that a setting was read from: `current`, or that of the start."""
        return self._first_document if _is_read_at_start(keys) else current

    async def _erase(self, subject: str) -> Erased:
        erased = await self._bundle.erase(subject)
        return erased._replace(restorations=self._observer.restorations.erase(subject))

    @property
    def url(self) -> str:
        """Return the URL for clients."""
        return self._listener.url

    @property
    def admin_url(self) -> str:
        """Return the control plane's URL."""
        assert self._admin is not None
        return self._admin.url

    @property
    def running(self) -> int:
        """Return the number of exchanges without a record."""
        return self.server_state.begun - self._ledger.recorded

    @property
    def _busy(self) -> bool:
        return bool(self.server_state.connections or self._listener.handshakes or self.running)

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
        """Apply all timeouts at `now`, in the loop's time."""
        self.server_state.crowded = self._memory.look()
        awake = now - self._suspended_s
        self.server_state.sweep(awake)
        if self._admin is not None:
            self._admin.sweep(awake)
        self._assembly.sweep(now, awake)
        self._minutely.sweep(now)
        self._principals.sweep(now)

    def _relieve(self, most: int) -> int:
        """Reduce connections to `most` bytes, cached responses to half of `most`, and stored responses to the same.

        Return how many connections were closed since the last call.
        """
        self._bundle.make_room(most // 2)
        return self.server_state.relieve(most)

    def _switch(self, name: str, on: bool) -> None:
        (self._retry if name == "retries" else self._flights).enabled = on
        log.info("switched", switch=name, on=on)

    def _on_refusal(self, refusal: Refusal, peer: Peer) -> None:
        self.metrics.bad_request(refusal.metric)
        self._ledger.refused(refusal, peer, self._clock.wall())

    def _on_transition(self, breaker: CircuitBreaker, state: CircuitState, now: float) -> None:
        if not self._assembly.is_current(breaker):
            return  # a reload removed or replaced this breaker: only running requests report to it
        self.metrics.transitioned(breaker.name, state.name.lower())
        self._ledger.circuit(breaker, self._clock.wall())
        cause = "an operator" if breaker.mode is CircuitMode.FORCED_OPEN else breaker.cause
        opened = {"cause": cause} if state is CircuitState.OPEN else {}
        log.warning("circuit", circuit=breaker.name, to=state.name, failures=breaker.failures, **opened)

    async def reload(self, load_again: Callable[[], Settings]) -> None:
        """Apply new settings for routes, upstreams, policies and the admin token, and all TLS files.

        All files are read in a thread first, while requests continue. The reload takes effect completely or not at all.
        """
        reading = Loader(load_again, self.settings.listen)
        try:
            async with asyncio.timeout(RELOAD_WITHIN_S):
                loaded = await in_daemon_thread(reading.run)
        except ConfigError as error:
            self._refuse_reload(map(str, error.problems))
        except StartError as error:
            self._refuse_reload([str(error)])
        except TimeoutError:
            text = (
                f"{reading.doing} could not be read within {RELOAD_WITHIN_S:g} s: check whether its files are readable"
            )
            self._refuse_reload([text])
        else:
            if self.server_state.draining:
                self._refuse_reload(["the sidecar is draining"])
            else:
                self._take_over(loaded)

    def _refuse_reload(self, problems: Iterable[str]) -> None:
        self.metrics.reloaded("refused")
        log.error("reload_refused", problems=list(problems))

    def _take_over(self, loaded: Loaded) -> None:
        """Apply the loaded settings, without an await, so that no request sees only a part of them."""
        wanted = loaded.settings
        settings = wanted.model_copy(update=_kept(self.settings, wanted))
        changed = [name for name in READ_AT_START if getattr(settings, name) != getattr(wanted, name)]
        if changed:
            log.warning("reload_partial", changed=changed, detail="these change only with a restart")
        self._principals.use(settings.principal, loaded.key_files)
        self._ports = self._assembly.build(settings, loaded.upstream_tls)
        self.server_state.open = HandlerFactory(self._ports, dry_run=settings.dry_run).open
        self._token, self._certificates = loaded.token, loaded.certificates
        self.settings = settings
        log_seed(settings)
        if loaded.listen_tls is not None and self._tls is not None:
            self._change_tls(self._tls, loaded.listen_tls)
        circuits = (*self._assembly.breakers, *self._assembly.route_breakers)
        self.metrics.forget_others(self._ports.wiring, circuits, settings.upstreams, settings.principal)
        self._declare()
        self.metrics.reloaded("partial" if changed else "applied")
        log.info("reloaded", routes=len(settings.routes))

    def _change_tls(self, old: ssl.SSLContext, new: ssl.SSLContext) -> None:
        """Use the new certificate and authorities for new connections.

        Session tickets of the old context become invalid. If an authority was removed, earlier connections close after
        their current response.
        """
        self._tls_generation += 1
        self._listener.renew(
            partial(ClientConnection, self.server_state, self._tls_generation), self._handshake_rules(new)
        )
        self._tls = new
        if not trusts_all(new, old):
            self.server_state.distrust(self._tls_generation, self.settings.listen.drain_timeout)

    # stop

    def hurry(self) -> None:
        """Shorten the drain: the first call skips its delay, the second also the wait for running requests."""
        self._hurries += 1

    async def stop(self, *, delay_s: float | None = None) -> None:
        """Drain: report unready, accept for a while, wait for running requests, close the rest, flush the trail."""
        listen = self.settings.listen
        self._ready = False
        self._assembly.probes.close()
        self.server_state.drain()
        until = self._clock.now() + (listen.drain_delay if delay_s is None else delay_s)
        while not self._hurries and self._clock.now() < until:
            await self._clock.sleep(DRAIN_STEP_S)
        await self._listener.drain_backlog()
        self.server_state.close_idle()
        until = self._clock.now() + listen.drain_timeout
        while self._busy and self._hurries < 2 and self._clock.now() < until:
            await self._clock.sleep(DRAIN_STEP_S)
        for connection in tuple(self.server_state.connections):
            connection.abort()
        while self.running and self._clock.now() < until + 1.0:  # until closed connections have their records
            await self._clock.sleep(DRAIN_STEP_S)
        await self._close()

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._listener.close()
        self._assembly.close()
        self._principals.close()
        await self._bundle.close()
        if self._admin is not None:
            await self._admin.close()
        await self.audit.close()
        if self._tracer is not None:
            await in_daemon_thread(self._tracer.close)


def _kept(old: Settings, new: Settings) -> dict[str, object]:
    """Return the tables that stay as they are at a reload from `old` to `new`."""
    token = {"token": new.admin.token, "token_file": new.admin.token_file}
    return {name: getattr(old, name) for name in READ_AT_START} | {"admin": old.admin.model_copy(update=token)}
