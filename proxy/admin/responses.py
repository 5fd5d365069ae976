"""Responses of the control plane: JSON, problem documents (RFC 9457), and the check of the token."""

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import orjson
import structlog
from aiohttp import hdrs, web

from proxy.admin.control import ControlPlane
from proxy.admin.hosts import OwnNames
from proxy.http.redacted_target import redacted_path

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CONTROL = web.AppKey("control", ControlPlane)
NAMES: web.AppKey[OwnNames | None] = web.AppKey("names")

NO_TOKEN = "This needs an admin token and none is configured: set admin.token or BACKSTAY_ADMIN__TOKEN."  # noqa: S105 - a sentence about tokens
MISSING_TOKEN = "This needs the admin token: send `Authorization: Bearer <token>`."  # noqa: S105 - a sentence
WRONG_TOKEN = "The admin token that was sent is not the configured one."  # noqa: S105 - a sentence about tokens

_log = structlog.get_logger(__name__)


def json(value: object, status: int = 200) -> web.Response:
    """Return `value` as a JSON response."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


def problem(status: int, detail: str) -> web.Response:
    """Return a problem document with one sentence."""
    return web.Response(body=_document(status, detail), status=status, content_type="application/problem+json")


def raw_problem(status: int, detail: str) -> bytes:
    """Return a problem document with its head, for a connection that is closed after it."""
    body = _document(status, detail)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _document(status: int, detail: str) -> bytes:
    readable = detail.encode("utf-8", "backslashreplace").decode()  # `detail` has surrogates for invalid UTF-8
    return orjson.dumps(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": readable}
    )


@web.middleware
async def plainly(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert every error to a problem document, and forbid caching."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        without_frames(refusal)
        response = _translated(request, refusal)
    except Exception:
        _log.exception("admin request failed", path=redacted_path(request.rel_url.raw_path.encode()))
        response = problem(500, "The admin listener failed on this request; the log has the reason.")
    response.headers["Cache-Control"] = "no-store"
    return response


@web.middleware
async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests for another host name."""
    names, hosts = request.app[NAMES], request.headers.getall(hdrs.HOST, ())
    if names is None:
        return await handler(request)
    refusal = names.refusal(hosts, request.raw_path, request.path, required=request.version >= (1, 1))
    return await handler(request) if refusal is None else problem(*refusal)


@web.middleware
async def found(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer for a path or method that does not exist. An exception is slower and leaves a reference cycle."""
    refusal = request.match_info.http_exception
    return await handler(request) if refusal is None else _translated(request, refusal)


def without_frames(error: BaseException | None) -> None:
    """Drop the tracebacks of a handled error: a frame that holds the error is a reference cycle.

    The process collects cycles seldom, and a client would control how long a collection takes.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _translated(request: web.Request, refusal: web.HTTPException) -> web.Response:
    details = {
        404: f"There is nothing at {request.path}: `GET /` lists what there is.",
        405: f"{request.method} is not possible at {request.path}.",
    }
    response = problem(refusal.status, details.get(refusal.status, refusal.reason))
    if "Allow" in refusal.headers:
        response.headers["Allow"] = refusal.headers["Allow"]
    return response


def guarded(handler: Handler) -> Handler:
    """Call `handler` only for a request with the admin token."""

    async def checked(request: web.Request) -> web.StreamResponse:
        token = request.app[CONTROL].token()
        if not token:
            return problem(403, NO_TOKEN)
        if not _bears(request.headers.get("Authorization", ""), token):
            refusal = problem(401, WRONG_TOKEN if "Authorization" in request.headers else MISSING_TOKEN)
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return await handler(request)

    return checked


def _bears(authorization: str, token: str) -> bool:
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())
    return same and scheme.lower() == "bearer"
