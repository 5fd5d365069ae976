"""The page of all problem documents, made from the reasons and from every refusal in the code."""

from collections.abc import Iterator
from itertools import groupby

from proxy.http.message import Failure
from proxy.http.problem_response import problem_of
from proxy.http.problems import Reason, Refusal, refused
from tests.reference.markdown import code, page, table
from tests.reference.source import refusals

_UNTOLD = {Reason.CANCELLED, Reason.REQUEST_ERROR}  # nobody is left to be told; the refusals are told one by one
_INTRODUCTION = """\
Every answer that the sidecar makes itself is `application/problem+json` (RFC 9457) with `type`, `title`, `status`,
`detail` and `correlation_id`, and has `Proxy-Status: backstay; error=...` (RFC 9209). The `type` is
`urn:backstay:problem:` and that error. `retry_after` has the seconds of `Retry-After`, where there is one."""
_FAILURES = """\
The backend gave no answer, or the sidecar did not ask it. The `detail` is the usual one; where more is known, it says
more. `outcome` in the [audit record](audit-record.md) and in the [metrics](metrics.md) is the error."""
_REFUSALS = """\
The request itself is at fault, a limit of the sidecar is reached, or a store that the route requires is away. `outcome`
is `refused`. The last column is the label `reason` of `backstay_bad_requests_total`."""
_OPERATORS = """\
The [control plane](control-plane.md) answers with problem documents too: their `type` is `about:blank`, and their
`detail` says what to do."""


def problems() -> str:
    """Return the page."""
    return page(
        "Problem types",
        "`Reason` and every `Refusal` in `proxy/`",
        _INTRODUCTION,
        "## No answer from the backend",
        _FAILURES,
        table(("status", "error in `type` and `Proxy-Status`", "title", "detail"), map(_failure, _reasons())),
        "## The request is refused",
        _REFUSALS,
        table(("status", "error in `type` and `Proxy-Status`", "title", "detail", "reason"), _refusals()),
        "## Answers of the control plane",
        _OPERATORS,
    )


def _reasons() -> list[Reason]:
    return sorted(set(Reason) - _UNTOLD, key=lambda reason: (reason.status, reason))


def _failure(reason: Reason) -> tuple[str, ...]:
    problem = problem_of(Failure(reason, sent=False))
    return (str(problem.status), code(problem.error), problem.title, problem.detail)


def _refusals() -> Iterator[tuple[str, ...]]:
    for _, same in groupby(sorted(set(refusals())), key=lambda found: (found.status, found.reason, found.error)):
        found = list(same)
        error = Reason[found[0].error] if found[0].error else None
        problem = refused(Refusal(found[0].status, found[0].reason, "", error=error))
        details = "; ".join(one.detail for one in found if one.detail)
        yield (str(problem.status), code(problem.error), problem.title, details, code(found[0].reason))
