"""Every kind of mistake, and the exact line that reports it."""

from pathlib import Path

import pytest

from proxy.config.load import load, read_token
from proxy.config.objections import ConfigError
from tests.unit.config.conftest import Load, Problems

UPSTREAM = '[upstreams.sessions]\nurl = "http://b:1"\n'
ROUTE = UPSTREAM + '[[routes]]\noperation = "a"\nmatch = "POST /a/{id}"\n'

VALUES = [
    ("dryrun = true\n" + UPSTREAM, "config.toml:1: dryrun: there is no such setting; write dry_run"),
    ("zzz = true\n" + UPSTREAM, "config.toml:1: zzz: there is no such setting; remove it"),
    ("listen = 5\n" + UPSTREAM, "config.toml:1: listen: 5 is not a table; write [listen]"),
    ("routes = 5\n" + UPSTREAM, "config.toml:1: routes: 5 is not a list; write [[routes]]"),
    (UPSTREAM + "[routes]\nx = 1", "config.toml:3: routes: a table is not a list; write [[routes]]"),
    (UPSTREAM + "[listen]\nvia = 1", "config.toml:4: listen.via: 1 is not true or false; write via = true"),
    (
        UPSTREAM + "[listen]\nmax_fields = true",
        "config.toml:4: listen.max_fields: true is not a whole number; write max_fields = 128",
    ),
    (
        UPSTREAM + "[listen]\nmax_fields = 0",
        "config.toml:4: listen.max_fields: 0 is less than 1; write max_fields = 128",
    ),
    (
        UPSTREAM + "[listen]\naddress = 8080",
        'config.toml:4: listen.address: 8080 is not a string; write address = "0.0.0.0:8080"',
    ),
    (
        UPSTREAM + '[listen]\naddress = "8080"',
        'config.toml:4: listen.address: "8080" is not an address; write address = "0.0.0.0:8080"',
    ),
    (
        UPSTREAM + '[listen]\nmax_head = "64KB!"',
        'config.toml:4: listen.max_head: "64KB!" is not a size; '
        'write max_head = "64KiB" (or "1MiB", "1GiB", a number of bytes)',
    ),
    (
        UPSTREAM + "[listen]\ndrain_delay = 5",
        'config.toml:4: listen.drain_delay: 5 has no unit; write drain_delay = "5ms" or "5s"',
    ),
    (
        UPSTREAM + '[listen]\nhead_timeout = "0s"',
        "config.toml:4: listen.head_timeout: it must be more than 0; "
        'write head_timeout = "2s" (or "500ms", "10m", "24h")',
    ),
    (
        UPSTREAM + '[listen]\ntrusted_proxies = ["10.0.0.0/8", "10.x"]',
        'config.toml:4: listen.trusted_proxies[1]: "10.x" is not a network; write "10.0.0.0/8" or "192.0.2.1", '
        'or "unix" for clients of a Unix socket',
    ),
    (
        UPSTREAM + '[listen]\ndeadline_header = "X Deadline"',
        'config.toml:4: listen.deadline_header: "X Deadline" is not a header field\'s name; '
        'write deadline_header = "X-Request-Deadline-Ms"',
    ),
    *(
        (
            UPSTREAM + f'[listen]\ndeadline_header = "{name}"',
            f'config.toml:4: listen.deadline_header: "{name}" already has another meaning; '
            'write deadline_header = "X-Request-Deadline-Ms", or a name of your own',
        )
        for name in ("Host", "content-length", "Transfer-Encoding", "X-Correlation-ID", "Cookie", "Via", "Connection")
    ),
    (UPSTREAM + "[admin]\ntoken = 12345", 'config.toml:4: admin.token: the value is not a string; write token = "..."'),
    (
        UPSTREAM + "[admin]\nmax_connections = 8\nmax_viewers = 8",
        "config.toml:5: admin.max_viewers: 8 viewers leave probes none of the 8 connections; "
        "write max_connections = 16 or more",
    ),
    (
        UPSTREAM + '[admin]\ntoken = "t"\ntoken_file = "f"',
        "config.toml:5: admin.token_file: token is set too, and only one can apply; remove token",
    ),
    *(
        (
            UPSTREAM + f'[listen]\n{key} = "x.pem"',
            f"config.toml:4: listen.{key}: without tls_certificate the listener does not use TLS, so every client "
            f'is accepted in plain text; write tls_certificate = "/etc/backstay/tls.crt" too, or remove {key}',
        )
        for key in ("tls_key", "tls_client_ca")
    ),
    *(
        (
            UPSTREAM + f'{key} = "x.pem"',
            f"config.toml:3: upstreams.sessions.{key}: connections to http://b:1 are not encrypted and do not use it; "
            'write url = "https://b:1"',
        )
        for key in ("tls_ca", "tls_certificate", "tls_key")
    ),
    (
        '[upstreams.a]\nurl = "unix:/run/a"\ntls_ca = "x.pem"',
        "config.toml:3: upstreams.a.tls_ca: connections to unix:/run/a are not encrypted and do not use it; "
        "remove tls_ca",
    ),
    (
        '[upstreams.a]\nurl = "https://b"\ntls_key = "x.pem"',
        "config.toml:3: upstreams.a.tls_key: the key has no effect without its certificate; "
        'write tls_certificate = "/etc/backstay/tls.crt" too, or remove tls_key',
    ),
    *(
        (
            UPSTREAM + f'[listen]\naddress = "{listen}"\n[admin]\naddress = "{admin}"',
            f'config.toml:6: admin.address: "{admin}" and listen.address "{listen}" are the same address; '
            f'write address = "{instead}"',
        )
        for listen, admin, instead in (
            ("127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:9901"),
            ("0.0.0.0:9901", "127.0.0.1:9901", "127.0.0.1:9902"),
            ("10.0.0.5:80", "0.0.0.0:80", "0.0.0.0:9901"),
            ("[::]:80", "[::1]:80", "[::1]:9901"),
            ("unix:/run/a", "unix:/run/a", "unix:/run/a-admin"),
        )
    ),
    *(
        (
            f'[listen]\naddress = "{listen}"\n[admin]\naddress = "{admin}"\n[upstreams.a]\nurl = "{url}"',
            f'config.toml:6: upstreams.a.url: "{url}" is the sidecar itself ({own}); write the backend\'s own address',
        )
        for listen, admin, url, own in (
            ("0.0.0.0:80", "127.0.0.1:9", "http://127.0.0.1", 'listen.address is "0.0.0.0:80"'),
            ("127.0.0.1:81", "127.0.0.1:9", "http://localhost:81", 'listen.address is "127.0.0.1:81"'),
            ("[::]:81", "127.0.0.1:9", "http://[::1]:81", 'listen.address is "[::]:81"'),
            ("0.0.0.0:81", "127.0.0.1:9", "https://127.0.0.1:9", 'admin.address is "127.0.0.1:9"'),
            ("unix:/run/a", "127.0.0.1:9", "unix:/run/a", 'listen.address is "unix:/run/a"'),
        )
    ),
    (UPSTREAM + '[audit]\npath = ""', 'config.toml:4: audit.path: it is empty; write path = "audit.jsonl"'),
    (
        UPSTREAM + '[audit]\ndurability = "batched"',
        'config.toml:4: audit.durability: "batched" is not one of batch, blocking, strict; write durability = "batch"',
    ),
    (
        UPSTREAM + '[store]\nurl = "http://u:secret@h"',
        'config.toml:4: store.url: "http://...@h" is not the URL of a store; '
        'write url = "memory://", "sqlite:///var/lib/backstay" or "redis://host:6379/0"',
    ),
    (
        UPSTREAM + '[store]\nurl = "http://u:se@cr/et wo@rd@h"',
        'config.toml:4: store.url: "http://...@h" is not the URL of a store; '
        'write url = "memory://", "sqlite:///var/lib/backstay" or "redis://host:6379/0"',
    ),
    (
        "",
        "config.toml: upstreams: there is no upstream; "
        + ('write [upstreams.sessions] with url = "http://127.0.0.1:8000", or give --upstream URL'),
    ),
    ("[upstreams.b]", 'config.toml:1: upstreams.b.url: it is missing; write url = "http://127.0.0.1:8000"'),
    ("[upstreams.b]\nurl = []", 'config.toml:2: upstreams.b.url: it is empty; write url = "http://127.0.0.1:8000"'),
    (
        '[upstreams.b]\nurl = ["http://b", "b"]',
        'config.toml:2: upstreams.b.url[1]: "b" is not the URL of an upstream; write "http://b"',
    ),
    (
        '[upstreams."a.b"]\nurl = "http://b"',
        'config.toml:1: upstreams.a.b: "a.b" is not a name of letters, digits, _ and -, 64 at most; '
        "write [upstreams.sessions]",
    ),
    ('upstreams.b = "http://b"', 'config.toml:1: upstreams.b: "http://b" is not a table; write [upstreams.b]'),
    (
        UPSTREAM + "[upstreams.sessions.breaker]\njitter = 2",
        "config.toml:4: upstreams.sessions.breaker.jitter: 2 is more than 1; write jitter = 0.1",
    ),
    (
        UPSTREAM + '[passthrough]\nreuse = "2s"',
        "config.toml:4: passthrough.reuse: it does not apply to requests that no route matches; "
        "write it into [[routes]], or remove it",
    ),
    (
        UPSTREAM + '[passthrough]\ncoalesce = "subject"',
        'config.toml:4: passthrough.coalesce: "subject" is not one of off, identical; write coalesce = "off"',
    ),
    (
        UPSTREAM + '[passthrough]\ntimeout = "60s"',
        "config.toml:4: passthrough.timeout: there is no such setting; write total_timeout",
    ),
    (
        UPSTREAM + '[passthrough]\ntotal_timeout = "10ms"',
        "config.toml:3: passthrough.min_attempt: 50ms is more than total_timeout (10ms); "
        'write min_attempt = "10ms" or less',
    ),
    (UPSTREAM + "[[passthrough]]", "config.toml: passthrough: [{}] is not a table; write [passthrough]"),
    (
        UPSTREAM + "[circuits.restoration]",
        "config.toml:3: circuits.restoration: no route names it; remove it",
    ),
    (
        ROUTE + 'circuit = "restoration"\n[circuits.restoratoin]',
        "config.toml:7: circuits.restoratoin: no route names it; write [circuits.restoration]",
    ),
    (
        UPSTREAM + "[store]\nkey_file = '/etc/key'",
        "config.toml:4: store.key_file: it encrypts the files of a folder, and store.url names none; "
        'write url = "sqlite:///var/lib/backstay", or remove it',
    ),
    (
        UPSTREAM + "[circuits.sessions]",
        "config.toml:3: circuits.sessions: it is an upstream's own circuit; write [upstreams.sessions.breaker]",
    ),
    (
        UPSTREAM + "[defaults]\nretry = 3",
        "config.toml:4: defaults.retry: 3 is not a table; write retry = { max_retries = 3 }",
    ),
    (
        UPSTREAM + '[defaults]\noperation = "a"',
        "config.toml:4: defaults.operation: it belongs to each route; write it into [[routes]]",
    ),
]
ROUTES = [
    (
        UPSTREAM + "[[routes]]\noperation = 'a'",
        'config.toml:3: routes[0].match: it is missing; write match = "GET /api/sessions/{report_id}"',
    ),
    (
        UPSTREAM + "[[routes]]\nmatch = 'GET /a'",
        'config.toml:3: routes[0].operation: it is missing; write operation = "session-create"',
    ),
    (
        UPSTREAM + "[[routes]]\noperation = 'A b'\nmatch = 'GET /a'",
        'config.toml:4: routes[0].operation: "A b" is not a name of a-z, 0-9 and -, 64 at most; '
        'write operation = "a-b"',
    ),
    (
        UPSTREAM + "[[routes]]\noperation = 'a'\nmatch = 'GET a'",
        'config.toml:5: routes[0].match: "a" does not begin with a slash; write match = "GET /a"',
    ),
    (
        ROUTE + 'upstream = "sesions"',
        'config.toml:6: routes[0].upstream: "sesions" is not one of sessions; write upstream = "sessions"',
    ),
    (
        ROUTE + '[[routes]]\noperation = "a"\nmatch = "GET /a"',
        'config.toml:7: routes[1].operation: "a" is already the operation of routes[0]; write another name',
    ),
    (
        UPSTREAM + '[[routes]]\noperation = "passthrough"\nmatch = "GET /a"',
        'config.toml:4: routes[0].operation: "passthrough" is already the operation of unmatched requests; '
        "write another name",
    ),
    (
        ROUTE + '[[routes]]\noperation = "b"\nmatch = "POST /a/{other}"',
        'config.toml:8: routes[1].match: "POST /a/{other}" matches the same requests as routes[0]; '
        "remove one of the two",
    ),
    (
        ROUTE + 'coalesce = "subjekt"',
        'config.toml:6: routes[0].coalesce: "subjekt" is not one of off, identical, subject; '
        'write coalesce = "subject"',
    ),
    (
        ROUTE + 'coalesce = "subject"',
        'config.toml:6: routes[0].coalesce: "subject" coalesces by a subject, and the route names none; '
        'write subject = "body:/reportId" too, or coalesce = "identical"',
    ),
    (
        ROUTE + 'subject = "body.reportId"',
        'config.toml:6: routes[0].subject: "body.reportId" is not a place; write subject = "body:/reportId"',
    ),
    *(
        (
            ROUTE + f'subject = "{place}"',
            f'config.toml:6: routes[0].subject: "{place}" carries a credential, and a subject is recorded; '
            'write subject = "body:/reportId" or another identifier, and principal = [...] to tell callers apart',
        )
        for place in (
            "header:Authorization",
            "header:cookie",
            "header:Proxy-Authorization",
            "header:Idempotency-Key",
            "header:X-Access-Token",
            "query:token",
            "query:api_key",
            "path:resetToken",
            "body:/user/password",
        )
    ),
    (
        UPSTREAM + '[audit]\nquery_parameters = ["access_token"]',
        'config.toml:4: audit.query_parameters[0]: "access_token" carries a credential, which is never recorded; '
        'write "page", or remove it',
    ),
    (
        UPSTREAM + '[audit]\nheaders = ["X-CSRF-Token"]',
        'config.toml:4: audit.headers[0]: "X-CSRF-Token" carries a credential, which is never recorded; '
        'write "X-View", or remove it',
    ),
    (
        ROUTE + 'subject = "path:x"',
        'config.toml:6: routes[0].subject: "path:x": match has no {x}; write subject = "path:id"',
    ),
    (
        UPSTREAM + '[[routes]]\noperation = "a"\nmatch = "GET /a"\nsubject = "path:x"',
        'config.toml:6: routes[0].subject: "path:x": match has no {x}; write {x} into match',
    ),
    (
        ROUTE + "match_body = false",
        "config.toml:6: routes[0].match_body: callers with other bodies would share a response, "
        'and no on_conflict handles that; write on_conflict = "GET /api/sessions/{subject}" too',
    ),
    (
        ROUTE + 'on_conflict = "GET /a/{ids}"',
        "config.toml:6: routes[0].on_conflict: {ids} is neither {subject} nor a name in match; write {id}",
    ),
    (
        ROUTE + 'on_conflict = "GET /a/{subject}"',
        "config.toml:6: routes[0].on_conflict: {subject} has no value: the route names no subject; "
        'write subject = "body:/reportId" too',
    ),
    (
        ROUTE + 'on_conflict = "POST /a/{id}"',
        'config.toml:6: routes[0].on_conflict: "POST /a/{id}" does not load what exists; '
        'write on_conflict = "GET /a/{id}"',
    ),
    (
        ROUTE + 'on_missing = { request = "POST /{x}" }',
        "config.toml:6: routes[0].on_missing.request: {x} is neither {subject} nor a name in match; write {subject}",
    ),
    (
        ROUTE + 'attempt_timeout = "3s"',
        "config.toml:6: routes[0].attempt_timeout: 3s is more than total_timeout (2s); "
        'write attempt_timeout = "2s" or less',
    ),
    (
        ROUTE + 'min_attempt = "3s"',
        'config.toml:6: routes[0].min_attempt: 3s is more than total_timeout (2s); write min_attempt = "2s" or less',
    ),
    (
        ROUTE + 'retry = { initial_delay = "5s" }',
        "config.toml:6: routes[0].retry.initial_delay: 5s is more than max_delay (2s); "
        'write initial_delay = "2s" or less',
    ),
    (
        ROUTE + 'target = { ideal = "2s", acceptable = "1s" }',
        'config.toml:6: routes[0].target.ideal: 2s is more than acceptable (1s); write ideal = "1s" or less',
    ),
    (
        ROUTE + 'target = { acceptable = "3s", slow = "1s" }',
        'config.toml:6: routes[0].target.acceptable: 3s is more than slow (1s); write acceptable = "1s" or less',
    ),
    (
        ROUTE + 'target = { ideal = "quick" }',
        'config.toml:6: routes[0].target.ideal: "quick" is not a duration; '
        'write ideal = "2s" (or "500ms", "10m", "24h")',
    ),
    (
        ROUTE + 'idempotency = "replai"',
        'config.toml:6: routes[0].idempotency: "replai" is not one of off, inject, replay; '
        'write idempotency = "replay"',
    ),
    (
        UPSTREAM + 'idempotency_form = "quote"',
        'config.toml:3: upstreams.sessions.idempotency_form: "quote" is not one of bare, quoted; '
        'write idempotency_form = "quoted"',
    ),
    (
        ROUTE + "fallback = { status = 204, body = { degraded = true } }",
        "config.toml:6: routes[0].fallback.body: a response with status 204 has no body; "
        "remove body, or write status = 200",
    ),
    (ROUTE + "fallback = { status = 200 }", "config.toml:6: routes[0].fallback.body: it is missing; write body = { }"),
    (
        ROUTE + "fallback = { body = { since = 2026-01-01 } }",
        "config.toml:6: routes[0].fallback.body: it holds a date or a number that JSON cannot represent; "
        "write body = a document that has it as a string",
    ),
    (
        ROUTE + "fallback = { status = 99, body = 1 }",
        "config.toml:6: routes[0].fallback.status: 99 is less than 200; write status = 200",
    ),
    (
        ROUTE + 'cors = { allow_origins = ["*"], allow_credentials = true }',
        'config.toml:6: routes[0].cors.allow_origins: "*" is refused by browsers where credentials are allowed; '
        'write allow_origins = ["https://app.example"]',
    ),
    (
        ROUTE + 'principal = "authorization"',
        'config.toml:6: routes[0].principal: "authorization" is not a list; write principal = ["authorization"]',
    ),
    (ROUTE + "neutral_headers = [5]", 'config.toml:6: routes[0].neutral_headers[0]: 5 is not a string; write "5"'),
    (
        ROUTE + 'host = "a b"',
        'config.toml:6: routes[0].host: "a b" is not a host; write host = "preserve", "upstream" or a name',
    ),
    (ROUTE + "retry = 3", "config.toml:6: routes[0].retry: 3 is not a table; write retry = { max_retries = 3 }"),
]


