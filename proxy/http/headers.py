"""Every list of header field names, each with its meaning, and which fields cross from one leg to the other.

Names are in lower case. The lists are `Final`: compiled code then reads a C variable instead of a module's dictionary.
"""

from typing import Final

from proxy.http.fields import Fields, Lines

# What crosses from one leg to the other.

# They hold for one connection and are never forwarded (RFC 9110 section 7.6.1).
HOP_BY_HOP: Final = frozenset(b"connection keep-alive proxy-connection te transfer-encoding upgrade".split())
# Connection cannot remove them, nor X-Forwarded-*: a client could strip them (departs from RFC 9110 section 7.6.1).
PROTECTED: Final = frozenset(
    b"""host content-length content-type authorization cookie set-cookie cache-control forwarded x-real-ip
    x-correlation-id x-request-id idempotency-key traceparent tracestate date expect""".split()
)
# The usual values of Connection, and the names that each lists (RFC 9110 section 7.6.1): spares splitting them.
USUAL_CONNECTION: Final[dict[bytes | None, frozenset[bytes]]] = {
    None: frozenset(),
    **{value: frozenset({value.lower()}) for value in (b"keep-alive", b"Keep-Alive", b"close", b"Close")},
}
# They are no trailer fields, beside the protected ones: they frame or encode the body (RFC 9110 section 6.5.1).
NO_TRAILER: Final = HOP_BY_HOP | {b"trailer", b"content-encoding", b"content-range", b"te"}
# They offer another protocol, and go where the offer is not passed on (RFC 9110 section 7.8, RFC 7540 section 3.2.1).
UPGRADE_OFFER: Final = (b"upgrade", b"http2-settings")
# An upstream's response loses them: the sidecar writes its own (RFC 9110 section 7.6.1).
NOT_FROM_UPSTREAM: Final = HOP_BY_HOP | {b"x-correlation-id"}
# A 1xx or 204 response loses them (RFC 9110 section 8.6).
NOT_FROM_UPSTREAM_BODILESS: Final = NOT_FROM_UPSTREAM | {b"content-length"}
# The sidecar sends them to the upstream, beside the deadline's field: a client's own lines are not passed on.
OWN_FIELDS: Final = frozenset(b"x-correlation-id x-attempt-count x-backstay-explain".split())
# They describe the first request or its content: a request that the sidecar makes for its sender does not have them.
NOT_INHERITED: Final = frozenset(b"idempotency-key expect range transfer-encoding trailer".split())
NOT_INHERITED_PREFIXES: Final = (b"content-", b"if-")  # beside them: RFC 9110 sections 8.3 to 8.7 and 13.1

# How fields are read off the wire.

# The usual spelling of the most frequent names (IANA's registry of field names): spares checking and lowering them.
COMMON_SPELLINGS: Final = b"""Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection
    Content-Encoding Content-Length Content-Type Cookie Date ETag Host Idempotency-Key If-None-Match Keep-Alive
    Last-Modified Origin Referer Server Set-Cookie Transfer-Encoding User-Agent Vary X-Correlation-ID X-Forwarded-For
    X-Request-ID""".split()
# The sidecar looks at their members one by one (RFC 9110 section 5.6.1): their number is limited.
LIMITED_LISTS: Final = frozenset(
    b"cache-control connection content-length expect transfer-encoding upgrade vary".split()
)

# Who sends a request.

