"""Compile the settings of each route into the plain attributes that the hot path reads, once for each load."""

from proxy.config.routes import Passthrough, RouteTable
from proxy.config.settings import Settings
from proxy.policy.latency_target import Target
from proxy.policy.recovery_plan import RecoveryRules
from proxy.policy.routing import EVERY, Coalesce, Idempotency, Route, SubjectRule
from proxy.policy.token_rules import PrincipalRules


def routes(settings: Settings) -> tuple[Route, ...]:
    """Return the configured routes, in their order."""
    return tuple(_route(settings, table) for table in settings.routes)


def passthrough(settings: Settings) -> Route:
    """Return the route of requests that no configured route matches."""
    return _compiled(settings, settings.passthrough, method="*", template=EVERY, resend=False)


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
    return Route(
        settings=table,
        operation=table.operation,
        method=method,
        template=template,
        upstream=table.upstream,
        circuit=table.circuit or table.upstream,
        subject=subject,
        coalesce=None if table.coalesce is None else Coalesce(table.coalesce),
        no_cache_leads=table.no_cache_leads,
        honour_no_store=table.honour_no_store,
        ignored_directives=frozenset(name.encode() for name in table.ignore_directives),
        idempotency=Idempotency(table.idempotency),
        quoted_key=settings.upstreams[table.upstream].idempotency_form == "quoted",
        honours_idempotency=table.upstream_honours_idempotency,
        rejected_means_unprocessed=table.rejected_means_unprocessed,
        resend=resend,
        total_timeout_s=table.total_timeout,
        attempt_timeout_s=table.attempt_timeout,
        min_attempt_s=table.min_attempt,
        retry=table.retry,
        recovery=RecoveryRules.of(table),
        replay_limit=table.replay_limit,
        max_body=table.max_body,
        client_idle_s=_client_idle_s(settings, table),
        reuse_s=table.reuse,
        target=None if table.target is None else Target.of(table.target),
        restoration=table.restoration,
        explain=table.explain,
        host=_host(settings, table),
        max_flights=table.max_flights,
        max_followers=table.max_followers,
        store_required=table.store_required,
        verified=_verified(settings, table),
    )


def _verified(settings: Settings, table: RouteTable | Passthrough) -> tuple[PrincipalRules, ...]:
    """Return the rules of each `[principal.NAME]` that a route names, in its order."""
    named = dict.fromkeys(table.principal or ())
    return tuple(PrincipalRules.of(name, settings.principal[name]) for name in named if name in settings.principal)


def _client_idle_s(settings: Settings, table: RouteTable | Passthrough) -> float:
    """Return how long no byte may move in a body between a client and the sidecar: the more special setting holds."""
    return table.idle_timeout if "idle_timeout" in table.model_fields_set else settings.listen.idle_timeout


def _host(settings: Settings, table: RouteTable | Passthrough) -> bytes | None:
    if table.host == "preserve":
        return None
    if table.host != "upstream":
        return table.host.encode("ascii")
    first = settings.upstreams[table.upstream].url[0]
    return b"localhost" if first.startswith("unix:") else first.partition("://")[2].rstrip("/").encode("ascii")
