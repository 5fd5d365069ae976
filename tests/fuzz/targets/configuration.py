"""A configuration file of any bytes: settings, or problems that each name a place and a cure."""

import tempfile
import tomllib
from collections.abc import Hashable
from pathlib import Path

from proxy.config.load import load
from proxy.config.objections import ConfigError
from proxy.policy.route_compiler import passthrough, routes
from proxy.policy.routing import Router
from tests.fuzz.target import Target

FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-configuration-")
FILE = Path(FOLDER.name, "config.toml")
WORDS = (
    b"\n---\n", b"LISTEN__ADDRESS=", b"UPSTREAMS__A__URL=http://a", b"DEFAULTS__RETRY__MAX_RETRIES=3", b"ROUTES__0__",
    b"UPSTREAMS={}", b"[" * 100, b"{a=" * 70, b"a." * 70, b"\n", b" = ", b'"', b"'", b"[", b"]", b"{", b"}", b",",
    b"#", b".", b"[listen]\n", b"[admin]\n", b"[audit]\n",
    b"[store]\n", b"[log]\n", b"[upstreams.a]\n", b"[upstreams.a.breaker]\n", b"[defaults]\n", b"[defaults.retry]\n",
    b"[passthrough]\n", b"[[routes]]\n", b"[routes.retry]\n", b'url = "http://a"\n', b'address = "127.0.0.1:0"\n',
    b'match = "POST /a/{x}"\n', b'operation = "o"\n', b'upstream = "a"\n', b'subject = "path:x"\n',
    b'coalesce = "subject"\n', b'idempotency = "replay"\n', b'on_conflict = "GET /a/{subject}"\n',
    b'on_missing = { request = "POST /a", body = { id = "{subject}" } }\n', b'total_timeout = "2s"\n',
    b'attempt_timeout = "500ms"\n', b'reuse = "10s"\n', b"max_retries = 3\n", b"true", b"false", b'"none"', b'"64KiB"',
    b"1979-05-27T07:32:00Z", b"inf", b"nan", b"-1", b"99999999999999999999", b"1e400", b'"\\ud800"', b"\xff",
    b"fallback = { status = 200, body = {} }\n", b'principal = ["authorization"]\n',
    b'trusted_proxies = ["10.0.0.0/8"]\n',
)  # fmt: skip


def check(data: bytes) -> Hashable:
    """Check one file, with the variables that stand behind a line of dashes."""
    data, _, variables = data.partition(b"\n---\n")
    FILE.write_bytes(data)
    pairs = (line.partition("=") for line in variables.decode("utf-8", "replace").split("\n"))
    environ = {f"BACKSTAY_{name}": value for name, _, value in pairs}
    try:
        settings = load(FILE, environ=environ if variables else {})
    except ConfigError as error:
        return told(data, error, alone=not variables)
    assert is_toml(data)
    compiled = routes(settings)
    Router(compiled, passthrough(settings))
    assert {each.circuit for each in compiled} <= settings.breakers.keys()
    return "fine", min(len(compiled), 2), len(settings.upstreams) > 1


def told(data: bytes, error: ConfigError, *, alone: bool) -> Hashable:
    """Check that each problem is one line with something to do."""
    assert error.problems
    for problem in error.problems:
        assert "\n" not in str(problem), problem
        assert str(problem).strip(), problem
    if alone and not is_toml(data):
        assert len(error.problems) == 1, error.problems
        return "not TOML"
    return tuple(sorted({problem.key_path.split(".")[0] for problem in error.problems}))


def is_toml(data: bytes) -> bool:
    """Tell whether the bytes are TOML."""
    try:
        tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


TARGETS = (Target("configuration", check, WORDS),)
