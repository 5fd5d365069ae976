"""The CORS fields that the upstream last sent to an Origin, or the configured ones."""

import pytest

from proxy.http.fields import Fields
from proxy.http.headers import EXPOSED
from proxy.http.message import Framing, Peer, Response
from proxy.policy.cors import CorsMemory, exposing
from tests.unit.policy.samples import lines, request, response

APP = "https://app.example"
ALLOWED = lines(Access_Control_Allow_Origin=APP, Access_Control_Allow_Credentials="true", Vary="Origin")


def allowing(status: int = 200) -> Response:
    """Return an answer that the page may read, credentials and all."""
    return Response(status, b"", Fields((*ALLOWED, (b"Set-Cookie", b"sid=1"), (b"X-Other", b"1"))), b"")


def test_the_upstreams_last_word_to_the_same_origin_is_repeated() -> None:
    """The CORS lines of the newest answer to this Origin, and nothing else of it."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    assert memory.lines(request(Origin=APP)) == ALLOWED


def test_another_origin_learns_nothing_from_it() -> None:
    """What one page may read is no leave for another page."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    assert memory.lines(request(Origin="https://evil.example")) == ()
    assert memory.lines(request()) == ()


def test_an_answer_without_cors_teaches_nothing() -> None:
    """An upstream that says nothing about the Origin leaves what is known as it is."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    memory.learn(request(Origin=APP), response(502), b"")
    memory.learn(request(), allowing(), b"")
    assert memory.lines(request(Origin=APP)) == ALLOWED


def test_the_newest_word_counts() -> None:
    """An upstream that changes its mind is followed."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    memory.learn(request(Origin=APP), response(Access_Control_Allow_Origin="*"), b"")
    assert memory.lines(request(Origin=APP)) == lines(Access_Control_Allow_Origin="*")


def test_configured_origins_need_no_upstream() -> None:
    """Configured ones are answered for by themselves, others are not."""
    memory = CorsMemory((APP,), credentials=True)
    assert memory.lines(request(Origin=APP)) == (
        (b"Access-Control-Allow-Origin", APP.encode()),
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Credentials", b"true"),
    )
    assert memory.lines(request(Origin="https://other.example")) == ()


def test_a_configured_star_names_the_origin_that_asks() -> None:
    """`*` lets every Origin read; without credentials it says no more."""
    assert CorsMemory(("*",)).lines(request(Origin=APP)) == (
        (b"Access-Control-Allow-Origin", APP.encode()),
        (b"Vary", b"Origin"),
    )


def test_memory_is_bounded() -> None:
    """A scanner with a thousand origins more than fit pushes the oldest out, and grows nothing."""
    memory = CorsMemory()
    for number in range(2000):
        origin = f"https://{number}.example"
        memory.learn(request(Origin=origin), response(Access_Control_Allow_Origin=origin), b"")
    assert memory.lines(request(Origin="https://0.example")) == ()
    assert memory.lines(request(Origin="https://1999.example")) != ()
    assert len(memory._by_origin) == 1024


GRANTED = lines(Access_Control_Allow_Methods="POST", Access_Control_Allow_Headers="x-a", Access_Control_Max_Age="60")


def granting(status: int = 200) -> Response:
    """Return a backend's answer to a preflight, with more in it than a browser needs."""
    body = b"secret of ada"
    return Response(status, b"", Fields((*allowing().fields.lines, *GRANTED, (b"Content-Length", b"13"))), body)


def test_a_preflight_is_known_by_origin_scope_and_headers() -> None:
    """In an outage only the very same preflight is answered from memory."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP, Access_Control_Request_Headers="x-a")
    memory.learn(asked, granting(204), b"POST create")
    assert memory.preflight(asked, b"POST create") is not None
    assert memory.preflight(asked, b"PATCH update") is None
    assert memory.preflight(asked, b"") is None
    assert memory.preflight(request("OPTIONS", Origin=APP), b"POST create") is None
    assert memory.preflight(request("OPTIONS", Origin="https://evil.example"), b"POST create") is None


def test_a_learnt_preflight_is_its_cors_fields_alone() -> None:
    """Before, the whole answer was given to anybody who named the same Origin: its body, and its Set-Cookie."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP)
    memory.learn(asked, granting(), b"POST create")
    learnt = memory.preflight(asked, b"POST create")
    assert learnt is not None
    assert (learnt.status, learnt.body, learnt.framing) == (204, b"", Framing.NONE)
    assert learnt.fields.lines == (*ALLOWED, *GRANTED)


