"""Input by operators: configuration, variables, manifests. It is trusted, but a start must not take hours."""

from base64 import b64encode
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from proxy.cli.check import _print_aligned, _print_table, routing_table
from proxy.config.addresses import is_host, parse_address, parse_upstream
from proxy.config.document import Document
from proxy.config.environment import lay_environment
from proxy.config.load import load
from proxy.config.objections import Objection
from proxy.config.templates import parse_template
from proxy.config.units import parse_duration, parse_size
from proxy.inject.container import Options
from proxy.inject.transform import inject, uninject
from proxy.transport.certificate_expiry import first_expiry
from tests.growth.case import PLAIN, TEXT, Case, in_file
from tests.growth.inputs import Around


def _values(data: bytes) -> None:
    text = data.decode(TEXT)
    for read in (parse_duration, parse_size, parse_template, parse_address, parse_upstream, is_host):
        for before in ("", "GET /", "http://"):
            with suppress(Objection, UnicodeEncodeError):
                read(before + text)


def _document(data: bytes) -> None:
    with suppress(ValueError, RecursionError):
        Document(data.decode(TEXT), "file").where(("a", "b"))


_SEED = {"CIRCUIT_BREAKER_FAILURE_THRESHOLD": "5", "PERFORMANCE_TARGET_SESSION_MS": "100"}


def _told(path: Path) -> None:
    """Show the routes of a file, and of the variables that lie under it, or what is wrong."""
    rows = list(routing_table(load(path, environ=_SEED)))
    with redirect_stdout(StringIO()):
        _print_aligned(rows)
        if len(rows) < 10:
            _print_table(rows)


def _counted(name: str, call: Callable[[bytes], object], times: int = 128) -> Case:
    """Return the case of a call for which the length of its input counts alone."""
    return Case(name, call, PLAIN, ("letters",), times)


def _many(write: Callable[[int], str]) -> Callable[[bytes], object]:
    """Return a call that loads a file with as many tables as the input has bytes."""
    return lambda data: in_file("many", _told)(write(len(data)).encode())


def _route(number: int, more: str = "") -> str:
    return f'[[routes]]\noperation = "session-{number}"\nmatch = "GET /a{number}/{{id}}"\n{more}\n'


def _routes(more: str) -> Callable[[int], str]:
    return lambda count: '[upstreams.u]\nurl = "http://a"\n' + "".join(_route(number, more) for number in range(count))


def _upstreams(count: int) -> str:
    return "".join(f'[upstreams.u{number}]\nurl = "http://a"\n' for number in range(count)) + _route(1)


def _circuits(count: int) -> str:
    return _routes('circuit = "c"')(count) + "".join(f"[circuits.c{number}]\n" for number in range(count))


def _variables(name: str, value: str = "2s") -> Callable[[bytes], object]:
    """Return a call that lays as many variables on as many routes as the input has bytes."""

    def call(data: bytes) -> None:
        document = Document(_routes("")(len(data)))
        environ = {f"BACKSTAY_{name.replace('#', str(number))}": value for number in range(len(data))}
        list(lay_environment(document, environ))

    return call


def _one_variable(data: bytes) -> None:
    text = data.decode(TEXT)
    environ = {f"BACKSTAY_{text}": "1", "BACKSTAY_ROUTES": text, f"BACKSTAY_UPSTREAMS__{text}__URL": text}
    list(lay_environment(Document("[upstreams.a]\nurl = 'http://a'"), environ))


def _certificate(data: bytes) -> None:
    first_expiry(data.decode(TEXT))
    first_expiry(f"-----BEGIN CERTIFICATE-----{b64encode(data).decode()}-----END CERTIFICATE-----" * 2)


def _injected(data: bytes) -> None:
    text = data.decode(TEXT)
    made = inject(text, Options())
    uninject(made.text)


def _manifests(count: int) -> str:
    """Return as many Pods and Services."""
    said = "metadata: {name: a%d, labels: {app: a%d}, annotations: {backstay.dev/inject: 'true'}}"
    pod = f"kind: Pod\n{said}\nspec:\n  containers:\n  - name: a\n    ports: [{{containerPort: 1}}]\n"
    service = "---\nkind: Service\nmetadata: {name: s%d}\nspec: {selector: {app: a%d}, ports: [{port: 80}]}\n---\n"
    return "".join((pod + service) % ((number,) * 4) for number in range(count))


_POD = b"kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {name: a, ports: [{containerPort: 1}]}\n"
_CONTAINER = b'{"name": "a", "ports": [{"containerPort": 1}]}'
_JSON = b'{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [%b]}' % _CONTAINER
IN_YAML = (
    Around(_POD), Around(_POD + b"x: "), Around(_POD + b"x: '", b"'\n"), Around(_JSON + b', "x": "', b'"}'),
    Around(_POD + b"x: '{{ a }}'\ny: "), Around(_POD + b"x: {{ a }}\ny: "),
)  # fmt: skip
IN_TOML = (
    Around(), Around(b'a = "', b'"'), Around(b"[", b"]"), Around(b"a = "), Around(b"a", b" = 1"),
    Around(b"a = {", b"b = 1}"), Around(b"a = [", b"]"), Around(b'a = """', b'"""'), Around(b"[upstreams.", b"]"),
    Around(b'[[routes]]\nmatch = "GET /', b'"'), Around(b'[listen]\nmax_fields = "', b'"'), Around(b"[listen]\n"),
    Around(b'[listen]\naddress = "http://a:b@', b'"'), Around(b'[listen]\nvia = "', b'"'),
    Around(b'[listen]\nforwarded = "', b'"'), Around(b"listen = ", b"1"), Around(b'[listen]\nsocket_mode = "', b'"'),
)  # fmt: skip
_FOR_YAML = ("brackets", "lists in lists", "spaces", "LFs", "numbered lines", "single quotes")
CONFIGURED = (
    Case("config units, templates, addresses", _values),
    Case("config.document.Document", _document, IN_TOML, times=4),
    Case("config.load", in_file("config", _told), IN_TOML, times=16),
    _counted("config.load, routes", _many(_routes(""))),
    _counted("config.load, routes with a wrong key", _many(_routes("upstrem = 1"))),
    _counted("config.load, routes with a wrong upstream", _many(_routes('upstream = "x"'))),
    _counted("config.load, routes of one match", _many(_routes('subject = "path:x"'))),
    _counted("config.load, upstreams", _many(_upstreams)),
    _counted("config.load, circuits", _many(_circuits)),
    Case("config.environment.lay_environment", _one_variable, (Around(), Around(b"ROUTES__", b"__X")), times=16),
    _counted("lay_environment, variables by name", _variables("ROUTES__SESSION_#__REUSE")),
    _counted("lay_environment, variables by index", _variables("ROUTES__#__REUSE")),
    _counted("lay_environment, names of routes", _variables("ROUTES__#__OPERATION", "session-0")),
    _counted("lay_environment, new upstreams", _variables("UPSTREAMS__U#__URL", "http://a")),
    _counted("lay_environment, unknown variables", _variables("ROUTE__SESSION_#__REUSE")),
    Case("transport.certificate_expiry", _certificate, (Around(), Around(b"\x30\x80"), Around(b"\x30\x03\x30\x01"))),
    Case("inject, uninject", _injected, IN_YAML, _FOR_YAML, times=8),
    _counted("inject, many manifests", lambda data: inject(_manifests(len(data)), Options()), times=4096),
)
