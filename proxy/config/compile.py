"""From settings to the values that policies and wires run on. The only file that knows both."""

from collections.abc import Mapping

from proxy.config.routes import Passthrough, RouteSettings, RouteTable
from proxy.config.settings import Breaker, Settings
from proxy.config.templates import parse_request
from proxy.policy.breaker import BreakerRules
from proxy.policy.latency_target import Target
from proxy.policy.recovery_plan import FallbackDocument, RecoveryRules, RequestTemplate
from proxy.policy.routing import Coalesce, Idempotency, RetryRules, Route, SubjectRule

JITTER = 0.2  # ±20 % around the nominal wait


def routes(settings: Settings) -> tuple[Route, ...]:
    """Return the configured routes, in their order."""
    return tuple(_route(settings, table) for table in settings.routes)


def passthrough(settings: Settings) -> Route:
    """Return what holds for requests that no route matches."""
    return _compiled(settings, settings.passthrough, method="*", template="*", resend=False)


def breaker_rules(settings: Settings) -> Mapping[str, BreakerRules]:
    """Return every circuit's figures by name."""
    return {name: _breaker(table) for name, table in settings.breakers.items()}


def _breaker(table: Breaker) -> BreakerRules:
    return BreakerRules(
        failure_threshold=table.failure_threshold,
        reset_timeout_s=table.reset_timeout,
        success_threshold=table.success_threshold,
        jitter=table.jitter,
        max_probes=table.max_probes,
        slow_call_s=table.slow_call,
        slow_call_rate=table.slow_call_rate,
        slow_call_window=table.slow_call_window,
    )


def _route(settings: Settings, table: RouteTable) -> Route:
    template = table.template
    source, _, name = (table.subject or "").partition(":")
    subject = SubjectRule(source, name) if table.subject else None
    return _compiled(settings, table, method=template.method, template=template.path, subject=subject)


def _compiled(
    settings: Settings,
    table: RouteTable | Passthrough,
    *,
    method: str,
    template: str,
    subject: SubjectRule | None = None,
    resend: bool = True,
) -> Route:
    upstream = settings.upstreams[table.upstream]
    return Route(
        operation=table.operation,
        method=method,
        template=template,
        upstream=table.upstream,
        circuit=table.circuit or table.upstream,
        subject=subject,
        coalesce=None if table.coalesce is None else Coalesce(table.coalesce),
        match_body=table.match_body,
        no_cache_leads=table.no_cache_leads,
        honour_no_store=table.honour_no_store,
        ignored_directives=frozenset(name.encode() for name in table.ignore_directives),
        principal=table.principal,
        neutral_fields=frozenset(name.lower().encode() for name in table.neutral_headers),
        idempotency=Idempotency(table.idempotency),
        quoted_key=upstream.idempotency_form == "quoted",
        honours_idempotency=table.upstream_honours_idempotency,
        rejected_means_unprocessed=table.rejected_means_unprocessed,
        resend=resend,
        total_timeout_s=table.total_timeout,
        attempt_timeout_s=table.attempt_timeout,
        min_attempt_s=table.min_attempt,
        retry=_retry(table),
        recovery=_recovery(table),
        replay_limit=table.replay_limit,
        replay_answer_limit=table.replay_answer_limit,
        max_body=table.max_body,
        idle_timeout_s=table.idle_timeout,
        client_idle_s=_client_idle_s(settings, table),
        reuse_s=table.reuse,
        target=None if table.target is None else Target(*_limits(table)),
        restoration=table.restoration,
        explain=table.explain,
        ends_session=table.ends_session,
        host=_host(settings, table),
        max_flights=table.max_flights,
        max_followers=table.max_followers,
        store_required=table.store_required,
    )


def _client_idle_s(settings: Settings, table: RouteSettings) -> float:
    """Return how long no byte may move in a body between a client and the sidecar: the more special setting holds."""
    routed = isinstance(table, RouteTable) and "idle_timeout" in table.model_fields_set
    said = routed or "idle_timeout" in settings.defaults.model_fields_set
    return table.idle_timeout if said else settings.listen.idle_timeout


def _limits(table: RouteSettings) -> tuple[float, float, float]:
    assert table.target is not None
    return table.target.ideal, table.target.acceptable, table.target.slow


def _retry(table: RouteSettings) -> RetryRules:
    retry = table.retry
    return RetryRules(retry.max_retries, retry.initial_delay, retry.max_delay, JITTER if retry.jitter else 0.0)


def _recovery(table: RouteSettings) -> RecoveryRules:
    fallback = None if table.fallback is None else FallbackDocument(table.fallback.status, table.fallback.body)
    on_conflict = None if table.on_conflict is None else _request(table.on_conflict)
    missing = table.on_missing
    on_missing = None if missing is None else _request(missing.request, missing.body)
    return RecoveryRules(on_conflict, on_missing, table.stale_if_error, fallback)


def _request(text: str, body: object = None) -> RequestTemplate:
    template = parse_request(text)
    return RequestTemplate(template.method, template.path, body)


def _host(settings: Settings, table: RouteTable | Passthrough) -> bytes | None:
    if table.host == "preserve":
        return None
    if table.host != "upstream":
        return table.host.encode("ascii")
    first = settings.upstreams[table.upstream].url[0]
    return b"localhost" if first.startswith("unix:") else first.partition("://")[2].rstrip("/").encode("ascii")
