"""Conditional requests and 304 responses (RFC 9110 section 13)."""

from proxy.http.fields import Fields
from proxy.http.headers import NOT_UPDATED_BY_304, SENT_WITH_304
from proxy.http.message import Framing, Request, Response
from proxy.policy.dates import unix_seconds


def unchanged(request: Request, response: Response) -> bool:
    """Tell whether the client's copy is current: its validators match by weak comparison (section 13.1.2)."""
    if request.method not in ("GET", "HEAD"):
        return False
    fields = request.fields
    if b"if-none-match" in fields:  # then If-Modified-Since is ignored (section 13.1.3)
        return _any_tag(fields.all(b"if-none-match"), response.fields.get(b"etag"))
    since = unix_seconds(fields[b"if-modified-since"]) if b"if-modified-since" in fields else None
    if since is None:
        return False
    changed = response.fields.get(b"last-modified") or response.fields.get(b"date")  # RFC 9111 section 4.3.2
    at = None if changed is None else unix_seconds(changed)
    return at is not None and at <= since


def _any_tag(values: list[bytes], tag: bytes | None) -> bool:
    if any(value.strip() == b"*" for value in values):
        return True
    wanted = None if tag is None else _opaque(tag)
    return wanted is not None and any(wanted in _opaque_tags(value) for value in values)


def _opaque_tags(value: bytes) -> list[bytes]:
    """Return the opaque tags in a list; none if a quote is missing."""
    parts = value.split(b'"')
    return parts[1::2] if len(parts) % 2 else []


def _opaque(tag: bytes) -> bytes | None:
    """Return the opaque part of an entity tag, weak or strong; None for an invalid tag."""
    parts = tag.split(b'"')
    return parts[1] if len(parts) == 3 and parts[0].strip() in (b"", b"W/") and not parts[2].strip() else None


def not_modified(response: Response) -> Response:
    """Return the 304 for a response of which the client has a current copy."""
    fields = response.fields
    names = SENT_WITH_304 if b"etag" in fields else SENT_WITH_304 | {b"last-modified"}
    lines = tuple([line for line in fields.lines if line[0].lower() in names])
    return Response(304, b"", Fields(lines), b"", Framing.NONE)


def refreshed(cached: Response, response: Response) -> Response | None:
    """Return a cached response with the fields of its 304; None if the 304 is about another response.

    Source: RFC 9111 sections 3.2 and 4.3.4.
    """
    if not _selects(response.fields, cached.fields):
        return None
    new = tuple([line for line in response.fields.lines if line[0].lower() not in NOT_UPDATED_BY_304])
    stays = cached.fields.without(frozenset([b"age", *[name.lower() for name, _ in new]]))  # its age starts anew
    return cached._replace(fields=Fields((*stays.lines, *new)))


def _selects(new: Fields, cached: Fields) -> bool:
    """Tell whether a 304 is about the cached response: a strong tag must be equal, a weak one equal weakly."""
    tag, known = new.get(b"etag"), cached.get(b"etag")
    if tag is not None:
        if known is None or _opaque(tag) is None:
            return False
        return tag == known if tag[:1] == b'"' else _opaque(tag) == _opaque(known)
    if b"last-modified" in new:
        return new[b"last-modified"] == cached.get(b"last-modified")
    return known is None and b"last-modified" not in cached
