"""Which parts of a request identify its caller, and which only look as if they did."""

import secrets
import uuid
from base64 import b64encode

import pytest

from proxy.http.fields import Fields
from proxy.policy.credentials import (
    CERTAIN,
    GUESSED,
    NOBODY,
    USUAL,
    authorizes,
    holds_a_secret,
    named,
    naming,
    says,
    sets_known_cookies,
)

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


PLACEHOLDERS = [
    "{{token}}", "{{ session.id }}", "${TOKEN}", "pre-${TOKEN}-post", "$TOKEN", "$(TOKEN)", "#{token}", "{token}",
    "<token>", "<your token>", "<%= token %>", "%TOKEN%", "%7B%7Btoken%7D%7D", "[object Object]", "[object%20Object]",
    "[REDACTED]", "***", "...", "YOUR_API_KEY", "null,", "null;", ",", ";", "null,null", "null, undefined", "null null",
    "%22null%22", "%00", "(null)", "(none)", "[object", "-",
]  # fmt: skip


@pytest.mark.parametrize("word", PLACEHOLDERS)
def test_what_no_program_has_filled_in_names_nobody(word: str) -> None:
    """Neither as a credential, nor as a field or cookie that a route names, nor as a session id."""
    assert not says(word.encode())
    assert not authorizes(word.encode())
    assert not authorizes(f"Bearer {word}".encode())
    assert not authorizes(basic(word, word).encode())
    for principal in (("x-api-key",), ("cookie:sid",)):
        fields = Fields(((b"X-Api-Key", word.encode()), (b"Cookie", b"sid=" + word.partition(";")[0].encode())))
        assert naming(fields, named(principal)) is NOBODY


@pytest.mark.parametrize("value", ["{{session_1a2b3c4d5e6f}}", "${SESSION_1A2B3C4D5E6F}", "%SESSION_1A2B3C4D5E6F%"])
def test_a_placeholder_is_no_session_id(value: str) -> None:
    assert not holds_a_secret(b"sid=" + value.encode())


@pytest.mark.parametrize(
    "value",
    ["Bearer Bearer", "Bearer bearer null", "Bearer null, Bearer null", "null null", "Bearer ,", "Bearer Basic Og==",
     "Basic dW5kZWZpbmVkOnVuZGVmaW5lZA", "Basic bnVsbDpudWxs, null", 'Digest username="", realm="a, b", nonce="x"',
     "Bearer token=null,", 'OAuth realm="", oauth_token=""', "Bearer " + "null, " * 500],
)  # fmt: skip
def test_schemes_and_lists_of_nothing_name_nobody(value: str) -> None:
    """A list is read member by member; base64 counts without its padding too (RFC 4648 section 3.2)."""
    assert not authorizes(value.encode())


@pytest.mark.parametrize(
    "value",
    ["Bearer null, Bearer a", "Basic YWRhOnB3", "Basic YWRhOnA", 'Digest username="ada", realm="x", nonce="n"',
     "Bearer abc==", "Bearer null=1", "Custom a", "a, b", "opaque", "Bearer opaque",
     "Bearer eyJhbGciOiJIUzI1NiJ9.e30." + "x" * 43,
     "AWS4-HMAC-SHA256 Credential=AKIA/20130524/s3/aws4_request, SignedHeaders=host;range, Signature=fe5f"],
)  # fmt: skip
def test_one_credential_among_others_is_enough(value: str) -> None:
    """What is not known to be empty is a credential."""
    assert authorizes(value.encode())


def test_the_surest_credential_decides() -> None:
    """A guess counts only where nothing is certain, whatever the order."""
    fields = Fields(((b"Cookie", b"sid=0123456789abcdef0123456789abcdef"), (b"X-User", b"ada")))
    assert naming(fields, USUAL) is GUESSED
    assert naming(fields, named(("cookie",))) is GUESSED
    assert naming(fields, named(("cookie", "x-user"))) is naming(fields, named(("x-user", "cookie"))) is CERTAIN
    assert naming(fields, named(("cookie:sid",))) is CERTAIN


@pytest.mark.parametrize(
    ("carried", "sets", "known"),
    [
        (("sid=1",), ("sid=2; HttpOnly",), True),
        (("lang=en; sid=1",), ("sid=2", "lang=de"), True),
        (("lang=en", "sid=1"), ("sid=2",), True),
        (("lang=en",), ("sid=2",), False),
        (("sid=1",), ("sid=2", "csrf=1"), False),
        (("SID=1",), ("sid=2",), False),
        (("sid=; lang=en",), ("sid=2",), False),
        (("sid=null",), ("sid=2",), False),
        (("; ".join(f"c{n}=1" for n in range(400)),), ("c1=2",), False),
    ],
)
def test_only_a_cookie_that_the_request_carried_is_known(
    carried: tuple[str, ...], sets: tuple[str, ...], known: bool
) -> None:
    request = Fields(tuple((b"Cookie", value.encode()) for value in carried))
    response = Fields(tuple((b"Set-Cookie", value.encode()) for value in sets))
    assert sets_known_cookies(request, response) is known


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
    assert naming(fields, named(principal)) is (CERTAIN if somebody else NOBODY)


def test_one_of_several_lines_is_enough() -> None:
    """A field that stands twice is read twice."""
    fields = Fields(((b"Authorization", b"Bearer null"), (b"authorization", b"Bearer a")))
    assert naming(fields, USUAL) is CERTAIN
    assert naming(Fields(fields.lines[:1]), USUAL) is NOBODY