@pytest.mark.parametrize(("text", "line"), VALUES + ROUTES, ids=[line.split(": ")[1] for _, line in VALUES + ROUTES])
def test_each_mistake_has_its_own_line(problems: Problems, text: str, line: str) -> None:
    """A file with one mistake is refused with exactly one line: where, which key, what, and what to write."""
    assert problems(text) == [line]


def test_what_is_not_toml_is_one_line(problems: Problems) -> None:
    """A file that cannot be parsed says where."""
    assert problems("[listen]\naddress = \n") == ["config.toml:2: not TOML: Invalid value"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 3000, "it is nested too deeply; write fewer tables and lists within each other"),
        ("a = " + "{b = " * 3000, "it is nested too deeply; write fewer tables and lists within each other"),
        ("a = " + "[" * 100 + "]" * 100, "it is nested too deeply; write fewer tables and lists within each other"),
        ("a" + ".a" * 100 + " = 1", "it is nested too deeply; write fewer tables and lists within each other"),
        ("a = " + "1" * 5000, "not TOML: Exceeds the limit (4300 digits) for integer string conversion"),
        ("a = 1\rb = 2", "not TOML: "),  # TOML 1.0: a carriage return ends no line
    ],
)
def test_what_no_parser_can_hold_is_one_line(problems: Problems, text: str, said: str) -> None:
    """Text that Python's parser gives up on, or that is TOML for it alone, is refused as any other."""
    (problem,) = problems(text)
    assert said in problem


