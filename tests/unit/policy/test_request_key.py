"""The identity of a caller, and which requests have equal keys."""

from typing import Any

import pytest

from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.policy.principals import RoutePrincipals, TokenJudge
from proxy.policy.request_key import Identifier, Identity
from proxy.policy.routing import Coalesce
from tests.settings import OWN_FIELDS
from tests.tokens import NOW, Issuer, Told, a_judge, claims, known_keys, rules
from tests.unit.policy.samples import PEER, request, route

ISSUED = Issuer("k1")
BROWSER = {
    "Authorization": "Bearer a",
    "Cookie": "sid=1",
    "User_Agent": "Firefox",
    "Accept": "application/json",
    "Origin": "https://app.example",
    "Sec_Fetch_Site": "same-site",
}


def identity(asked: Request, subject: str | None = None, **changes: Any) -> Identity:
    """Return both keys of a request, on a plain route with these changes."""
    return Identifier(route(**changes), OWN_FIELDS).identify(asked, subject)


def browser(method: str = "GET", target: str = "/api/sessions/r1", body: bytes = b"", /, **fields: str) -> Request:
    """Return a browser's request, with these fields beside or instead of its usual ones."""
    return request(method, target, body, **(BROWSER | fields))  # type: ignore[arg-type]


def test_two_tabs_ask_the_same() -> None:
    """Each tab has a connection, a referring page, a trace and a correlation id of its own: it is one question.

    The tabs of two users, and two pages of one user, are not.
    """
    tabs = [
        browser("POST", "/api/sessions", b"{}", Referer=f"/{tab}", X_Correlation_ID=tab, Traceparent=tab, Priority=tab)
        for tab in ("one", "two")
    ]
    tabs[1].peer = PEER._replace(port=PEER.port + 1)
    one, two = map(identity, tabs)
    assert (one.principal, one.key) == (two.principal, two.key)
    assert b"" not in (one.principal, one.key)
    assert not one.anonymous
    for other in (browser("POST", "/api/sessions", b"{}", Authorization="Bearer b"), browser("POST", "/api/sessions")):
        assert identity(other).key != one.key


@pytest.mark.parametrize(
    "name",
    [
        "Referer", "Priority", "Date", "Cache_Control", "Pragma", "Traceparent", "Tracestate", "Baggage", "B3",
        "X_B3_TraceId", "X_B3_SpanId", "X_B3_ParentSpanId", "X_B3_Sampled", "X_B3_Flags", "X_Request_Id",
        "X_Correlation_ID", "X_Amzn_Trace_Id", "X_Cloud_Trace_Context", "CF_Ray", "X_Request_Start", "X_Azure_Ref",
        "X_Request_Deadline_Ms", "X_Attempt_Count", "Connection", "Keep_Alive", "TE", "Content_Length",
    ],
)  # fmt: skip
def test_neutral_fields_separate_nobody(name: str) -> None:
    """What never changes an answer is in neither key."""
    assert identity(browser(**{name: "one"})) == identity(browser(**{name: "two"})) == identity(browser())


@pytest.mark.parametrize(
    "name", ["Authorization", "Cookie", "X_Api_Key", "X_Tenant", "X_User", "Proxy_Authorization", "X_Forwarded_For",
             "Sec_Fetch_Site", "User_Agent", "Forwarded", "X_Nobody_Told_Us"]
)  # fmt: skip
def test_any_other_field_tells_principals_apart(name: str) -> None:
    """An identity field that nobody configured separates its callers by itself."""
    one, two = identity(browser(**{name: "one"})), identity(browser(**{name: "two"}))
    assert one.principal != two.principal
    assert one.key != two.key
    assert identity(browser()) not in (one, two)


@pytest.mark.parametrize(
    "name", ["Accept", "Accept_Language", "Accept_Encoding", "If_None_Match", "Content_Type", "Content_Encoding",
             "Origin", "Range", "Idempotency_Key"]
)  # fmt: skip
def test_fields_about_the_answer_tell_questions_apart(name: str) -> None:
    """The same principal asks for another form: another question, not another asker."""
    one, two = identity(browser(**{name: "one"})), identity(browser(**{name: "two"}))
    assert one.principal == two.principal
    assert one.key != two.key


