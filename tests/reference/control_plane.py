"""The page of the control plane's endpoints, made from the application's own table."""

from collections.abc import Iterator

from proxy.admin.endpoints import ENDPOINTS, STATUS_PAGE, AdminEndpoint
from tests.reference.markdown import code, page, table

_INTRODUCTION = """\
The control plane listens on `admin.address`, by default on 127.0.0.1:9901. Answers are JSON where nothing else is said;
errors are problem documents (RFC 9457) with a `detail` that says what to do.

* **Anyone** who reaches the listener may ask what needs no token. What changes or exports something needs
  `Authorization: Bearer` and the admin token: 401 without it, 403 where no token is configured.
* `Host` must be an IP address, a name without a dot, or a name of the listener: else 421. The status page and its
  events refuse other names without a dot too. See `admin.allowed_hosts`.
* A path that does not exist is 404, another method 405, and an error in the sidecar 500.
* A head of more than 16 KiB is 431. Requests that a client sends ahead are answered one at a time, and none while it
  does not read the responses."""


def control_plane() -> str:
    """Return the page."""
    return page(
        "Control plane",
        "`proxy/admin/endpoints.py`",
        _INTRODUCTION,
        table(("method", "path", "who may ask", "does"), map(_overview, (*ENDPOINTS, *STATUS_PAGE))),
        *(block for endpoint in (*ENDPOINTS, *STATUS_PAGE) for block in _section(endpoint)),
    )


def _overview(endpoint: AdminEndpoint) -> tuple[str, ...]:
    who = "bearer of the token" if endpoint.guarded else "anyone"
    return (endpoint.method, code(endpoint.place), who, endpoint.about)


def _section(endpoint: AdminEndpoint) -> Iterator[str]:
    yield f"## `{endpoint.method} {endpoint.place}`"
    if endpoint.parameters:
        place = endpoint.place
        rows = [
            (code(name), "path" if f"{{{name}}}" in place else "query", about)
            for name, about in endpoint.parameters.items()
        ]
        yield table(("parameter", "in", "meaning"), rows)
    yield table(("status", "answer"), ((str(status), answer) for status, answer in endpoint.answers.items()))