@pytest.mark.parametrize("name", [b"Cookie", b"Authorization"])
def test_a_preflight_with_a_credential_is_its_callers(name: bytes) -> None:
    """No browser's preflight shows one: what was granted to one caller says nothing about another."""
    memory = CorsMemory()
    ada, bob = request("OPTIONS", Origin=APP), request("OPTIONS", Origin=APP)
    for one, value in ((ada, b"ada"), (bob, b"bob")):
        one.fields = one.fields.with_line(name, value)
    memory.learn(ada, granting(), b"POST create")
    assert memory.preflight(ada, b"POST create") is not None
    assert memory.preflight(bob, b"POST create") is None
    assert memory.preflight(request("OPTIONS", Origin=APP), b"POST create") is None


def test_who_is_refused_changes_nothing_for_others() -> None:
    """An unsuccessful answer is believed only where nothing is known: its CORS fields may be a gateway's."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), response(401, Access_Control_Allow_Origin="*"), b"")
    assert memory.lines(request(Origin=APP)) == lines(Access_Control_Allow_Origin="*")
    memory.learn(request(Origin=APP), allowing(), b"")
    memory.learn(request(Origin=APP), response(401, Access_Control_Allow_Origin="*"), b"")
    assert memory.lines(request(Origin=APP)) == ALLOWED


def test_another_host_learns_nothing_from_it() -> None:
    """One backend may serve several names, with other pages allowed on each."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    other = request(Origin=APP)
    other.authority = b"other.example"
    assert memory.lines(other) == ()


def test_nobody_pushes_out_what_others_taught() -> None:
    """An address that asks with ever new origins and headers gives way itself."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP)
    memory.learn(asked, granting(), b"POST create")
    for number in range(3000):
        flood = request("OPTIONS", peer=Peer("10.9.9.9", 1), Origin=f"https://{number}.example")
        memory.learn(flood, granting(), b"POST create")
    assert memory.lines(asked) == ALLOWED
    assert memory.preflight(asked, b"POST create") is not None


def test_a_refused_preflight_is_not_remembered() -> None:
    """Only what the upstream granted is repeated."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP)
    memory.learn(asked, granting(403), b"POST create")
    assert memory.preflight(asked, b"POST create") is None


def test_configured_origins_need_no_learnt_preflight() -> None:
    """The requested method and fields are allowed once: a browser must not cache what the backend never allowed."""
    memory = CorsMemory((APP,), credentials=True)
    asked = request("OPTIONS", Origin=APP, Access_Control_Request_Headers="x-a, content-type")
    answer = memory.configured_preflight(asked, "PATCH")
    assert answer is not None
    assert (answer.status, answer.fields.lines) == (
        204,
        (
            (b"Access-Control-Allow-Origin", APP.encode()),
            (b"Vary", b"Origin"),
            (b"Access-Control-Allow-Credentials", b"true"),
            (b"Access-Control-Allow-Methods", b"PATCH"),
            (b"Access-Control-Allow-Headers", b"x-a, content-type"),
            (b"Access-Control-Max-Age", b"0"),
        ),
    )
    assert memory.configured_preflight(request("OPTIONS", Origin="https://evil.example"), "PATCH") is None
    assert memory.configured_preflight(request("OPTIONS"), "PATCH") is None
    assert CorsMemory().configured_preflight(asked, "PATCH") is None


def test_the_sidecars_own_fields_can_be_read_by_scripts() -> None:
    """They are added to the fields that the backend exposes; a response without CORS fields exposes nothing."""
    assert exposing(()) == ()
    assert exposing(ALLOWED) == (*ALLOWED, (b"Access-Control-Expose-Headers", EXPOSED))
    learnt = (*ALLOWED, (b"access-control-expose-headers", b"ETag"))
    assert exposing(learnt) == (*ALLOWED, (b"Access-Control-Expose-Headers", b"ETag, " + EXPOSED))
