"""Every setting, its type and its default. Attributes are named as in TOML; durations are seconds, sizes are bytes."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from proxy.config.document import Document
from proxy.config.field_types import (
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
    RecordedParameter,
    Section,
    Share,
    Size,
    StoreUrl,
    Timeout,
    TrustedProxy,
    UpstreamUrls,
)
from proxy.config.principal_table import PrincipalTable
from proxy.config.routes import (
    PASSED_ON,
    Passthrough,
    RouteSettings,
    RouteTable,
)


class Listen(Section):
    """The listener for clients, and its limits."""

    address: Address = "0.0.0.0:8080"
    """Where clients connect: `HOST:PORT`, or `unix:/run/backstay.sock`. The frontend's API base URL points here."""
    socket_mode: OrNone[FileMode] = None
    """Mode of a Unix socket file, in octal. `"none"`: according to the umask of the process."""
    drain_delay: Duration = 5.0
    """After SIGTERM: how long new connections are still accepted, so that load balancers can notice."""
    drain_timeout: Duration = 25.0
    """After `drain_delay`: how long open requests may take before they are cut. Kubernetes manifests set both times."""
    trusted_proxies: Many[TrustedProxy] = ()
    """Networks whose `X-Forwarded-For` and `Forwarded` are trusted. `"unix"`: clients of a Unix socket."""
    via: bool = True
    """Add a `Via` field in both directions. Some backends stop compressing when they see it."""
    forwarded: Literal["x-forwarded", "forwarded", "both", "off"] = "x-forwarded"
    """Which fields describe the client to the backend: `X-Forwarded-*`, RFC 7239 `Forwarded`, both or none."""
    expose: bool = True
    """Send `Cache-Status`, `Proxy-Status` and `Server-Timing` to clients. `Retry-After` does not depend on it."""
    deadline_header: OwnFieldName = "X-Request-Deadline-Ms"
    """Request field in milliseconds: from a client, how long it waits; to the backend, the remaining time."""
    max_connections: Count = 20_000
    """Client connections at once, TLS handshakes included. Beyond: 503 and close; in a handshake, close."""
    max_memory: OrNone[Size] = None
    """Memory of the process; beyond: 503. `"none"`: nine tenths of the container's limit, where there is one."""
    max_head: Size = 64 * 1024
    """Request line and header fields together. Beyond: 431."""
    max_fields: Count = 128
    """Header fields of one request. Beyond: 431."""
    max_target: Size = 16 * 1024
    """Length of the request target. Beyond: 414."""
    underscores: Literal["pass", "drop", "refuse"] = "pass"
    """Fields named like `X_A`, which CGI and WSGI backends take for `X-A`: pass, drop, or refuse with 400."""
    head_timeout: Timeout = 10.0
    """Time for a whole request head: then 408. Time for a TLS handshake: then the connection is closed."""
    keepalive_timeout: Timeout = 75.0
    """How long a client connection may stay open between two requests."""
    idle_timeout: Timeout = 60.0
    """Time without any byte between a client and the sidecar, where no route sets its own."""
    tunnel_timeout: Timeout = 3600.0
    """Time without any byte in a tunnel (WebSocket or another upgrade)."""
    tls_certificate: OrNone[str] = None
    """PEM file with the certificate chain. With it, the listener uses TLS. Read again on SIGHUP."""
    tls_key: OrNone[str] = None
    """PEM file with the private key. `"none"`: the key is in `tls_certificate`."""
    tls_client_ca: OrNone[str] = None
    """PEM file with authorities. With it, clients must show a certificate that one of them signed."""


class Admin(Section):
    """The control plane's listener."""

    address: Address = "127.0.0.1:9901"
    """Where operators, probes and Prometheus connect: `HOST:PORT`, or `unix:/run/backstay-admin.sock`."""
    socket_mode: OrNone[FileMode] = "0600"
    """Mode of a Unix socket file, in octal. `"none"`: according to the umask of the process."""
    allowed_hosts: Many[OwnName] = ()
    """Names with a dot, besides that of `address`, that `Host` may have. IP addresses are always allowed."""
    max_connections: Count = 128
    """Connections at once. Beyond, the address with the most connections loses its oldest one."""
    max_viewers: Count = 32
    """Viewers of the live status page at once. Beyond, the address with the most loses its oldest, or 503."""
    head_timeout: Timeout = 10.0
    """Time for a whole request head: then 408."""
    keepalive_timeout: Timeout = 75.0
    """How long a connection may stay open between two requests."""
    idle_timeout: Timeout = 10.0
    """Time in which a client takes no byte of a response: then the connection is closed."""
    token: str = Field(default="", repr=False)
    """Bearer token. Without a token, no endpoint that changes or exports can be called."""
    token_file: OrNone[str] = None
    """File that holds the token, in place of `token`. Read again on SIGHUP."""


