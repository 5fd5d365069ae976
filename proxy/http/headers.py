"""All lists of header field names, and the rules for which fields are forwarded.

Names are in lower case. The lists are `Final`: mypyc then reads a C variable instead of a module dictionary.
"""

from typing import Final

from proxy.http.fields import Fields, Lines

# Which fields are forwarded.

# Hop-by-hop fields apply to one connection and are never forwarded (RFC 9110 section 7.6.1).
HOP_BY_HOP: Final = frozenset(b"connection keep-alive proxy-connection te transfer-encoding upgrade".split())
# Connection cannot remove them, nor X-Forwarded-*: a client could strip them (departs from RFC 9110 section 7.6.1).
PROTECTED: Final = frozenset(
    b"""host content-length content-type authorization cookie set-cookie cache-control forwarded x-real-ip
    x-correlation-id x-request-id idempotency-key traceparent tracestate date expect""".split()
)
# The usual values of Connection, each with the names that it lists (RFC 9110 section 7.6.1): saves splitting them.
USUAL_CONNECTION: Final[dict[bytes | None, frozenset[bytes]]] = {
    None: frozenset(),
    **{value: frozenset({value.lower()}) for value in (b"keep-alive", b"Keep-Alive", b"close", b"Close")},
}
# Not allowed as trailer fields, in addition to the protected ones: they frame or encode the body (RFC 9110 6.5.1).
NO_TRAILER: Final = HOP_BY_HOP | {b"trailer", b"content-encoding", b"content-range", b"te"}
# Fields that request another protocol: removed if the request is not forwarded (RFC 9110 7.8, RFC 7540 3.2).
UPGRADE_OFFER: Final = (b"upgrade", b"http2-settings")
# Removed from upstream responses: the sidecar writes its own (RFC 9110 section 7.6.1).
NOT_FROM_UPSTREAM: Final = HOP_BY_HOP | {b"x-correlation-id"}
# Removed from a 1xx or 204 response (RFC 9110 section 8.6).
NOT_FROM_UPSTREAM_BODILESS: Final = NOT_FROM_UPSTREAM | {b"content-length"}
# Sent by the sidecar to the upstream, in addition to the deadline field: the client's own lines are not forwarded.
OWN_FIELDS: Final = frozenset(b"x-correlation-id x-attempt-count x-backstay-explain".split())
# Fields that describe the client's request or its content: requests that the sidecar makes on its behalf omit them.
NOT_INHERITED: Final = frozenset(b"idempotency-key expect range transfer-encoding trailer".split())
NOT_INHERITED_PREFIXES: Final = (b"content-", b"if-")  # likewise: RFC 9110 sections 8.3 to 8.7 and 13.1

# How fields are parsed.

# The usual spelling of the most frequent names (IANA's registry of field names): saves checking and lowering them.
COMMON_SPELLINGS: Final = b"""Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection
    Content-Encoding Content-Length Content-Type Cookie Date ETag Host Idempotency-Key If-None-Match Keep-Alive
    Last-Modified Origin Referer Server Set-Cookie Transfer-Encoding User-Agent Vary X-Correlation-ID X-Forwarded-For
    X-Request-ID""".split()
# List fields whose members the sidecar parses (RFC 9110 section 5.6.1): their number is limited.
LIMITED_LISTS: Final = frozenset(
    b"cache-control connection content-length expect transfer-encoding upgrade vary".split()
)

# Who sends a request.

