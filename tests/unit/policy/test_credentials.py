"""Which parts of a request identify its caller, and which only look as if they did."""

import secrets
import uuid
from base64 import b64encode

import pytest

from proxy.http.fields import Fields
from proxy.policy.credentials import USUAL, authorizes, holds_a_secret, named, says, shown

NO_IDENTITY = [
    "",
    "null",
    "undefined",
    "none",
    "nil",
    "NaN",
    "false",
    "0",
    "-",
    '""',
    "''",
    '"null"',
    "anonymous",
    "deleted",
]


def basic(user: str, password: str) -> str:
    """Return a Basic credential."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("word", [*NO_IDENTITY, " ", "NULL", "Undefined", "{}", "[object Object]"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "DPoP"])
def test_a_scheme_with_a_word_for_none_is_no_credential(scheme: str, word: str) -> None:
    """A program without a token sends `Bearer null`, `Bearer undefined` or nothing at all."""
    assert not authorizes(f"{scheme} {word}".encode())


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Basic", "negotiate", "Basic Og==", basic("null", "null"), basic("undefined", ""), basic("", " "),
     "Token token=", 'Token token=""', "Token token=null", "Bearer Bearer undefined", "null", "Bearer\tnull"],
)  # fmt: skip
def test_an_authorization_that_names_nobody(value: str) -> None:
    """Neither does an empty Basic credential, nor a scheme alone."""
    assert not authorizes(value.encode())


@pytest.mark.parametrize(
    "value",
    [
        "Bearer a",
        "ada",
        "Basic YTpi",
        basic("ada", ""),
        basic("", "key"),
        "Basic %%",
        "Token token=x",
        "Key " + "k" * 99,
    ],
)
def test_an_authorization_that_names_somebody(value: str) -> None:
    """Whatever else it says is a credential: it is told apart by its bytes, and judged by the backend."""
    assert authorizes(value.encode())


@pytest.mark.parametrize("word", NO_IDENTITY)
def test_a_word_for_none_says_nothing(word: str) -> None:
    """Of a cookie or field that the route names, such a value is no value."""
    assert not says(word.encode())


@pytest.mark.parametrize(
    "cookies",
    ["", ";", "sid", "sid=", "lang=en", "theme=dark; lang=en-GB", "tz=America%2FArgentina%2FBuenos_Aires",
     "consent=2024-01-01T00:00:00Z", "_ga=GA1.2.123456789.987654321", "ab=checkout-redesign-2024-q3:control",
     "sid=null; token=undefined", "screen=1920x1080", "BIGipServer=1677787402.20480.0000", "a=" + "b" * 500],
)  # fmt: skip
def test_cookies_that_many_have_name_nobody(cookies: str) -> None:
    """A preference, a consent, a time zone, a balancer's mark: strangers send them alike."""
    assert not holds_a_secret(cookies.encode())


def test_a_sessions_cookie_names_somebody() -> None:
    """Whatever made it: hexadecimal, base64 or a UUID. What is taken for a preference is told apart by address, too."""
    made = [
        secrets.token_hex(16),
        str(uuid.uuid4()),
        secrets.token_hex(32),
        "s%3A" + "Ab1" * 12,
        "0123456789abcdef" * 2,
    ]
    for value in made:
        assert holds_a_secret(b"theme=dark; sid=" + value.encode())
        assert holds_a_secret(b'sid="%b"; lang=en' % value.encode())


def test_a_cookie_field_of_any_length_is_looked_at_briefly() -> None:
    """Thirty thousand pairs cost no more than sixty-four; a session's cookie stands among the first of them."""
    assert not holds_a_secret(b";".join(b"%x" % n for n in range(12_000)) + b"; sid=0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    ("principal", "lines", "somebody"),
    [
        (("authorization", "cookie:sid"), {"Cookie": "_ga=1; lang=en"}, False),
        (("authorization", "cookie:sid"), {"Cookie": "sid="}, False),
        (("authorization", "cookie:sid"), {"Cookie": "sid"}, False),
        (("authorization", "cookie:sid"), {"Cookie": "xsid=1; Sid=2"}, False),
        (("authorization", "cookie:sid"), {"Cookie": "sid=null", "Authorization": "Bearer"}, False),
        (("authorization", "cookie:sid"), {"Cookie": "lang=en; sid=1"}, True),
        (("authorization", "cookie:sid"), {"Cookie": "sid=; sid=2"}, True),
        (("authorization", "cookie:sid"), {"Authorization": "Bearer a"}, True),
        (("x-user",), {"Authorization": "Bearer a"}, False),
        (("x-user",), {"X-User": "undefined"}, False),
        (("x-user",), {"X-User": "ada"}, True),
        (("cookie",), {"Cookie": "lang=en"}, False),
    ],
)
def test_only_what_a_route_names_counts(principal: tuple[str, ...], lines: dict[str, str], somebody: bool) -> None:
    """A cookie that the route's `principal` does not name is none."""
    fields = Fields(tuple((name.encode(), value.encode()) for name, value in lines.items()))
    assert shown(fields, named(principal)) is somebody


def test_one_of_several_lines_is_enough() -> None:
    """A field that stands twice is read twice."""
    fields = Fields(((b"Authorization", b"Bearer null"), (b"authorization", b"Bearer a")))
    assert shown(fields, USUAL)
    assert not shown(Fields(fields.lines[:1]), USUAL)
