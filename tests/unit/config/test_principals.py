"""What `[principal.NAME]` refuses and doubts, each with its cure."""

from pathlib import Path

import pytest

from proxy.cli.named_files import unusable_files
from proxy.config.doubts import doubts
from proxy.config.effective import effective
from proxy.config.load import load_written
from proxy.config.objections import ConfigProblem, dotted
from proxy.config.principal_table import VOLATILE
from tests.tokens import Issuer
from tests.unit.config.conftest import Load, Problems

BASE = '[upstreams.sessions]\nurl = "http://b:1"\n[defaults]\nprincipal = ["user"]\n[principal.user]\n'
WHO = 'issuer = "https://id.example"\naudience = "sessions"\n'
KEYS = 'jwks = "https://id.example/keys"\n'
AT = "config.toml:"


def test_a_table_has_defaults(loaded: Load) -> None:
    """One audience may be written as a word."""
    table = loaded(BASE + WHO + KEYS).principal["user"]
    assert (table.audience, table.token, table.leeway, table.max_offline) == (
        ("sessions",),
        "authorization",
        30.0,
        3600.0,
    )
    assert (table.algorithms, table.allow_id_tokens) == (("RS256", "ES256", "EdDSA"), False)
    assert table.volatile_claims == VOLATILE


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (KEYS + 'audience = "a"', '5: principal.user.issuer: it is missing; write issuer = "https://id.example"'),
        (KEYS + 'issuer = "x"', '5: principal.user.audience: it is missing; write audience = ["sessions"]'),
        (
            KEYS + 'issuer = "x"\naudience = []',
            '8: principal.user.audience: it is empty; write audience = ["sessions"]',
        ),
        (
            WHO,
            "5: principal.user.jwks: without keys no token can be verified; "
            'write jwks = "https://id.example/.well-known/jwks.json", or jwks_file = "/etc/backstay/jwks.json"',
        ),
        (
            WHO + KEYS + 'jwks_file = "/keys"',
            "9: principal.user.jwks_file: jwks is set too, and only one can apply; remove one of them",
        ),
        (
            WHO + 'jwks = "http://id.example/keys"',
            '8: principal.user.jwks: "http://id.example/keys" is not encrypted, so keys can be replaced on their way; '
            'write jwks = "https://..."',
        ),
        (
            WHO + 'jwks = "http://u:secret@id.example/keys"',
            "8: principal.user.jwks: keys are public, and it contains a user name or a password; "
            'write jwks = "https://id.example/keys"',
        ),
        (
            WHO + 'jwks = "https://id.example:x/keys"',
            '8: principal.user.jwks: "https://id.example:x/keys" is not the URL of keys; '
            'write jwks = "https://id.example/.well-known/jwks.json"',
        ),
        (
            WHO + 'jwks = "id.example"',
            '8: principal.user.jwks: "id.example" is not the URL of keys; '
            'write jwks = "https://id.example/.well-known/jwks.json"',
        ),
        (
            WHO + KEYS + 'token = "cookie"',
            '9: principal.user.token: "cookie" is not a place of a token; '
            'write token = "authorization" or "cookie:NAME"',
        ),
        (
            WHO + KEYS + 'leeway = "1h"',
            '9: principal.user.leeway: it is more than 5 minutes, which no clock is off; write leeway = "30s"',
        ),
        (
            WHO + KEYS + 'algorithms = ["HS256"]',
            '9: principal.user.algorithms[0]: "HS256" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, '
            'EdDSA, Ed25519; write "RS256"',
        ),
        (
            WHO + KEYS + 'algorithms = ["none"]',
            '9: principal.user.algorithms[0]: "none" is not one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, '
            'EdDSA, Ed25519; write "RS256"',
        ),
        (
            WHO + KEYS + 'volatile_claims = ["sub"]',
            '9: principal.user.volatile_claims[0]: "sub" names the caller, so it cannot be left out; '
            "write a list without it",
        ),
        (
            WHO + KEYS.replace("https", "http").replace("id.example/", "127.0.0.1:9/") + 'tls_ca = "/ca.pem"',
            "9: principal.user.tls_ca: no keys are read over TLS; write jwks = \"https://...\", or remove it",
        ),
        (WHO + KEYS + "scope = 1", "9: principal.user.scope: there is no such setting; remove it"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_cure(problems: Problems, said: str, line: str) -> None:
    """The line names the setting."""
    assert problems(BASE + said) == [AT + line]


def test_a_table_that_is_named_as_a_field_is_refused(problems: Problems) -> None:
    """`principal = ["authorization"]` means the field's bytes."""
    text = BASE.replace("principal.user", "principal.authorization") + WHO + KEYS
    assert problems(text) == [
        f'{AT}5: principal.authorization: "authorization" is a header field that principal may name; '
        "write [principal.user]"
    ]
    assert problems('principal = ["user"]\n' + BASE.partition("[defaults]")[0]) == [
        AT + '1: principal: ["user"] is not a table; write [principal.user]'
    ]


def doubted(tmp_path: Path, text: str) -> list[str]:
    """Return the warnings about a configuration."""
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    found: list[ConfigProblem] = list(doubts(*load_written(file, {}, {})))
    return [str(problem).partition("config.toml:")[2] for problem in found]


def test_what_is_probably_a_mistake_is_doubted(tmp_path: Path) -> None:
    """A table that no route names, a name that is nearly one, and a role that would not separate."""
    assert doubted(tmp_path, BASE + WHO + KEYS) == []
    assert doubted(tmp_path, BASE.replace('["user"]', '["usr"]') + WHO + KEYS) == [
        '5: principal.user: no route names it; write principal = ["user"] into [defaults], or remove it',
        '4: defaults.principal: "usr" is a header field: there is no [principal.usr]; write "user", if that is meant',
    ]
    named = BASE.replace('[defaults]\nprincipal = ["user"]', '[passthrough]\nprincipal = ["user"]')
    assert doubted(tmp_path, named + WHO + KEYS) == []
    assert doubted(tmp_path, named.replace('["user"]', '["usr"]') + WHO + KEYS)[1:] == [
        '4: passthrough.principal: "usr" is a header field: there is no [principal.usr]; '
        'write "user", if that is meant',
    ]
    assert doubted(tmp_path, BASE + WHO + KEYS + 'volatile_claims = ["exp", "roles"]') == [
        '9: principal.user.volatile_claims: callers that differ in "roles" share responses, though they may have '
        'different rights; remove "roles" from the list'
    ]


def test_check_opens_the_file_of_keys(loaded: Load, tmp_path: Path) -> None:
    """It says what is wrong with it."""
    file = tmp_path / "jwks.json"
    settings = loaded(BASE + WHO + f'jwks_file = "{file}"')
    (missing,) = unusable_files(settings)
    assert (missing.keys, "No such file" in missing.message) == (("principal", "user", "jwks_file"), True)
    file.write_bytes(b'{"keys": []}')
    (empty,) = unusable_files(settings)
    assert "no public key" in empty.message
    file.write_bytes(Issuer("k1").jwks())
    assert list(unusable_files(settings)) == []


def test_a_table_may_come_from_the_environment(loaded: Load) -> None:
    """Its name is the part of the variable."""
    said = {"ISSUER": "https://id.example", "AUDIENCE": "sessions", "JWKS": "https://id.example/keys"}
    environ = {f"BACKSTAY_PRINCIPAL__USER__{name}": value for name, value in said.items()}
    assert loaded(BASE.partition("[principal")[0], environ).principal["user"].audience == ("sessions",)


def test_the_settings_in_effect_say_where_a_token_is(loaded: Load) -> None:
    """A place is no secret, though its setting is called `token`; what a URL's query may hold is hidden."""
    settings = loaded(BASE + WHO + 'jwks = "https://id.example/keys?api_key=s3cret"\ntoken = "cookie:at"')
    shown = {dotted(each.keys): each.value for each in effective(settings)}
    assert shown["principal.user.token"] == "cookie:at"
    assert shown["principal.user.jwks"] == "https://id.example/keys?api_key=***"
    assert shown["passthrough.principal"] == ["user"]
