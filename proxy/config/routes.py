"""What a route can say about the requests it matches. Any of it may stand in `[defaults]`, except which requests."""

from typing import Literal

from pydantic import Field

from proxy.config.fields import (
    Count,
    Duration,
    FieldName,
    Host,
    JsonBody,
    Label,
    Many,
    Match,
    Operation,
    OrNone,
    OwnRequest,
    Section,
    Share,
    Size,
    Status,
    Subject,
    Timeout,
)
from proxy.config.templates import Template, parse_template

# Directives of an answer's Cache-Control that a route may set aside: frameworks send them unasked.
Directive = Literal["must-revalidate", "no-cache", "private", "proxy-revalidate", "s-maxage"]


class Retry(Section):
    """The ladder (T4), its jitter (T6) and the share of recent requests that may be retries (T8)."""

    max_retries: int = Field(default=3, ge=0)
    initial_delay: Duration = 0.1
    max_delay: Duration = 2.0
    jitter: bool = True
    budget: Share = 0.2


class Target(Section):
    """How fast an operation should be. The later limits follow an `ideal` that is set above them."""

    ideal: Timeout = 0.5
    acceptable: Timeout = Field(default_factory=lambda said: max(1.0, said["ideal"]))
    slow: Timeout = Field(default_factory=lambda said: max(2.0, said["acceptable"]))


class Fallback(Section):
    """The document of last resort. A status without content (204, 205, 304) has no `body`; every other needs one."""

    status: Status = 200
    body: JsonBody = None


class OnMissing(Section):
    """What creates a resource that was not found (S2)."""

    request: OwnRequest
    body: JsonBody = None


class Cors(Section):
    """The CORS fields of the sidecar's own answers, where they are not to be learned from the upstream (S4)."""

    allow_origins: Many[str]
    allow_credentials: bool = False


class RouteSettings(Section):
    """Every policy of a route; this is also the table `[defaults]`."""

    total_timeout: Timeout = 2.0
    attempt_timeout: OrNone[Timeout] = None
    min_attempt: Duration = 0.05
    retry: Retry = Retry()
    # None: identical for safe methods, off for unsafe ones. It has no word of its own: "none" would read like "off".
    coalesce: Literal["off", "identical", "subject"] | None = None
    match_body: bool = True
    honour_no_store: bool = False
    ignore_directives: Many[Directive] = ()
    no_cache_leads: bool = False
    principal: OrNone[Many[str]] = None
    neutral_headers: Many[FieldName] = ()
    idempotency: Literal["off", "inject", "replay"] = "off"
    upstream_honours_idempotency: bool = False
    rejected_means_unprocessed: bool = False
    replay_limit: Size = 64 * 1024
    replay_answer_limit: Size = 64 * 1024
    max_body: OrNone[Size] = None
    idle_timeout: Timeout = 60.0
    on_conflict: OrNone[OwnRequest] = None
    on_missing: OrNone[OnMissing] = None
    reuse: OrNone[Timeout] = None
    stale_if_error: OrNone[Timeout] = None
    fallback: OrNone[Fallback] = None
    restoration: OrNone[Literal["status", "history"]] = None
    ends_session: bool = False
    host: Host = "preserve"
    cors: OrNone[Cors] = None
    store_required: bool = False
    explain: bool = False
    circuit: OrNone[Label] = None
    target: OrNone[Target] = Target()
    max_flights: Count = 10_000
    max_followers: Count = 1_000


class Route(RouteSettings):
    """One operation: which requests it matches, whom they go to, and the business key they carry."""

    operation: Operation
    match: Match
    upstream: str
    subject: OrNone[Subject] = None

    @property
    def template(self) -> Template:
        """Return `match`, taken apart."""
        return parse_template(self.match)


class Passthrough(RouteSettings):
    """What holds for requests that no route matches. It names no requests, so it is no `Route`."""

    operation: Literal["passthrough"] = "passthrough"
    upstream: str
    subject: None = None


# What of [defaults] concerns a plain pass-through too: limits, identity and addressing, never recovery or keys.
PASSED_ON = (
    "min_attempt",
    "retry",
    "honour_no_store",
    "no_cache_leads",
    "principal",
    "neutral_headers",
    "replay_limit",
    "max_body",
    "idle_timeout",
    "host",
    "cors",
    "target",
    "max_flights",
    "max_followers",
)
