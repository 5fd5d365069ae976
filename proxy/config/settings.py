"""Every setting, its type and its default. Attributes are named as in TOML; durations are seconds, sizes are bytes."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from proxy.config.fields import (
    Address,
    Count,
    Duration,
    FileMode,
    Label,
    Many,
    OrNone,
    OwnFieldName,
    OwnName,
    RecordedHeader,
    Section,
    Share,
    Size,
    StoreUrl,
    Timeout,
    TrustedProxy,
    UpstreamUrls,
)
from proxy.config.routes import PASSED_ON, Passthrough, Route, RouteSettings
from proxy.policy.deadline import HEADER

PASSTHROUGH_TIMEOUT_S = 30.0


class Listen(Section):
    """The data plane's listener, and its limits on clients."""

    address: Address = "0.0.0.0:8080"
    socket_mode: OrNone[FileMode] = None
    drain_delay: Duration = 5.0
    drain_timeout: Duration = 25.0
    trusted_proxies: Many[TrustedProxy] = ()
    via: bool = True
    forwarded: Literal["x-forwarded", "forwarded", "both", "off"] = "x-forwarded"
    expose: bool = True
    deadline_header: OwnFieldName = HEADER
    max_connections: Count = 20_000
    max_memory: OrNone[Size] = None
    max_head: Size = 64 * 1024
    max_fields: Count = 128
    max_target: Size = 16 * 1024
    underscores: Literal["pass", "drop", "refuse"] = "pass"
    head_timeout: Timeout = 10.0
    keepalive_timeout: Timeout = 75.0
    idle_timeout: Timeout = 60.0
    tunnel_timeout: Timeout = 3600.0
    tls_certificate: OrNone[str] = None
    tls_key: OrNone[str] = None
    tls_client_ca: OrNone[str] = None


class Admin(Section):
    """The control plane's listener. Without a token, nothing that changes or exports can be called."""

    address: Address = "127.0.0.1:9901"
    socket_mode: OrNone[FileMode] = "0600"
    allowed_hosts: Many[OwnName] = ()
    max_connections: Count = 128
    max_viewers: Count = 32
    head_timeout: Timeout = 10.0
    keepalive_timeout: Timeout = 75.0
    idle_timeout: Timeout = 10.0
    token: str = Field(default="", repr=False)
    token_file: OrNone[str] = None


class Audit(Section):
    """Where the audit trail goes, and how much of it survives what (A2)."""

    path: str = Field(default="audit.jsonl", min_length=1)
    durability: Literal["batch", "blocking", "strict"] = "batch"
    max_wait: Timeout = 2.0
    queue: Count = 100_000
    queue_bytes: Size = 64 * 1024 * 1024
    rotate_size: OrNone[Size] = 2**30
    rotate_age: OrNone[Timeout] = None
    compress: bool = True
    keep_files: OrNone[Count] = None
    keep_size: OrNone[Size] = None
    checkpoints: OrNone[str] = "{path}.checkpoints"
    checkpoint_every: Count = 1_000
    checkpoint_key_file: OrNone[str] = None
    salt_file: str = "{path}.salt"
    max_entries: Count = 10_000
    export_format: Literal["json", "csv"] = "json"
    query_parameters: Many[str] = ()
    headers: Many[RecordedHeader] = ()
    clients: Literal["none", "hashed", "plain"] = "none"


class Store(Section):
    """Where answers are kept between requests. Sidecars of one backend share a `namespace`, those of others do not."""

    url: StoreUrl = Field(default="memory://", repr=False)
    namespace: Label = "backstay"
    timeout: Timeout = 0.05
    max_entries: Count = 10_000
    max_bytes: Size = 32 * 1024 * 1024


class Log(Section):
    """The sidecar's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class Breaker(Section):
    """One circuit's figures, the seed document's (B1-B4). `jitter` lengthens the open time, never shortens it."""

    failure_threshold: Count = 5
    reset_timeout: Timeout = 30.0
    success_threshold: Count = 2
    jitter: Share = 0.1
    max_probes: Count = 2
    slow_call: OrNone[Timeout] = None
    slow_call_rate: Share = 0.5
    slow_call_window: Count = 20


class Upstream(Section):
    """One backend and its pool of connections. `max_connections` 0 means no limit."""

    url: UpstreamUrls
    connect_timeout: Timeout = 1.0
    max_idle: int = Field(default=64, ge=0)
    idle_timeout: Timeout = 4.0
    max_connections: int = Field(default=0, ge=0)
    queue: int = Field(default=100, ge=0)
    queue_timeout: Duration = 0.5
    tls_ca: OrNone[str] = None
    tls_certificate: OrNone[str] = None
    tls_key: OrNone[str] = None
    idempotency_form: Literal["bare", "quoted"] = "bare"
    breaker: Breaker = Breaker()


class Settings(Section):
    """The whole configuration. `routes` are complete: what `[defaults]` says stands in each that says nothing else."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    audit: Audit = Audit()
    store: Store = Store()
    log: Log = Log()
    upstreams: dict[Label, Upstream] = Field(default_factory=dict)
    circuits: dict[Label, Breaker] = Field(default_factory=dict)
    defaults: RouteSettings = RouteSettings()
    routes: Many[Route] = ()
    dry_run: bool = False
    _own_budgets: frozenset[str] = PrivateAttr(default=frozenset())

    @model_validator(mode="wrap")
    @classmethod
    def _complete_routes(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict) or not isinstance(data.get("routes"), list):
            return validate(data)
        upstreams = data.get("upstreams")
        first = next(iter(upstreams), "") if isinstance(upstreams, dict) else ""
        inherited = {**_table(data.get("defaults")), "upstream": first}
        tables = [route for route in data["routes"] if isinstance(route, dict)]
        routes = [merged(inherited, route) if isinstance(route, dict) else route for route in data["routes"]]
        settings = validate({**data, "routes": routes})
        own = (table["operation"] for table in tables if "budget" in _table(table.get("retry")))
        settings._own_budgets = frozenset(own)
        return settings

    def has_own_budget(self, operation: str) -> bool:
        """Tell whether a route says its own `retry.budget`. The others of an upstream share one budget."""
        return operation in self._own_budgets

    @cached_property
    def passthrough(self) -> Passthrough:
        """Return what holds for requests that no route matches: the first upstream, 30 s, nothing sent twice.

        Of `[defaults]` only what concerns a faithful pass-through applies; `total_timeout` does not.
        """
        shared = {name: getattr(self.defaults, name) for name in PASSED_ON}
        off = {"coalesce": "off"} if self.defaults.coalesce == "off" else {}
        plain = Passthrough(upstream=next(iter(self.upstreams)))
        return plain.model_copy(update={**shared, **off, "total_timeout": PASSTHROUGH_TIMEOUT_S})

    @cached_property
    def breakers(self) -> Mapping[str, Breaker]:
        """Return every circuit's figures by name: each upstream's own, and those that routes name."""
        own = {name: upstream.breaker for name, upstream in self.upstreams.items()}
        named = {r.circuit: self.upstreams[r.upstream].breaker for r in self.routes if r.circuit not in (None, *own)}
        return {**own, **{name: self.circuits.get(name, breaker) for name, breaker in named.items() if name}}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `over` laid on `base`, table by table. A document (`body`) is a value: it replaces what stood there."""
    both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys() if _are_tables(base, over, key)}
    return {**base, **over, **both}


def _are_tables(base: Mapping[str, Any], over: Mapping[str, Any], key: str) -> bool:
    return key != "body" and isinstance(base[key], dict) and isinstance(over[key], dict)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
