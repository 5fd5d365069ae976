"""What a route can say about the requests it matches. Any of it may stand in `[defaults]`, except which requests."""

from typing import Literal

from pydantic import Field

from proxy.config.field_types import (
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
    """How often a failed request is sent again, and after which waits."""

    max_retries: int = Field(default=3, ge=0)
    """Retries after the first attempt, at most."""
    initial_delay: Duration = 0.1
    """Wait before the first retry; each further wait is twice as long. After 429 all waits are doubled."""
    max_delay: Duration = 2.0
    """Longest wait between two attempts."""
    jitter: bool = True
    """Vary each wait at random by 20 % around its nominal length."""
    budget: Share = 0.2
    """Share of recent requests that may be retries: of this route, or of all routes of the upstream that set none."""


class TargetTable(Section):
    """How fast an operation should be."""

    ideal: Timeout = 0.5
    """Up to here a request is `ideal`."""
    acceptable: Timeout = Field(default_factory=lambda said: max(1.0, said["ideal"]))
    """Up to here a request is `acceptable`. Default: 1 s, or `ideal` where that is longer."""
    slow: Timeout = Field(default_factory=lambda said: max(2.0, said["acceptable"]))
    """Up to here a request is `slow`, beyond it `critical`. Default: 2 s, or `acceptable` where that is longer."""


class FallbackTable(Section):
    """The answer of last resort. Status 204, 205 and 304 have no `body`; every other status needs one."""

    status: Status = 200
    """Status code of the answer."""
    body: JsonBody = None
    """JSON document of the answer."""


class OnMissing(Section):
    """The request that creates a resource which was not found."""

    request: OwnRequest
    """Request that creates the resource, such as `POST /api/sessions`. `{subject}` is replaced."""
    body: JsonBody = None
    """JSON document to send. `{subject}` is replaced."""


class Cors(Section):
    """The CORS fields of the sidecar's own answers."""

    allow_origins: Many[str]
    """Origins that may read the sidecar's own answers; `"*"` is any."""
    allow_credentials: bool = False
    """Allow requests with credentials to read them."""


class RouteSettings(Section):
    """Every setting of a route but which requests it matches."""

    total_timeout: Timeout = 2.0
    """Time from the request's last byte to the answer's head, all attempts and waits included. Then 504."""
    attempt_timeout: OrNone[Timeout] = None
    """Time of one attempt, where a retry is allowed. `"none"`: what is left of `total_timeout`."""
    min_attempt: Duration = 0.05
    """A retry that would have less time than this is not made."""
    retry: Retry = Retry()
    """When and how often a request is sent again."""
    # None: identical for safe methods, off for unsafe ones. It has no word of its own: "none" would read like "off".
    coalesce: Literal["off", "identical", "subject"] | None = None
    """Which requests share one upstream request. Default: `identical` for safe methods, `off` for unsafe ones."""
    match_body: bool = True
    """With `coalesce = "subject"`: the body must be equal too. `false` needs `on_conflict`."""
    honour_no_store: bool = False
    """Do not share or cache answers that say `no-store`."""
    ignore_directives: Many[Directive] = ()
    """Directives of an answer's `Cache-Control` that `reuse` and `stale_if_error` ignore."""
    no_cache_leads: bool = False
    """A request with `Cache-Control: no-cache` joins no flight: it asks the upstream itself."""
    principal: OrNone[Many[str]] = None
    """Fields that tell callers apart, such as `cookie:sid`, and names of `[principal.NAME]`. `"none"`: every field."""
    neutral_headers: Many[FieldName] = ()
    """Header fields that do not make a request a different one."""
    idempotency: Literal["off", "inject", "replay"] = "off"
    """`inject` adds a key to unsafe requests without one; `replay` also answers a repeated key from the store."""
    upstream_honours_idempotency: bool = False
    """The backend deduplicates by key. Only then is a POST or PATCH that was sent ever sent again."""
    rejected_means_unprocessed: bool = False
    """429 and 503 prove that the backend did nothing, so that any request may be sent again."""
    replay_limit: Size = 64 * 1024
    """Largest request body that is kept for a retry. Larger ones are streamed and sent once."""
    replay_answer_limit: Size = 64 * 1024
    """With `idempotency = "replay"`: largest answer that is stored. A repetition of a larger one gets 409."""
    max_body: OrNone[Size] = None
    """Largest request body. Beyond: 413."""
    idle_timeout: Timeout = 60.0
    """Time without a byte moving in a body, on either leg: 408, 504, or a cut connection."""
    on_conflict: OrNone[OwnRequest] = None
    """On 409, load what exists, such as `GET /api/sessions/{subject}`."""
    on_missing: OrNone[OnMissing] = None
    """On 404, create the resource."""
    reuse: OrNone[Timeout] = None
    """How long an answer is reused for the same principal. A write to the subject ends it."""
    stale_if_error: OrNone[Timeout] = None
    """How old a cached response may be that is served during an outage."""
    fallback: OrNone[FallbackTable] = None
    """The answer of last resort during an outage."""
    restoration: OrNone[Literal["status", "history"]] = None
    """Which half of a session restoration this operation is."""
    ends_session: bool = False
    """A successful request drops everything that is cached for its principal, as a logout does."""
    host: Host = "preserve"
    """`preserve` the client's `Host`, send the `upstream`'s, or send this name."""
    cors: OrNone[Cors] = None
    """CORS fields of the sidecar's own responses, also to preflights. `"none"`: those that the backend last sent."""
    store_required: bool = False
    """Answer 503 while the store is down, and do not start without it. `false`: go on without it."""
    explain: bool = False
    """Answer `X-Backstay-Explain: 1` with a field that says what was decided and why."""
    circuit: OrNone[Label] = None
    """A circuit of this name instead of the upstream's own."""
    target: OrNone[TargetTable] = TargetTable()
    """How soon the response, or the head of a stream, should come; default 500 ms, 1 s, 2 s. `"none"`: no target."""
    max_flights: Count = 10_000
    """Shared upstream requests under way at once. Beyond, reads are not shared, and writes by subject get 503."""
    max_followers: Count = 1_000
    """Callers that share one upstream request. Beyond, reads are not shared, and writes by subject get 503."""


class RouteTable(RouteSettings):
    """One operation: which requests it matches, which upstream they go to, and where their business key is."""

    operation: Operation
    """Name of the operation in records, metrics and correlation ids."""
    match: Match
    """Methods and path template, such as `GET /api/sessions/{report_id}` or `ANY /api/{rest...}`."""
    upstream: str
    """Name of the upstream. Default: the first."""
    subject: OrNone[Subject] = None
    """Where the business key is: `body:/reportId`, `path:report_id`, `query:reportId` or `header:X-Report-Id`."""

    @property
    def template(self) -> Template:
        """Return `match`, taken apart."""
        return parse_template(self.match)


class Passthrough(RouteSettings):
    """Requests that no route matches. The settings that need a route, `[passthrough]` does not take."""

    operation: Literal["passthrough"] = "passthrough"
    """Name of these requests in records and metrics."""
    upstream: str = ""
    """Name of the first upstream."""
    subject: None = None
    """They have no business key."""
    total_timeout: Timeout = 30.0
    """Time from the request's last byte to the answer's head. Then 504. `[defaults]` does not change it."""
    coalesce: Literal["off", "identical"] | None = None
    """Whether requests share one upstream request. Default: `identical` for safe methods, `off` for unsafe ones."""
    circuit: OrNone[Label] = None
    """A circuit of this name, which timeouts open too. `"none"`: the upstream's, for which timeouts count nothing."""


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
PASSTHROUGH = ("total_timeout", "coalesce", "circuit", *PASSED_ON)
"""The settings of `[passthrough]`."""
