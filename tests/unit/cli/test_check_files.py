"""`backstay check` opens the files of a configuration, and warns of settings without effect."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.unit.cli.test_check import backstay

UPSTREAM = '[upstreams.sessions]\nurl = "http://b"\n'
Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Check a text as `c.toml`; return the exit status and the lines on standard error."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *options: str) -> tuple[int, list[str]]:
        Path("c.toml").write_text(text, encoding="utf-8")
        status = backstay(monkeypatch, "check", *options, "c.toml")
        return status, capsys.readouterr().err.splitlines()

    return run


FILES = [
    (
        "[listen]\ntls_certificate = 'none.pem'\n" + UPSTREAM,
        "c.toml:2: listen.tls_certificate: none.pem cannot be read",
    ),
    ("[admin]\ntoken_file = 'gone'\n" + UPSTREAM, "c.toml:2: admin.token_file: gone cannot be read"),
    ("[admin]\ntoken_file = 'c.toml/x'\n" + UPSTREAM, "c.toml:2: admin.token_file: c.toml/x cannot be read"),
    ("[audit]\npath = 'none/a.jsonl'\n" + UPSTREAM, "c.toml:2: audit.path: the folder none does not exist"),
    ("[audit]\npath = '.'\n" + UPSTREAM, "c.toml:2: audit.path: . is not a regular file"),
    ("[audit]\nsalt_file = 'none/salt'\n" + UPSTREAM, "c.toml:2: audit.salt_file: the folder none does not exist"),
    ("[audit]\ncheckpoints = 'none/c'\n" + UPSTREAM, "c.toml:2: audit.checkpoints: the folder none does not exist"),
    ("[store]\nurl = 'sqlite:///kept'\nkey_file = 'gone'\n" + UPSTREAM, "c.toml:3: store.key_file: gone: No such file"),
    ("[store]\nurl = 'sqlite:///gone/kept'\n" + UPSTREAM, "c.toml:2: store.url: the folder /gone does not exist"),
    ("[audit]\ncheckpoint_key_file = 'gone'\n" + UPSTREAM, "c.toml:2: audit.checkpoint_key_file: gone: the key cannot"),
    ("[listen]\naddress = 'unix:/none/s'\n" + UPSTREAM, "c.toml:2: listen.address: the folder /none does not exist"),
    ("[admin]\naddress = 'unix:/none/s'\n" + UPSTREAM, "c.toml:2: admin.address: the folder /none does not exist"),
    *(
        (f"[upstreams.a]\nurl = 'https://b'\n{more}{key} = 'none.pem'\n", f"upstreams.a.{key}: none.pem cannot be read")
        for key, more in (("tls_ca", ""), ("tls_certificate", ""), ("tls_key", "tls_certificate = 'c.toml'\n"))
    ),
]


@pytest.mark.parametrize(("text", "said"), FILES)
def test_each_file_that_is_named_is_opened(check: Check, text: str, said: str) -> None:
    """`check` finds the errors of a start: one line with the key, exit status 2. It creates nothing."""
    status, lines = check(text)
    assert status == 2
    assert [line for line in lines if said in line] == lines
    assert list(Path().iterdir()) == [Path("c.toml")]


def test_a_file_that_is_no_certificate_is_refused(check: Check) -> None:
    """A readable file is loaded as a start loads it."""
    status, lines = check("[listen]\ntls_certificate = 'c.toml'\n" + UPSTREAM)
    assert status == 2
    assert lines[0].startswith("c.toml:2: listen.tls_certificate: cannot use the TLS files c.toml: ")


def test_the_files_of_another_machine_are_left_alone(check: Check) -> None:
    """`--no-files` checks a configuration on a machine without its files."""
    assert check("[admin]\ntoken_file = '/none/token'\n" + UPSTREAM, "--no-files") == (0, [])


def test_what_is_there_is_no_problem(check: Check, tmp_path: Path) -> None:
    """Usable files and folders cause no warning; a trail on standard output needs no folder."""
    (tmp_path / "secret").write_text("s" * 40)
    files = "[admin]\ntoken_file = 'secret'\n[audit]\ncheckpoint_key_file = 'secret'\n"
    assert check(files + UPSTREAM) == (0, [])
    assert check("[audit]\npath = '-'\n" + UPSTREAM) == (0, [])


ROUTE = UPSTREAM + "[[routes]]\noperation = 'a'\n"
CIRCUITS = (
    UPSTREAM + "[circuits.restoration]\n[[routes]]\noperation = 'b'\nmatch = 'GET /b'\ncircuit = 'restoration'\n"
    "[[routes]]\noperation = 'a'\nmatch = 'GET /a'\n"
)
DOUBTS = [
    (
        CIRCUITS + "circuit = 'restauration'\n",
        "c.toml:11: routes[1].circuit: no other route names this circuit, and there is no [circuits.restauration]; "
        'write circuit = "restoration", or [circuits.restauration] if it is meant',
    ),
    (UPSTREAM + "[upstreams.b]\nurl = 'http://c'\n", "c.toml:3: upstreams.b: no route uses it"),
    (ROUTE + "match = 'POST /a'\nreuse = '2s'\n", "c.toml:6: routes[0].reuse: it has no effect on POST"),
    (
        ROUTE + "match = 'PUT /a'\nstale_if_error = '2s'\n",
        "c.toml:6: routes[0].stale_if_error: it has no effect on PUT",
    ),
    (ROUTE + "match = 'GET /a'\nidempotency = 'inject'\n", "c.toml:6: routes[0].idempotency: it has no effect on GET"),
    (
        ROUTE + "match = 'GET /api/{id}/Reports.csv'\n",
        'c.toml:3: routes[0].total_timeout: the response to "GET /api/{id}/Reports.csv" must begin within 2s, and '
        '"reports" may take longer; write total_timeout = "30s", or "2s" if that is enough',
    ),
    (UPSTREAM + "[[routes]]\noperation = 'long-poll'\nmatch = 'GET /a'\n", "c.toml:3: routes[0].total_timeout: "),
    (
        ROUTE + "match = 'GET /events'\n[defaults]\ntotal_timeout = '10s'\n",
        'c.toml:3: routes[0].total_timeout: the response to "GET /events" must begin within 10s',
    ),
    (ROUTE + "match = 'GET /a'\nrestoration = 'status'\n", "c.toml:6: routes[0].restoration: without a subject"),
]


@pytest.mark.parametrize(("text", "said"), DOUBTS)
def test_what_cannot_be_meant_is_a_warning(check: Check, text: str, said: str) -> None:
    """One line on standard error; the configuration is valid, so the exit status is 0."""
    status, lines = check(text)
    assert status == 0
    assert [line.startswith(f"warning: {said}") for line in lines] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "match = 'GET /reports'\ntotal_timeout = '2s'\n",
        "match = 'GET /reports'\n[defaults]\ntotal_timeout = '30s'\n",
        "match = 'GET /sessions/{report_id}/{stream}'\n",
        "match = 'GET /reporters'\n",
    ],
)
def test_a_timeout_that_was_chosen_or_a_route_that_only_sounds_slow_is_no_doubt(check: Check, text: str) -> None:
    """The route's own number was meant, 30 s are enough, and a name in braces says nothing about the response."""
    assert check(ROUTE + text) == (0, [])