def test_a_line_is_counted_as_toml_counts_it(problems: Problems) -> None:
    """Separators of other alphabets end no line."""
    assert any(line.startswith("config.toml:2: adress: ") for line in problems("# \x85 \u2028\nadress = 1\n"))


def test_a_variable_may_be_nested_as_deeply_as_anybody_likes(problems: Problems) -> None:
    """It is then no table, and refused as that."""
    for depth in (100, 5000):
        nested = '{"a":' * depth + "1" + "}" * depth
        assert problems("", {"BACKSTAY_UPSTREAMS": nested})


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(problems: Problems) -> None:
    """Wrong values do not hide contradictions elsewhere, nor the other way round."""
    lines = problems(
        "[listen]\nvia = 1\n[defaults]\ntotal_timeout = '1 s!'\n"
        + ROUTE
        + 'attempt_timeout = "3s"\ntotal_timeout = "1s"\nreuse = 5\nsubject = "path:x"\n[[routes]]\noperation = "a"\n'
    )
    assert [line.split(": ")[1] for line in lines] == [
        "listen.via",
        "defaults.total_timeout",
        "routes[0].attempt_timeout",
        "routes[0].reuse",
        "routes[0].subject",
        "routes[1].match",
        "routes[1].operation",
    ]


@pytest.mark.parametrize(
    "setting", ["attempt_timeout = '3s'", "nonsense = 1", "fallback = {}", "retry = { jitter = 1 }"]
)
def test_a_mistake_in_defaults_is_told_once(problems: Problems, setting: str) -> None:
    """The routes that inherit it do not repeat it."""
    lines = problems(f"[defaults]\n{setting}\n{ROUTE}")
    assert [line.split(": ")[1].split(".")[0] for line in lines] == ["defaults"]


