"""What an invalid text most likely means, so that the cure is this value instead of an example."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_PLACE = re.compile(
    r"(?:[a-z]++://)?(?P<host>\[[0-9a-f:.]++\]|[a-z0-9._-]++)?(?::(?P<port>\d{1,5}))?/?", re.ASCII | re.IGNORECASE
)
_LONGEST_NAME = 64
_PERCENT = 10  # a number from here on is a percentage
_LONGEST = 100  # characters of an address; a longer text is not parsed
_PART = re.compile(r"(\d++(?:\.\d++)?)\s*+([a-z]++)\s*+", re.ASCII | re.IGNORECASE)
_SHARE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*+(%?)", re.ASCII)
_DURATION_WORDS: Final[Mapping[str, str]] = {
    word: unit
    for unit, words in {
        "ms": "ms msec msecs millis millisecond milliseconds",
        "s": "s sec secs second seconds",
        "m": "m min mins minute minutes",
        "h": "h hr hrs hour hours",
        "d": "d day days",
    }.items()
    for word in words.split()
}
_SIZE_WORDS: Final[Mapping[str, str]] = {
    **{letter: f"{letter.upper()}iB" for letter in "kmg"},
    **{f"{letter}ib": f"{letter.upper()}iB" for letter in "kmg"},
    **{f"{letter}b": f"{letter.upper()}B" for letter in "kmg"},
    **dict.fromkeys(("b", "byte", "bytes"), "B"),
}
_SOURCES = ("path", "body", "query", "header")
OFF = frozenset({"", "off", "no", "none", "never", "null", "nil", "false", "disabled"})
"""Words that switch something off. The word of an optional setting is `"none"`."""


def parts_of_duration(text: str) -> list[tuple[str, str]]:
    """Return the numbers and units of a duration such as `5 sec` or `1h30m`; an empty list for any other text."""
    found, at, text = list[tuple[str, str]](), 0, text.strip()
    while (part := _PART.match(text, at)) is not None:
        found.append((part[1], _DURATION_WORDS.get(part[2].lower(), "")))
        at = part.end()
    return found if at == len(text) and all(unit for _, unit in found) else []


def size(text: str) -> str | None:
    """Return the size in the configuration's notation: `64k` is `64KiB`, `10 mb` is `10MB`."""
    found = _PART.fullmatch(text.strip())
    unit = _SIZE_WORDS.get(found[2].lower()) if found else None
    return f"{found[1]}{unit}" if found and unit else None


def address(text: str, usual: str) -> str | None:
    """Return the address of a listener: `:80`, `80`, a URL or a host alone; what it lacks is as in `usual`."""
    host, port = parts_of_address(text)
    if not host and not port:
        return None
    usual_host, _, usual_port = usual.rpartition(":")
    return f"{host or usual_host}:{port or usual_port}"


def url(text: str, scheme: str = "http") -> str | None:
    """Return the URL of a backend: a host, a port or both, or a URL with another scheme."""
    host, port = parts_of_address(text)
    if not host and not port:
        return None
    chosen = "https" if text.lower().startswith("https:") else scheme
    return f"{chosen}://{host or '127.0.0.1'}" + (f":{port}" if port else "")


def parts_of_address(text: str) -> tuple[str, str]:
    """Return the host and the port of a text, each empty if missing. Digits alone are a port."""
    found = _PLACE.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        return "", ""
    host, port = found["host"] or "", found["port"] or ""
    return ("", host) if host.isdecimal() and len(host) <= 5 and not port else (host, port)


def subject(text: str) -> str | None:
    """Return the place of the business key that `{id}`, `body.reportId`, `$.a.b` or `header/X-Id` means."""
    plain = text.strip().replace("{", "").replace("}", "")
    if plain.startswith("$"):
        plain = "body:" + plain.removeprefix("$").lstrip(".")
    separator = next((char for char in plain if char in ":./"), ":")
    source, _, name = plain.partition(separator)
    if source.lower() in _SOURCES and name:
        source = source.lower()
        pointer = "/" + name.strip("/").replace(".", "/") if source == "body" else name
        return f"{source}:{pointer}"
    return f"path:{plain}" if plain.isidentifier() and text != plain else None


def words(text: str) -> list[str]:
    """Return the items of a list that was written as one text."""
    return [word.strip() for word in text.split(",")] if "," in text else text.split()