@pytest.mark.parametrize(
    "other",
    [
        browser("HEAD"),
        browser("GET", "/api/sessions/r2"),
        browser("GET", "/api/sessions/r1?"),
        browser("GET", "/api/sessions/%721"),
        browser("GET", "/api/sessions/r1", b"x"),
    ],
)
def test_method_target_and_body_tell_questions_apart(other: Request) -> None:
    """Raw bytes are compared; nothing is normalised."""
    assert identity(other).key != identity(browser()).key


def test_the_authority_tells_questions_apart() -> None:
    """One URL path of two hosts is two questions."""
    other = browser()
    other.authority = b"another"
    assert identity(other).key != identity(browser()).key


def test_names_are_compared_without_case_and_values_with_it() -> None:
    """Field names are case-insensitive (RFC 9110), credentials are not."""
    assert identity(request(AUTHORIZATION="Bearer a")) == identity(request(authorization="Bearer a"))
    assert identity(request(Authorization="Bearer A")) != identity(request(Authorization="Bearer a"))


def test_values_cannot_be_shifted_between_fields() -> None:
    """Two requests whose fields spell the same bytes in another division are two principals."""
    one = request(Authorization="x", X_A="bc", X_B="d")
    two = request(Authorization="x", X_A="b", X_B="cd")
    assert identity(one).principal != identity(two).principal
    assert identity(request(Authorization="x", X_A="", X_B="1")) != identity(
        request(Authorization="x", X_A="1", X_B="")
    )


def test_the_address_counts_where_there_is_no_credential() -> None:
    """Strangers are told apart by where they come from, without the port; with a credential they may move."""
    elsewhere = Peer("10.0.0.2", 40000)
    assert identity(request()) == identity(request(peer=PEER._replace(port=40001)))
    assert identity(request()).principal != identity(request(peer=elsewhere)).principal
    here, there = request(Authorization="a"), request(peer=elsewhere, Authorization="a")
    assert identity(here) == identity(there)
    assert not identity(here).anonymous
    api_key: dict[str, Any] = {"X_Api_Key": "a"}
    assert identity(request(**api_key)) != identity(request(peer=elsewhere, **api_key))


@pytest.mark.parametrize("principal", [None, ("cookie",), ("x-user", "cookie")])
def test_a_cookie_that_is_guessed_to_be_a_session_does_not_replace_the_address(principal: Any) -> None:
    """The name of a release looks like a session id: before, all visitors who had it were one caller."""
    cookie: dict[str, Any] = {"Cookie": "release=3f9a1b2c4d5e6f70"}
    elsewhere, again = (PEER._replace(address="10.0.0.2"), PEER._replace(port=40001))
    here = identity(request(**cookie), principal=principal)
    there = identity(request(peer=elsewhere, **cookie), principal=principal)
    assert (here.anonymous, here.guessed) == (False, True)
    assert here.principal != there.principal
    assert here.key != there.key
    assert here == identity(request(peer=again, **cookie), principal=principal)


@pytest.mark.parametrize(
    ("shows", "principal"),
    [
        ({"Authorization": "Bearer a", "Cookie": "release=3f9a1b2c4d5e6f70"}, None),
        ({"Cookie": "release=3f9a1b2c4d5e6f70; sid=1"}, ("cookie:sid",)),
        ({"Cookie": "release=3f9a1b2c4d5e6f70", "X_User": "ada"}, ("cookie", "x-user")),
    ],
)
def test_beside_a_credential_that_is_certain_nothing_is_guessed(shows: Any, principal: Any) -> None:
    """Such a caller may move to another address."""
    here = identity(request(**shows), principal=principal)
    assert (here.anonymous, here.guessed) == (False, False)
    assert here == identity(request(peer=PEER._replace(address="10.0.0.2"), **shows), principal=principal)