def test_a_contradiction_is_not_guessed_from_a_value_that_is_wrong(problems: Problems) -> None:
    """An `on_conflict` that cannot be read does not also make `match_body` a mistake."""
    assert len(problems(ROUTE + 'match_body = false\non_conflict = "GET"')) == 1


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("LOG__LEVEL", "INFO", 'write level = "info"'),
        ("LISTEN__EXPOSE", "False", "write expose = false"),
        ("LISTEN__EXPOSE", "yes", "write expose = true"),
        ("LISTEN__MAX_FIELDS", '"12"', "write max_fields = 12"),
        ("LISTEN__TRUSTED_PROXIES", "10.0.0.0/8, unix", 'write trusted_proxies = ["10.0.0.0/8", "unix"]'),
    ],
)
def test_the_cure_is_what_was_meant(name: str, value: str, cure: str) -> None:
    """Not the default: who follows it would get the opposite of what he wrote."""
    with pytest.raises(ConfigError) as refused:
        load(None, {"upstream": "http://127.0.0.1:1"}, {f"BACKSTAY_{name}": value})
    assert str(refused.value).endswith(f"; {cure}")


@pytest.mark.parametrize(
    ("parts", "cure"),
    [
        ('[listen]\nhost = "0.0.0.0"\nport = 8081', 'write address = "0.0.0.0:8081"'),
        ('[admin]\nport = "81"\nbind = "::1"', 'write address = "127.0.0.1:9901"'),
        ('[upstreams.q]\nhost = "h"\nport = 81', 'write url = "http://h:81"'),
        ('[store]\nhost = "h"\nport = 81', 'write url = "redis://h:81/0"'),
    ],
)
def test_the_parts_of_an_address_have_one_cure(problems: Problems, parts: str, cure: str) -> None:
    """Each by itself would say another address; a missing URL says the same one."""
    lines = problems(f"{'' if 'upstreams' in parts else UPSTREAM}{parts}")
    assert len(lines) >= 2
    assert {line.rpartition("; ")[2] for line in lines} == {cure}