# Proxies say with them who the client is (RFC 7239 section 4; X-Forwarded-* is its predecessor).
FORWARDED: Final = frozenset(b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto".split())
# They are removed where the peer is no trusted proxy (RFC 7239 section 8.1).
FROM_TRUSTED_PROXY: Final = FORWARDED | {b"x-forwarded-port", b"x-real-ip"}
# They name the caller where a route does not say what does; Connection cannot remove them (RFC 9110 11.6.2, RFC 6265).
CREDENTIALS: Final = (b"authorization", b"cookie")
# They carry a credential, or something that works like one, and are never recorded (RFC 9110 section 17.16.1).
NEVER_RECORDED: Final = frozenset(
    b"authorization proxy-authorization cookie set-cookie idempotency-key x-api-key x-auth-token".split()
)
# They belong to the request key, but do not name the caller (RFC 6454 section 7, RFC 9110 section 14.2).
NOT_ABOUT_CALLER: Final = frozenset(b"origin range idempotency-key".split())
NOT_ABOUT_CALLER_PREFIXES: Final = (b"accept", b"if-", b"content-")  # RFC 9110 sections 12.5, 13.1 and 8.3 to 8.7

# What may be shared, and what is cached.

# They never change a response, and are no part of the request key: every other field is. No RFC has such a list.
NEUTRAL: Final = frozenset(
    b"""connection keep-alive proxy-connection te trailer transfer-encoding upgrade content-length referer priority date
    cache-control pragma traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled
    x-b3-flags x-request-id x-correlation-id x-amzn-trace-id x-cloud-trace-context cf-ray x-request-start x-azure-ref
    x-attempt-count x-backstay-explain host""".split()
)
# A request with one of them goes alone; the first is the reason that is told (RFC 9110 sections 14.2, 10.1.1 and 7.8).
NEVER_SHARED: Final = (b"range", b"expect", b"upgrade")
# They ask whether the client's copy is still current (RFC 9110 sections 13.1.2 and 13.1.3).
CACHE_CONDITIONS: Final = frozenset(b"if-none-match if-modified-since".split())
# They make a write fail that its own first attempt has done already (RFC 9110 section 13.1).
WRITE_CONDITIONS: Final = frozenset(b"if-match if-none-match if-unmodified-since".split())
# A 304 carries them of the response that it stands for (RFC 9110 section 15.4.5); browsers need the rest.
SENT_WITH_304: Final = frozenset(
    b"""cache-control content-location date etag expires vary age access-control-allow-origin
    access-control-allow-credentials access-control-expose-headers timing-allow-origin""".split()
)
# They describe the cached body, and are not updated from a 304 (RFC 9111 section 3.2).
NOT_UPDATED_BY_304: Final = frozenset(b"content-length content-encoding content-type content-range".split())

# What browsers and tracers add.

# They let a page of another origin read a response (Fetch standard, "CORS protocol").
CORS_RESPONSE: Final = frozenset(
    b"access-control-allow-origin access-control-allow-credentials access-control-expose-headers vary".split()
)
# They answer a preflight (Fetch standard, "CORS-preflight request").
CORS_PREFLIGHT_RESPONSE: Final = CORS_RESPONSE | {
    b"access-control-allow-methods",
    b"access-control-allow-headers",
    b"access-control-allow-private-network",
    b"access-control-max-age",
}
# They tell preflights apart, beside the method and the target (Fetch standard, "CORS-preflight request").
CORS_PREFLIGHT_REQUEST: Final = (
    b"origin",
    b"access-control-request-headers",
    b"access-control-request-private-network",
)
# The trace that a request belongs to (W3C Trace Context sections 3.2 and 3.3).
TRACE_CONTEXT: Final = (b"traceparent", b"tracestate")

# What a setting may name.

# They have a meaning on the wire (RFC 9110) or for the sidecar: none of them can carry the deadline as well.
NOT_FOR_DEADLINE: Final = frozenset(
    b"""authorization cache-control connection content-encoding content-length content-range content-type cookie date
    expect forwarded host idempotency-key keep-alive origin pragma proxy-connection range te trailer transfer-encoding
    traceparent tracestate upgrade via x-attempt-count x-backstay-explain x-correlation-id x-forwarded-for
    x-forwarded-host x-forwarded-proto""".split()
)


def hop_only(fields: Fields, dropped: frozenset[bytes]) -> set[bytes]:
    """Return the names that do not cross: among `dropped`, hop-by-hop ones with them, or listed in Connection."""
    names = fields.keys() & dropped
    if b"connection" in fields:
        names |= fields.keys() & listed(fields)
    return names


def listed(fields: Fields) -> frozenset[bytes]:
    """Return the lower-case members of Connection, but for the protected names."""
    value = fields.get(b"connection")
    if value in USUAL_CONNECTION and len(fields) == len(fields.lines):
        return USUAL_CONNECTION[value]
    return frozenset([name for name in fields.tokens(b"connection") if not _is_protected(name)])


def _is_protected(name: bytes) -> bool:
    return name in PROTECTED or name.startswith(b"x-forwarded-")


def trailers_that_cross(lines: Lines) -> Lines:
    """Return the trailer lines that may follow a body: none that frames, routes or authenticates (RFC 9110 6.5.1)."""
    lowered = [(line[0].lower(), line) for line in lines]
    return tuple([line for name, line in lowered if name not in NO_TRAILER and not _is_protected(name)])