def test_what_is_inherited_or_switched_off_is_no_doubt(check: Check) -> None:
    """`[defaults]` applies to reads and writes, so an inherited setting without effect causes no warning."""
    assert check(ROUTE + "match = 'POST /a'\nreuse = 'none'\n") == (0, [])
    assert check(ROUTE + "match = 'POST /a'\n[defaults]\nreuse = '2s'\nidempotency = 'inject'\n") == (0, [])


def write_certificate(days: int) -> None:
    """Write `c.pem`, a certificate with its key that expires `days` from now."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "c")])
    end = datetime.now(UTC) + timedelta(days=days)
    made = x509.CertificateBuilder(name, name, key.public_key(), 7, end - timedelta(days=900), end).sign(key, None)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path("c.pem").write_bytes(made.public_bytes(Encoding.PEM) + private)


@pytest.mark.parametrize(
    "text",
    [
        "[listen]\ntls_certificate = 'c.pem'\n" + UPSTREAM,
        "[upstreams.a]\nurl = 'https://b'\ntls_certificate = 'c.pem'\n",
    ],
)
def test_an_expired_certificate_is_a_warning(check: Check, text: str) -> None:
    """A start works, and no peer accepts it. A certificate that is valid, or that nothing shows, is no warning."""
    write_certificate(-1)
    status, (line,) = check(text)
    assert status == 0
    assert "tls_certificate: a certificate in c.pem expired on " in line
    assert line.startswith("warning: c.toml:")
    assert check(text, "--no-files") == (0, [])
    write_certificate(9)
    assert check(text) == (0, [])