class Audit(Section):
    """The destination of the audit trail, and its durability."""

    path: str = Field(default="audit.jsonl", min_length=1)
    """File of the trail, one JSON record a line. `"-"` is standard output."""
    durability: Literal["batch", "blocking", "strict"] = "batch"
    """What waits for fsync: nothing, every response, or also every unsafe request before it is sent."""
    max_wait: Timeout = 2.0
    """With `blocking` and `strict`: how long a request waits for the disk. Then 503."""
    queue: Count = 100_000
    """Records that may wait for the disk. Beyond, records are lost and counted as a gap."""
    queue_bytes: Size = 64 * 1024 * 1024
    """Bytes of records that may wait for the disk. Beyond, records are lost and counted as a gap."""
    rotate_size: OrNone[Size] = 2**30
    """Rotate the file at this size. `"none"` where logrotate does it."""
    rotate_age: OrNone[Timeout] = None
    """Rotate the file at this age."""
    compress: bool = True
    """Compress rotated files with gzip."""
    keep_files: OrNone[Count] = None
    """How many rotated files are kept. `"none"`: all."""
    keep_size: OrNone[Size] = None
    """How many bytes of rotated files are kept. `"none"`: all."""
    checkpoints: OrNone[str] = "{path}.checkpoints"
    """File beside the trail that records how far the trail went. `"none"`: a truncated trail cannot be detected."""
    checkpoint_every: Count = 1_000
    """Records between two checkpoints. A record has one after about 2 s in `batch`, 1 s in `blocking` and `strict`."""
    checkpoint_key_file: OrNone[str] = None
    """Key that signs checkpoints: 32 random bytes or more (HMAC), or an Ed25519 key in PEM."""
    salt_file: str = "{path}.salt"
    """File with the salt of recorded hashes. Created at the first start."""
    max_entries: Count = 10_000
    """Newest records that the control plane's `/audit` searches."""
    export_format: Literal["json", "csv"] = "json"
    """Default format of exported records."""
    query_parameters: Many[RecordedParameter] = ()
    """Query parameters whose values are recorded. Of all others only the names are recorded."""
    headers: Many[RecordedHeader] = ()
    """Request header fields to record under `metadata.headers`."""
    clients: Literal["none", "hashed", "plain"] = "none"
    """How client addresses are recorded."""


class StoreTable(Section):
    """Where responses and idempotency keys are stored between requests."""

    url: StoreUrl = Field(default="memory://", repr=False)
    """`memory://`: this process. `sqlite:///var/lib/backstay`: a folder, too. `redis://host:6379/0`: all replicas."""
    key_file: OrNone[str] = None
    """Keys of 32 bytes, one a line, that encrypt the files of `sqlite://`: the first encrypts, all decrypt."""
    sync_timeout: Timeout = 2.0
    """With `sqlite://`: how long the response to a write waits for the disk. Then it goes out all the same."""
    namespace: Label = "backstay"
    """Prefix of the keys in Redis. Replicas of one backend use the same prefix, other backends another one."""
    timeout: Timeout = 0.05
    """Time for one command to Redis. Then the request continues without the store."""
    max_entries: Count = 10_000
    """Cached responses, and replayed responses of Redis, in this process. The caller with the most loses its oldest."""
    max_bytes: Size = 32 * 1024 * 1024
    """Bytes of cached responses in this process, and as many again of responses for idempotency keys."""


class Log(Section):
    """The sidecar's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""
    format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""


class Breaker(Section):
    """When a circuit opens and closes."""

    failure_threshold: Count = 5
    """Failed requests in a row that open the circuit."""
    reset_timeout: Timeout = 30.0
    """How long the circuit stays open before it lets probes through."""
    success_threshold: Count = 2
    """Successful probes that close the circuit."""
    jitter: Share = 0.1
    """Largest share by which the open time is extended at random. It is never shortened."""
    max_probes: Count = 2
    """Probes at once while the circuit is half-open."""
    slow_call: OrNone[Timeout] = None
    """A call that takes longer is slow. `"none"`: slow calls never open the circuit."""
    slow_call_rate: Share = 0.5
    """Share of slow calls among the newest calls that opens the circuit."""
    slow_call_window: Count = 20
    """How many calls count as the newest."""


class UpstreamTable(Section):
    """One backend and its pool of connections."""

    url: UpstreamUrls
    """Address of the backend: `http://...`, `https://...`, `unix:/run/app.sock`, or a list of them."""
    connect_timeout: Timeout = 1.0
    """Time to connect to one address, its TLS handshake included."""
    max_idle: int = Field(default=64, ge=0)
    """Idle connections that are kept for later requests."""
    idle_timeout: Timeout = 4.0
    """How long an idle connection is kept. Keep it below the backend's own keep-alive timeout."""
    max_connections: int = Field(default=0, ge=0)
    """Connections at once. 0: no limit."""
    queue: int = Field(default=100, ge=0)
    """Requests that may wait for a connection. Beyond: 503."""
    queue_timeout: Duration = 0.5
    """How long a request waits for a connection. Then 503."""
    tls_ca: OrNone[str] = None
    """PEM file with the authorities of an `https` backend. `"none"`: those of the system."""
    tls_certificate: OrNone[str] = None
    """PEM file with the certificate chain for the backend. Read again on SIGHUP."""
    tls_key: OrNone[str] = None
    """PEM file with the private key. `"none"`: the key is in `tls_certificate`."""
    idempotency_form: Literal["bare", "quoted"] = "bare"
    """Form of generated idempotency keys: bare, or quoted (a structured string)."""
    breaker: Breaker = Breaker()
    """This upstream's circuit breaker."""

    @property
    def speaks_tls(self) -> bool:
        """Tell whether an address of the backend is `https`."""
        return any(url.startswith("https:") for url in self.url)