@pytest.mark.parametrize(
    "shows",
    [{}, {"Cookie": ""}, {"Cookie": "lang=en"}, {"Cookie": "sid"}, {"Authorization": ""}, {"Authorization": "Bearer"},
     {"Authorization": "Bearer null"}, {"Authorization": "Basic Og=="}, {"Authorization": "null", "Cookie": "sid="}],
)  # fmt: skip
@pytest.mark.parametrize("principal", [None, ("authorization", "cookie:sid"), ("x-user",)])
def test_whoever_shows_nothing_that_names_somebody_is_told_apart_by_address(shows: Any, principal: Any) -> None:
    """Empty and meaningless credentials are none: before, two visitors at two addresses shared one session."""
    elsewhere = PEER._replace(address="10.0.0.2")
    here = identity(request(**shows), principal=principal)
    there = identity(request(peer=elsewhere, **shows), principal=principal)
    assert here.anonymous
    assert there.anonymous
    assert here.principal != there.principal
    assert here.key != there.key


def test_without_a_named_credential_everything_else_tells_callers_apart() -> None:
    """With `principal = ["cookie:sid"]`, two visitors at one address without `sid` are two if anything differs."""
    narrowed: dict[str, Any] = {"principal": ("authorization", "cookie:sid")}
    one, two = (identity(request(Cookie=f"_ga={n}"), "r1", **SUBJECT, **narrowed) for n in "12")
    assert one.principal != two.principal
    assert one.key != two.key


def test_a_named_caller_may_move_behind_a_proxy() -> None:
    """The way that a request took tells questions apart; whose it is, the route's `principal` says alone."""
    narrowed: dict[str, Any] = {"principal": ("cookie:sid",)}
    one, two = request(Cookie="sid=1"), request(Cookie="sid=1")
    one.hops, two.hops = b"203.0.113.1", b"203.0.113.2"
    assert identity(one, **narrowed).principal == identity(two, **narrowed).principal
    assert identity(one, **narrowed).key != identity(two, **narrowed).key


def test_the_address_is_the_one_that_trusted_proxies_tell() -> None:
    """Behind a balancer all peers are one address; the client's own one counts."""
    one, two = request(), request()
    one.client, two.client = "203.0.113.1", "203.0.113.2"
    assert identity(one).principal != identity(two).principal


def test_a_client_certificate_tells_principals_apart() -> None:
    """Two certificates are two principals, credentials or not."""
    one = request(peer=PEER._replace(certificate="aa"), Authorization="x")
    two = request(peer=PEER._replace(certificate="bb"), Authorization="x")
    assert identity(one).principal != identity(two).principal


def test_a_principal_can_be_narrowed() -> None:
    """With `principal = ["authorization", "cookie:sid"]` a changing other cookie is no other principal."""
    narrowed: dict[str, Any] = {"principal": ("authorization", "cookie:sid")}
    one = identity(browser(Cookie="sid=1; theme=dark", X_Api_Key="k"), **narrowed)
    two = identity(browser(Cookie="theme=light; sid=1"), **narrowed)
    other = identity(browser(Cookie="sid=2; theme=dark", X_Api_Key="k"), **narrowed)
    assert one.principal == two.principal
    assert one.principal != other.principal
    assert one.key != two.key  # what was left out still tells questions apart


def test_a_cookie_is_found_by_its_whole_name() -> None:
    """`cookie:sid` is neither `xsid` nor `SID`, and spaces around it do not count."""

    def principal(cookie: str) -> bytes:
        return identity(browser(Cookie=cookie), principal=("cookie:sid",)).principal

    assert principal("a=b;  sid=1") == principal("sid=1") == principal("sid=1;xsid=1;SID=2") != principal("sid=2")
    assert len({principal("xsid=1"), principal("SID=1"), principal("other=1"), principal("sid=1")}) == 4


def test_a_route_can_name_more_neutral_fields() -> None:
    """A field that the operator knows to be neutral separates nobody on that route."""
    neutral: dict[str, Any] = {"neutral_headers": ("X-Tab-Id",)}
    assert identity(browser(X_Tab_Id="1"), **neutral) == identity(browser(X_Tab_Id="2"), **neutral)