def name(text: str, allowed: str) -> str | None:
    """Return the text with a hyphen for each run of characters that are not `allowed`; `None` if nothing is left."""
    words = "".join(char if char in allowed else " " for char in text).split()
    return "-".join(words).strip("-")[:_LONGEST_NAME] or None


def share(value: object) -> float | None:
    """Return the share from 0 to 1 that `20%`, `"0.2"` or 20 means."""
    found = _SHARE.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None:
        return None
    number = float(found[1])
    number = number / 100 if found[2] or number >= _PERCENT else number
    return number if number <= 1 else None


_TLS_PAIR: Final = 'tls_certificate = "/etc/backstay/tls.crt" and tls_key = "/etc/backstay/tls.key"'
_TLS_WORDS: Final[Mapping[str, str]] = {
    "tls_certificate": "tls_cert tls_crt tls_cert_file tls_certificate_file cert cert_file certfile certificate crt "
    "ssl_cert ssl_certificate ssl_certfile",
    "tls_key": "tls_key_file tls_private_key key key_file keyfile private_key ssl_key ssl_certificate_key ssl_keyfile",
}
# Settings of other proxies, by table and name: the message, which may be empty, and the cure.
_FOREIGN: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    **dict.fromkeys(
        (("upstreams", word) for word in ("tls_verify", "verify", "ssl_verify", "insecure", "tls_insecure")),
        ("a backend's certificate is always verified", 'write tls_ca = "/etc/backstay/ca.pem" to trust its authority'),
    ),
    ("upstreams", "timeout"): (
        "an upstream has no timeout for responses",
        "write total_timeout into a route or [defaults]",
    ),
    ("routes", "timeout"): ("", "write total_timeout"),
    ("passthrough", "timeout"): ("", "write total_timeout"),
    ("routes", "method"): ("", 'write match = "GET /api/sessions", with the method in it'),
    ("routes", "methods"): ("", 'write match = "GET, HEAD /api/sessions", with the methods in it'),
    ("routes", "path"): ("", 'write match = "GET /api/sessions", with the path in it'),
    ("routes", "name"): ("", "write operation"),
    ("breaker", "threshold"): ("", "write failure_threshold"),
    ("breaker", "timeout"): ("", "write reset_timeout"),
    ("audit", "file"): ("", "write path"),
    **{
        (table, word): ("", f"write {ours}")
        for table in ("listen", "upstreams")
        for ours, words in _TLS_WORDS.items()
        for word in words.split()
    },
    **{
        ("listen", word): ("", f"write {_TLS_PAIR}")
        for word in ("tls", "ssl", "https", "use_tls", "tls_enabled", "enable_tls", "scheme", "protocol")
    },
    **{
        ("upstreams", word): ("", 'write url = "https://backend.example"')
        for word in ("tls", "ssl", "https", "use_tls", "tls_enabled", "enable_tls", "scheme", "protocol")
    },
    **dict.fromkeys(
        (("upstreams", word) for word in ("address", "target", "server", "servers", "urls")), ("", "write url")
    ),
    **dict.fromkeys((("store", word) for word in ("redis_url", "redis", "uri", "dsn", "address")), ("", "write url")),
    ("fallback", "headers"): ("an answer of last resort has no header fields of its own", "remove it"),
    ("", "server"): ("", "write [listen]"),
    ("", "upstream"): ("", "write [upstreams.sessions]"),
    ("", "route"): ("", "write [[routes]]"),
    ("", "logging"): ("", "write [log]"),
}
_RETRIES: Final = frozenset({"retries", "retry_count", "attempts", "max_attempts"})


def foreign(table: str, key: str, value: object) -> tuple[str, str] | None:
    """Return message and cure for a setting of other programs. The message is empty if the setting is only unknown."""
    if key in _RETRIES and table in ("routes", "defaults", "passthrough", "upstreams"):
        count = value if isinstance(value, int) and not isinstance(value, bool) else 3
        where = " in a route or [defaults]" if table == "upstreams" else ""
        return "", f"write retry = {{ max_retries = {count} }}{where}"
    table = "routes" if table == "defaults" else "breaker" if table == "circuits" else table
    return _FOREIGN.get((table, key))


def tables_with(key: str, within: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each table below `within` that has this key, without the tables of routes and pass-through."""
    for field in within.fields:
        below = within.below(field)
        if field == key:
            yield path
        if below is not None and field not in ("routes", "passthrough"):
            inner = below if below.fields else below.below("NAME") if below.is_table else None
            if inner is not None and inner.fields:
                yield from tables_with(key, inner, (*path, field) if below.fields else (*path, field, "NAME"))