def test_a_token_is_read_alike_from_everywhere(tmp_path: Path) -> None:
    """`echo` and editors end it with a newline; an empty file is no token, and says so."""
    file, upstream = tmp_path / "token", {"upstream": "http://127.0.0.1:1"}
    for text in ("secret", "secret\n", " secret\r\n", "\ufeffsecret\n"):
        file.write_text(text, encoding="utf-8")
        assert read_token(load(None, upstream, {"BACKSTAY_ADMIN__TOKEN_FILE": f"{file}\n"}).admin) == "secret"
    assert read_token(load(None, upstream, {"BACKSTAY_ADMIN__TOKEN": "secret\n"}).admin) == "secret"
    assert read_token(load(None, {**upstream, "admin.token": "secret\n"}, {}).admin) == "secret"
    file.write_text("\n")
    with pytest.raises(ConfigError, match="it is empty; write the token into the file"):
        read_token(load(None, upstream, {"BACKSTAY_ADMIN__TOKEN_FILE": str(file)}).admin)


@pytest.mark.parametrize(
    ("listen", "admin", "url"),
    [
        ("127.0.0.1:0", "127.0.0.1:0", "http://127.0.0.1:1"),
        ("127.0.0.1:80", "[::1]:80", "http://10.0.0.5:80"),
        ("0.0.0.0:80", "[::]:80", "http://b:80"),
        ("10.0.0.5:80", "127.0.0.1:80", "http://10.0.0.6:80"),
        ("unix:/run/a", "unix:/run/b", "unix:/run/c"),
    ],
)
def test_different_places_are_no_contradiction(loaded: Load, listen: str, admin: str, url: str) -> None:
    """A free port, another family, another address of this machine: both listeners open, and no request loops."""
    text = f'[listen]\naddress = "{listen}"\n[admin]\naddress = "{admin}"\n[upstreams.a]\nurl = "{url}"'
    assert loaded(text).listen.address == listen