def create(body: bytes = b'{"reportId":"r1"}', **fields: str) -> Request:
    """Return a tab's create."""
    return browser("POST", "/api/sessions", body, **({"Content_Type": "application/json"} | fields))


SUBJECT = {"coalesce": Coalesce.SUBJECT}


def test_tabs_with_keys_of_their_own_create_the_same() -> None:
    """The client's Idempotency-Key does not matter, nor do Accept and Referer."""
    one = identity(create(Idempotency_Key="1", Accept="a"), "r1", **SUBJECT)
    two = identity(create(Idempotency_Key="2", Accept="b", Referer="x"), "r1", **SUBJECT)
    assert one == two


@pytest.mark.parametrize(
    ("asked", "subject"),
    [
        (create(), "r2"),
        (create(body=b'{"reportId":"r1","view":"manual"}'), "r1"),
        (create(Content_Type="text/plain"), "r1"),
        (create(Content_Encoding="gzip"), "r1"),
        (create(Authorization="Bearer b"), "r1"),
        (create(X_Api_Key="k"), "r1"),
    ],
)
def test_what_tells_creates_apart(asked: Request, subject: str) -> None:
    """Subject, body, its type and coding, and the principal."""
    assert identity(asked, subject, **SUBJECT).key != identity(create(), "r1", **SUBJECT).key


def test_the_body_can_be_left_out() -> None:
    """With `match_body = false` two different bodies of one subject are one create."""
    loose: dict[str, Any] = {"coalesce": Coalesce.SUBJECT, "match_body": False}
    assert identity(create(body=b"1"), "r1", **loose) == identity(create(body=b"2"), "r1", **loose)
    assert identity(create(), "r1", **loose) != identity(create(), "r2", **loose)


def test_a_long_key_is_held_as_a_digest() -> None:
    """Whatever a client sends, neither key takes more than two kilobytes, and no two of them are confused."""
    long = [request(X_A="a" * 9000 + end, Accept="b" * 9000) for end in "12"]
    one, two = (identity(asked) for asked in long)
    assert max(map(len, (one.principal, one.key))) < 2048
    assert one.principal != two.principal
    assert one.key != two.key
    assert one == identity(long[0])


def test_a_key_of_a_request_is_no_field_of_another() -> None:
    """A keyed request and one whose last field spells its key are two questions."""
    keyed, spelt = request(Idempotency_Key="accept-x"), request(accept_x="")
    assert identity(keyed).key != identity(spelt).key


def test_a_request_that_goes_alone_needs_no_question() -> None:
    """A write that is not coalesced is identified for its seals only."""
    asked = Identifier(route(), OWN_FIELDS).identify(browser(), None, with_key=False)
    assert asked == Identity(identity(browser()).principal, b"")


def test_the_memory_of_names_is_bounded_and_changes_nothing() -> None:
    """Ten thousand invented names neither grow the memory nor blur what they separate."""
    identifier = Identifier(route(), OWN_FIELDS)
    for number in range(10_000):
        identifier.identify(request(**{f"X_{number}": "1"}), None)  # type: ignore[arg-type]
    for number in range(10_000):
        identifier.identify(request(**{f"X_{number}{'x' * 500}": "1"}), None)  # type: ignore[arg-type]
    assert len(identifier._roles) <= Identifier._MEMORY
    assert max(map(len, identifier._roles)) <= Identifier._LONGEST_NAME
    late = identifier.identify(browser(X_Late="1"), None)
    assert late.principal != identifier.identify(browser(X_Late="2"), None).principal


def owners(asked: Request, **changes: Any) -> set[bytes]:
    """Return what shows whose request it is."""
    return set(Identifier(route(**changes), OWN_FIELDS).owners(asked))


COOKIE: dict[str, Any] = {"Cookie": "sid=1; theme=dark"}