class Settings(Section):
    """The whole configuration. `routes` are complete: each inherits from `[defaults]` what it does not set."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    audit: Audit = Audit()
    store: StoreTable = StoreTable()
    log: Log = Log()
    upstreams: dict[Label, UpstreamTable] = Field(default_factory=dict)
    """The backends by name. Requests that no route matches go to the first."""
    circuits: dict[Label, Breaker] = Field(default_factory=dict)
    """Circuit breakers for the names that routes give in `circuit`. Without a table: as the upstream's."""
    principal: dict[Label, PrincipalTable] = Field(default_factory=dict)
    """Callers that verified tokens name, for the names that routes give in `principal`."""
    defaults: RouteSettings = RouteSettings()
    """Settings of every route that does not set them itself."""
    passthrough: Passthrough = Passthrough()
    """Requests that no route matches: the first upstream, 30 s, nothing that was sent is sent again."""
    routes: Many[RouteTable] = ()
    """The operations, one table each. A literal segment wins over a `{name}`, a `{name}` over a `{rest...}`."""
    dry_run: bool = False
    """Observe, count and audit what would be done, and only forward."""
    _own_budgets: frozenset[str] = PrivateAttr(default=frozenset())
    _document: Document = PrivateAttr(default_factory=Document)

    @model_validator(mode="wrap")
    @classmethod
    def _complete_routes(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, dict):
            return validate(data)
        upstreams, defaults = data.get("upstreams"), _table(data.get("defaults"))
        first = next(iter(upstreams), "") if isinstance(upstreams, dict) else ""
        plain = {**_passed_on(defaults), "upstream": first}
        rest = data.get("passthrough", {})
        completed = {"passthrough": merged(plain, rest) if isinstance(rest, dict) else rest}
        tables = [{"operation": "passthrough", **_table(rest)}]
        if isinstance(data.get("routes"), list):
            inherited = {**defaults, "upstream": first}
            tables += [route for route in data["routes"] if isinstance(route, dict)]
            completed["routes"] = [
                merged(inherited, route) if isinstance(route, dict) else route for route in data["routes"]
            ]
        settings = validate({**data, **completed})
        own = (table.get("operation", "") for table in tables if "budget" in _table(table.get("retry")))
        settings._own_budgets = frozenset(own)
        return settings

    def written_in(self, document: Document) -> Self:
        """Remember the document that these settings were read from, which has the origin of each; return them."""
        self._document = document
        return self

    @property
    def document(self) -> Document:
        """Return the document of these settings; an empty one if they were made without one."""
        return self._document

    def has_own_budget(self, operation: str) -> bool:
        """Tell whether a route sets its own `retry.budget`. The other routes of an upstream share one budget."""
        return operation in self._own_budgets

    @cached_property
    def breakers(self) -> Mapping[str, Breaker]:
        """Return the settings of every circuit by name: each upstream's own, and those that routes name."""
        own = {name: upstream.breaker for name, upstream in self.upstreams.items()}
        users: tuple[RouteTable | Passthrough, ...] = (self.passthrough, *self.routes)
        named = {r.circuit: self.upstreams[r.upstream].breaker for r in users if r.circuit not in (None, *own)}
        return {**own, **{name: self.circuits.get(name, breaker) for name, breaker in named.items() if name}}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `over` merged over `base`, table by table. A document (`body`) is one value and replaces the other."""
    both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys() if _are_tables(base, over, key)}
    return {**base, **over, **both}


def _are_tables(base: Mapping[str, Any], over: Mapping[str, Any], key: str) -> bool:
    return key != "body" and isinstance(base[key], dict) and isinstance(over[key], dict)


def _passed_on(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the pass-through takes of `[defaults]`, where only a coalescing that is off concerns it."""
    off = {"coalesce": "off"} if defaults.get("coalesce") == "off" else {}
    return {**{name: value for name, value in defaults.items() if name in PASSED_ON}, **off}


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