MEANT = [
    (UPSTREAM + "tls_verify = false", 'write tls_ca = "/etc/backstay/ca.pem" to trust its authority'),
    (UPSTREAM + "insecure = true", 'write tls_ca = "/etc/backstay/ca.pem" to trust its authority'),
    (UPSTREAM + 'timeout = "5s"', "write total_timeout into a route or [defaults]"),
    (UPSTREAM + "retries = 5", "write retry = { max_retries = 5 } in a route or [defaults]"),
    (UPSTREAM + "[upstreams.sessions.breaker]\nthreshold = 3", "write failure_threshold"),
    (UPSTREAM + "[circuits.x]\ntimeout = '3s'", "write reset_timeout"),
    (UPSTREAM + "[listen]\nport = 9000", 'write address = "0.0.0.0:9000"'),
    (UPSTREAM + "[listen]\naddress = 9000", 'write address = "0.0.0.0:9000"'),
    (UPSTREAM + '[listen]\nhost = "::"', 'write address = "0.0.0.0:8080"'),
    (UPSTREAM + "[admin]\nport = 9000", 'write address = "127.0.0.1:9000"'),
    (UPSTREAM + "[admin]\naddress = 9000", 'write address = "127.0.0.1:9000"'),
    (UPSTREAM + "[admin]\naddress = ':9000'", 'write address = "127.0.0.1:9000"'),
    (UPSTREAM + "[admin]\naddress = 'localhost'", 'write address = "localhost:9901"'),
    (UPSTREAM + "[listen]\nforwarded = false", 'write forwarded = "off"'),
    (UPSTREAM + '[listen]\nvia = "No"', "write via = false"),
    (UPSTREAM + "[listen]\nmax_fields = 64.0", "write max_fields = 64"),
    (UPSTREAM + '[listen]\nmax_head = "32k"', 'write max_head = "32KiB"'),
    (UPSTREAM + '[listen]\nmax_head = "1 mb"', 'write max_head = "1MB"'),
    (UPSTREAM + "[admin]\nvia = false", "write it into [listen]"),
    (UPSTREAM + "[defaults]\nmax_retries = 3", "write it into [defaults.retry]"),
    (UPSTREAM + '[log]\nlevel = "WARN"', 'write level = "warning"'),
    (UPSTREAM + "[audit]\nfile = 'x'", "write path"),
    (UPSTREAM + '[store]\nurl = "redis:6379"', 'write url = "redis://redis:6379/0"'),
    (UPSTREAM + "[upstreams.sessions.breaker]\nslow_call_rate = '20%'", "write slow_call_rate = 0.2"),
    (UPSTREAM + "[upstreams.sessions.breaker]\nslow_call_rate = 50", "write slow_call_rate = 0.5"),
    (UPSTREAM + "[server]\nport = 1", "write [listen]"),
    (ROUTE + "timeout = '3s'", "write total_timeout"),
    (ROUTE + "reuse = false", 'write reuse = "none"'),
    (ROUTE + "stale_if_error = 'off'", 'write stale_if_error = "none"'),
    (ROUTE + "fallback = false", 'write fallback = "none"'),
    (ROUTE + "fallback = 200", "write fallback = { status = 200, body = { } }"),
    (ROUTE + "retry = false", "write retry = { max_retries = 0 }"),
    (ROUTE + "target = '1s'", 'write target = { ideal = "1s" }'),
    (ROUTE + "coalesce = true", 'write coalesce = "identical"'),
    (ROUTE + "subject = '{id}'", 'write subject = "path:id"'),
    (ROUTE + "subject = 'path:{id}'", 'write subject = "path:id"'),
    (ROUTE + "subject = '$.a.b'", 'write subject = "body:/a/b"'),
    (ROUTE + "subject = 'header/X-Id'", 'write subject = "header:X-Id"'),
    (
        ROUTE + "subject = 'id'",
        'write subject = "body:/reportId", "path:report_id", "query:reportId" or "header:X-Report-Id"',
    ),
    (ROUTE + "principal = 'authorization, cookie:sid'", 'write principal = ["authorization", "cookie:sid"]'),
    (UPSTREAM + "[[routes]]\noperation = ['a']\nmatch = 'GET /a'", 'write operation = "a"'),
    (UPSTREAM + "[admin]\ntoken = ['secret']", 'write token = "..."'),
    *(
        (UPSTREAM + f'[listen]\n{key} = "x"', "write tls_certificate")
        for key in ("tls_cert", "ssl_certificate", "cert")
    ),
    *((UPSTREAM + f'[listen]\n{key} = "x"', "write tls_key") for key in ("tls_key_file", "ssl_certificate_key")),
    *(
        (
            UPSTREAM + f"[listen]\n{key} = true",
            'write tls_certificate = "/etc/backstay/tls.crt" and tls_key = "/etc/backstay/tls.key"',
        )
        for key in ("tls", "ssl", "https")
    ),
    (UPSTREAM + "tls = true", 'write url = "https://backend.example"'),
    (UPSTREAM + "port = 3", 'write url = "http://b:3"'),
    (UPSTREAM + 'host = "c"', 'write url = "http://c:1"'),
    ('[upstreams.q]\nurl = "http://a, http://b:1"', 'write url = ["http://a", "http://b:1"]'),
    ('[upstreams.q]\nurl = "a:1 b:2"', 'write url = ["http://a:1", "http://b:2"]'),
    (UPSTREAM + '[store]\nredis_url = "redis://r"', "write url"),
    (UPSTREAM + '[store]\nhost = "r"', 'write url = "redis://r/0"'),
    (UPSTREAM + '[admin]\nallowed_hosts = "a.example b.example"', 'write allowed_hosts = ["a.example", "b.example"]'),
    (UPSTREAM + '[admin]\nallowed_hosts = "a.example,b.example"', 'write allowed_hosts = ["a.example", "b.example"]'),
    (ROUTE + "fallback = { headers = { a = '1' }, body = 1 }", "remove it"),
    (ROUTE + "fallback = { path = '/x', body = 1 }", "remove it"),
    (ROUTE + "on_missing = { request = 'POST /a', headers = ['a'] }", "remove it"),
    (ROUTE + "stale_if_error = true", 'write stale_if_error = "10m"'),
    (ROUTE + "reuse = true", 'write reuse = "5s"'),
    (ROUTE + "total_timeout = true", 'write total_timeout = "2s"'),
    *(
        (UPSTREAM + f"[[routes]]\noperation = 'a'\nmatch = {match}", f"write match = {cure}")
        for match, cure in (
            ("'GET  /api/x/:id'", '"GET /api/x/{id}"'),
            ("'GET /x '", '"GET /x"'),
            ("'/api/x'", '"GET /api/x"'),
            ("['GET /x']", '"GET /x"'),
            ("['GET /x/:id', 'PUT /x/{id}', 'GET /y']", '"GET, PUT /x/{id}"'),
            ("[1]", '"GET /api/sessions/{report_id}"'),
            ("'GET /x/{report-id}'", '"GET /x/{report_id}"'),
            ("'GET /x/{rest}...'", '"GET /x/{rest...}"'),
            ("'GET /x/{id}.json'", '"GET /x/{id}"'),
            ("'GET /a\"b '", r'"GET /a\"b"'),
        )
    ),
    (ROUTE + "on_conflict = '/x/{ id }'", 'write on_conflict = "GET /x/{id}"'),
]


@pytest.mark.parametrize(("text", "cure"), MEANT)
def test_the_cure_says_what_was_written_as_it_is_written_here(problems: Problems, text: str, cure: str) -> None:
    """It is never the default instead of the written value, nor the name of an unrelated setting."""
    (line,) = problems(text)
    assert line.endswith(f"; {cure}")