@pytest.mark.parametrize(
    "write",
    [
        {**COOKIE, "X_CSRF_Token": "t"},
        {"Cookie": "csrf=2; sid=1"},
        {"Cookie": "sid=1", "Authorization": "Bearer new"},
        {"Cookie": " sid=1 ;"},
    ],
)
def test_a_write_shows_an_owner_of_the_same_users_reads(write: dict[str, Any]) -> None:
    """Whatever it carries beside the session's cookie, it seals what was read with it."""
    assert owners(request(**COOKIE)) & owners(request("POST", **write))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"Authorization": "a"}, {"Authorization": "b"}),
        ({"Cookie": "sid=1"}, {"Cookie": "sid=2"}),
        ({"Authorization": "x"}, {"Cookie": "x"}),
        ({"Cookie": "a=1"}, {}),
        ({"Cookie": "a=", "Authorization": "x"}, {"Cookie": "a=", "Authorization": "y"}),
        ({"Authorization": "Bearer null", "Cookie": "sid=1"}, {"Authorization": "Bearer null", "Cookie": "sid=2"}),
    ],
)
def test_two_users_own_nothing_together(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Another's write to nothing in particular leaves one's reads alone."""
    assert owners(request(**one))
    assert owners(request(**two))
    assert not owners(request(**one)) & owners(request(**two))


def test_credentials_are_digested_once_for_the_requests_of_a_connection() -> None:
    """Equal heads share their fields. Another route may look for other credentials, and has its own digests."""
    asked = request(Authorization="Bearer a", X_Key="k")
    usual, narrow = (Identifier(route(principal=names), OWN_FIELDS) for names in (None, ("x-key",)))
    first, digests = list(usual.owners(asked)), asked.fields.owners
    assert list(usual.owners(asked)) == first
    assert asked.fields.owners is digests
    assert list(narrow.owners(asked)) != first
    assert list(usual.owners(asked)) == first


def test_strangers_are_owners_by_address_and_certificate() -> None:
    """Without a credential it is where they come from, known or not; a certificate always counts."""
    elsewhere, certified = PEER._replace(address="10.0.0.2"), PEER._replace(certificate="aa")
    assert owners(request(X_CSRF_Token="t")) == owners(request())
    assert not owners(request()) & owners(request(peer=elsewhere))
    assert owners(request(peer=Peer("", 0)))
    assert owners(request(peer=certified, Cookie="a=1")) & owners(request(peer=certified, Authorization="x"))


def test_a_routes_own_names_say_who_owns() -> None:
    """With `principal` nothing else counts (a shared cookie seals nobody else), unless it is not there."""
    narrow: dict[str, Any] = {"principal": ("x-user", "cookie:sid")}
    both = owners(request(X_User="ada", Cookie="lang=en; sid=1"), **narrow)
    assert len(both) == 2
    assert both & owners(request(Cookie="sid=1"))
    assert not both & owners(request(Cookie="lang=en", X_User="bob"), **narrow)
    assert owners(request(Authorization="x"), **narrow) == owners(request(Authorization="x"))


def test_what_is_remembered_of_an_owner_is_short_and_no_credential() -> None:
    """A seal holds no secret, however long the cookie."""
    assert {len(owner) for owner in owners(request(Cookie="sid=" + "x" * 5000, Authorization="secret"))} == {12}


@pytest.mark.parametrize(
    "listed", ["X-Tenant", "x-tenant, close", "keep-alive,X-TENANT", "Accept", "X-Tenant, X-Tenant"]
)
@pytest.mark.parametrize("narrowed", [None, ("x-tenant",)])
def test_a_field_that_connection_lists_makes_another_caller(listed: str, narrowed: tuple[str, ...] | None) -> None:
    """RFC 9110 section 7.6.1: the backend never sees the field, so its answer is not one to a request that has it.

    Before, both were the same question, and the one without a tenant could be given the other's answer.
    """
    plain = identity(browser(X_Tenant="acme", Accept="a"), principal=narrowed)
    stripped = identity(browser(X_Tenant="acme", Accept="a", Connection=listed), principal=narrowed)
    assert stripped.principal != plain.principal
    assert stripped.key != plain.key


def test_a_named_field_that_does_not_go_upstream_names_nobody() -> None:
    """The backend answers somebody whom nothing names to it: what it gives in person goes to one connection."""
    principal = ("x-tenant", "cookie:sid")
    assert identity(request(X_Tenant="acme", Connection="X-Tenant"), principal=principal).anonymous
    assert not identity(request(X_Tenant="acme", Connection="Cookie"), principal=principal).anonymous
    assert not identity(request(Cookie="sid=1", Connection="Cookie"), principal=principal).anonymous


@pytest.mark.parametrize("listed", ["keep-alive", "close", "Keep-Alive, TE", "X-Not-There", "Referer", ""])
def test_connection_alone_makes_nobody_another(listed: str) -> None:
    """What it lists is not there, or never changes an answer."""
    asked = browser(Referer="/a", TE="trailers", Connection=listed)
    assert identity(asked) == identity(browser(Referer="/a", TE="trailers"))


def test_a_second_connection_line_counts() -> None:
    """The first line is what every browser says; the second lists a field."""
    plain = browser(X_Tenant="acme")
    asked = browser()
    asked.fields = Fields((*plain.fields.lines, (b"Connection", b"keep-alive"), (b"connection", b"x-tenant")))
    assert identity(asked) != identity(plain)


@pytest.mark.parametrize(
    "changes", [{}, {"coalesce": Coalesce.SUBJECT}, {"coalesce": Coalesce.SUBJECT, "match_body": False}]
)
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_trailers_are_part_of_the_question(body: bytes, changes: dict[str, Any]) -> None:
    """RFC 9110 section 6.5: trailers go upstream with a chunked body, so they are asked too."""
    asked = [browser("POST", "/api/sessions/r1", body) for _ in range(4)]
    asked[1].trailers = ((b"Checksum", b"1"),)
    asked[2].trailers = ((b"Checksum", b"2"),)
    asked[3].trailers = ((b"Checksum", b"2"),)
    told = [identity(one, "r1", **changes) for one in asked]
    assert len({one.key for one in told}) == 3
    assert told[2] == told[3]
    assert len({one.principal for one in told}) == 1


@pytest.mark.parametrize("changes", [{}, {"principal": ("cookie:sid",)}])
def test_whoever_shows_much_has_few_owners(changes: dict[str, Any]) -> None:
    """31,000 pairs made 31,000 owners: 35 ms of the loop, and everybody's kept answers were forgotten."""
    asked = request(Cookie="; ".join(["sid=ada", *(f"c{n}={n}" for n in range(6_000)), *["sid=bob"] * 1_000]))
    several = Request("GET", b"/", Fields(tuple((b"Cookie", b"sid=%d; sid=x" % n) for n in range(128))), PEER)
    assert 0 < len(owners(asked, **changes)) <= 17
    assert 0 < len(owners(several, **changes)) <= 17


def test_with_many_cookies_a_write_still_shows_an_owner_of_the_same_reads() -> None:
    pairs = [f"c{n}={n}" for n in range(40)]
    jar, with_csrf = "; ".join(pairs), "; ".join(["csrf=1", *pairs])
    assert owners(request(Cookie=jar)) & owners(request("POST", Cookie=with_csrf))
    assert owners(request(Cookie=jar), principal=("cookie:c39",)) == owners(
        request("POST", Cookie=with_csrf), principal=("cookie:c39",)
    )


def test_what_stands_beyond_the_bound_still_tells_owners_apart() -> None:
    many = "; ".join(f"c{n}={n}" for n in range(20))
    assert owners(request(Cookie=f"{many}; sid=a")) != owners(request(Cookie=f"{many}; sid=b"))


def test_among_too_many_cookies_the_whole_field_tells_principals_apart() -> None:
    narrow: dict[str, Any] = {"principal": ("cookie:sid",)}
    rest = "; c=1" * 300
    assert identity(request(Cookie=f"sid=a{rest}"), **narrow) != identity(request(Cookie=f"sid=b{rest}"), **narrow)
    assert identity(request(Cookie=f"sid=a{rest}"), **narrow) != identity(request(Cookie="sid=a"), **narrow)
    assert identity(request(Cookie=f"sid=a{rest}"), **narrow) == identity(request(Cookie=f"sid=a{rest}"), **narrow)


def test_a_verified_token_leaves_its_bytes_to_nobody() -> None:
    """Neither key has them; what else the request says still separates."""
    judge = a_judge(ISSUED)
    named: dict[str, Any] = {"principal": ("user",), "verified": (judge.rules,)}

    def verified(token: bytes, **fields: str) -> tuple[Identity, list[bytes]]:
        asked = browser(Authorization="Bearer " + token.decode(), **fields)
        asked.standing = RoutePrincipals([judge]).standing(asked.fields, "10.0.0.1", NOW, 0.0)
        identifier = Identifier(route(**named), OWN_FIELDS)
        return identifier.identify(asked, None), list(identifier.owners(asked))

    one, two = ISSUED.token(claims(jti="1")), ISSUED.token(claims(jti="2"))
    first, owners = verified(one)
    assert (first, owners) == verified(two)
    assert (first.anonymous, first.guessed, first.verified) == (False, False, True)
    assert b"eyJ" not in first.principal + first.key
    assert verified(one, Cookie="sid=2")[0].key != first.key
    assert verified(one, Cookie="sid=2")[0].principal == first.principal
    other, others_owners = verified(ISSUED.token(claims(role="admin")))
    assert other.principal != first.principal
    assert set(owners) & set(others_owners) == {owners[0]}  # the subject's
    bytes_alone, _ = verified(Issuer("k1", first=6).token(claims()))
    assert bytes_alone.principal not in (first.principal, other.principal)
    assert not bytes_alone.verified


def test_bytes_that_look_like_a_verified_principal_are_none() -> None:
    """Lines of a field, and values of named fields, are no first line of a principal."""
    judge = a_judge(ISSUED)
    shown = browser(Authorization="Bearer " + ISSUED.token(claims()).decode())
    shown.standing = RoutePrincipals([judge]).standing(shown.fields, "10.0.0.1", NOW, 0.0)
    named: dict[str, Any] = {"principal": ("user", "x-a"), "verified": (judge.rules,)}
    real = Identifier(route(**named), OWN_FIELDS).identify(shown, None).principal
    lines = real.split(b"\n")
    for count in range(1, len(lines)):
        values = [(b"Authorization", line) for line in lines[:count]] + [(b"X-A", line) for line in lines[count:]]
        fake = Request("GET", b"/api/sessions/r1", Fields(tuple(values)), PEER, authority=b"a")
        assert Identifier(route(**named), OWN_FIELDS).identify(fake, None).principal != real


def test_a_cookie_with_a_verified_token_leaves_the_others() -> None:
    """Exactly the pair that was verified goes: what a backend may read as the same name stays in the key."""
    judge = TokenJudge(rules(token="cookie:at"), known_keys(ISSUED), Told())
    named: dict[str, Any] = {"principal": ("user", "cookie:sid"), "verified": (judge.rules,)}
    token = ISSUED.token(claims()).decode()

    def key(cookie: str) -> Identity:
        asked = browser(Cookie=cookie, Authorization="Bearer a")
        asked.standing = RoutePrincipals([judge]).standing(asked.fields, "10.0.0.1", NOW, 0.0)
        assert asked.standing.caller is not None
        return Identifier(route(**named), OWN_FIELDS).identify(asked, None)

    plain = key(f"sid=1; at={token}")
    assert key(f"at={token}; sid=1").key == plain.key
    for other in (f"sid=2; at={token}", f"at={token}", f"sid=1; at={token}; at =x", f"sid=1; AT=x; at={token}"):
        assert key(other).key != plain.key
    assert key(f"sid=2; at={token}").principal != plain.principal
    assert key(f"sid=1; at={token}; lang=de").principal == plain.principal