# Proxies report the client's address in them (RFC 7239 section 4; X-Forwarded-* is the predecessor).
FORWARDED: Final = frozenset(b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto".split())
# Removed if the peer is not a trusted proxy (RFC 7239 section 8.1).
FROM_TRUSTED_PROXY: Final = FORWARDED | {b"x-forwarded-port", b"x-real-ip"}
# Identify the caller if a route sets no `principal`; Connection cannot remove them (RFC 9110 11.6.2, RFC 6265).
CREDENTIALS: Final = (b"authorization", b"cookie")
# Fields with a credential or an equivalent: never recorded (RFC 9110 section 17.16.1).
NEVER_RECORDED: Final = frozenset(
    b"authorization proxy-authorization cookie set-cookie idempotency-key x-api-key x-auth-token".split()
)
# Part of the request key, but not of the caller's identity (RFC 6454 section 7, RFC 9110 section 14.2).
NOT_ABOUT_CALLER: Final = frozenset(b"origin range idempotency-key".split())
NOT_ABOUT_CALLER_PREFIXES: Final = (b"accept", b"if-", b"content-")  # RFC 9110 sections 12.5, 13.1 and 8.3 to 8.7

# What may be shared, and what is cached.

# They never change a response and are not part of the request key; all other fields are. No RFC defines such a list.
NEUTRAL: Final = frozenset(
    b"""connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length referer priority date
    cache-control pragma traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled
    x-b3-flags x-request-id x-correlation-id x-amzn-trace-id x-cloud-trace-context cf-ray x-request-start x-azure-ref
    x-attempt-count x-backstay-explain host""".split()
)
# A request with one of them is not coalesced; the first one is the reported reason (RFC 9110 14.2, 10.1.1 and 7.8).
NEVER_SHARED: Final = (b"range", b"expect", b"upgrade")
# Cache validation: is the client's copy still current? (RFC 9110 sections 13.1.2 and 13.1.3)
CACHE_CONDITIONS: Final = frozenset(b"if-none-match if-modified-since".split())
# Preconditions: a write with one fails if its first attempt already succeeded (RFC 9110 section 13.1).
WRITE_CONDITIONS: Final = frozenset(b"if-match if-none-match if-unmodified-since".split())
# A 304 repeats them from the response that it represents (RFC 9110 section 15.4.5); browsers need the rest.
SENT_WITH_304: Final = frozenset(
    b"""cache-control content-location date etag expires vary age access-control-allow-origin
    access-control-allow-credentials access-control-expose-headers timing-allow-origin""".split()
)
# Fields that describe the cached body: not updated from a 304 (RFC 9111 section 3.2).
NOT_UPDATED_BY_304: Final = frozenset(b"content-length content-encoding content-type content-range".split())

# Fields of browsers and tracers.

# Fields that allow a page of another origin to read a response (Fetch standard, "CORS protocol").
CORS_RESPONSE: Final = frozenset(
    b"access-control-allow-origin access-control-allow-credentials access-control-expose-headers vary".split()
)
# The sidecar's own fields that a page of another origin may read on the sidecar's own responses.
EXPOSED: Final = b"Retry-After, X-Correlation-ID, Cache-Status, Proxy-Status, Server-Timing, X-Backstay-Explain"
# The response to a preflight (Fetch standard, "CORS-preflight request").
CORS_PREFLIGHT_RESPONSE: Final = CORS_RESPONSE | {
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-allow-private-network",
    b"access-control-max-age",
}
# They distinguish preflights, in addition to method and target (Fetch standard, "CORS-preflight request").
CORS_PREFLIGHT_REQUEST: Final = (
    b"origin",
    b"access-control-request-headers",
    b"access-control-request-private-network",
)
# The trace of a request (W3C Trace Context sections 3.2 and 3.3).
TRACE_CONTEXT: Final = (b"traceparent", b"tracestate")

# Names that settings may use.

# Fields that `principal` names: a `[principal.NAME]` table with such a name would be taken for the field.
NOT_FOR_PRINCIPAL: Final = frozenset(b"authorization cookie proxy-authorization".split())

# Fields with a meaning in RFC 9110 or for the sidecar: none of them may be configured as the deadline header.
NOT_FOR_DEADLINE: Final = frozenset(
    b"""authorization cache-control connection content-encoding content-length content-range content-type cookie date
    expect forwarded host idempotency-key keep-alive origin pragma proxy-connection range te trailer transfer-encoding
    traceparent tracestate upgrade via x-attempt-count x-backstay-explain x-correlation-id x-forwarded-for
    x-forwarded-host x-forwarded-proto""".split()
)


def hop_only(fields: Fields, dropped: frozenset[bytes]) -> set[bytes]:
    """Return the names that are not forwarded: those in `dropped` or listed in Connection."""
    names = fields.keys() & dropped
    if b"connection" in fields:
        names |= fields.keys() & listed(fields)
    return names


def listed(fields: Fields) -> frozenset[bytes]:
    """Return the lower-case members of Connection except protected names."""
    value = fields.get(b"connection")
    if value in USUAL_CONNECTION and len(fields) == len(fields.lines):
        return USUAL_CONNECTION[value]
    return frozenset([name for name in fields.tokens(b"connection") if not _is_protected(name)])


def _is_protected(name: bytes) -> bool:
    return name in PROTECTED or name.startswith(b"x-forwarded-")


def trailers_that_cross(lines: Lines) -> Lines:
    """Return the trailer lines that may be forwarded: none that frames, routes or authenticates (RFC 9110 6.5.1)."""
    lowered = [(line[0].lower(), line) for line in lines]
    return tuple([line for name, line in lowered if name not in NO_TRAILER and not _is_protected(name)])
