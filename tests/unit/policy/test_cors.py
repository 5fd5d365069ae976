"""S4: what the upstream last let an Origin read, or what is configured."""

from proxy.fields import Fields
from proxy.message import Response
from proxy.policy.cors import CorsMemory
from tests.unit.policy.samples import lines, request, response

APP = "https://app.example"
ALLOWED = lines(Access_Control_Allow_Origin=APP, Access_Control_Allow_Credentials="true", Vary="Origin")


def allowing(status: int = 200) -> Response:
    """Return an answer that the page may read, credentials and all."""
    return Response(status, b"", Fields((*ALLOWED, (b"Set-Cookie", b"sid=1"), (b"X-Other", b"1"))), b"")


def test_the_upstreams_last_word_to_the_same_origin_is_repeated() -> None:
    """S4: the CORS lines of the newest answer to this Origin, and nothing else of it."""
    memory = CorsMemory()
    memory.learn(request(Origin=APP), allowing(), b"")
    assert memory.lines(request(Origin=APP)) == ALLOWED


def test_another_origin_learns_nothing_from_it() -> None:
    """S4: what one page may read is no leave for another page."""
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


def test_a_preflight_is_known_by_origin_scope_and_headers() -> None:
    """S4: in an outage only the very same preflight is answered from memory."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP, Access_Control_Request_Headers="x-a")
    granted = allowing(204)
    memory.learn(asked, granted, b"POST create")
    assert memory.preflight(asked, b"POST create") is granted
    assert memory.preflight(asked, b"PATCH update") is None
    assert memory.preflight(asked, b"") is None
    assert memory.preflight(request("OPTIONS", Origin=APP), b"POST create") is None
    assert memory.preflight(request("OPTIONS", Origin="https://evil.example"), b"POST create") is None


def test_a_refused_preflight_is_not_remembered() -> None:
    """S4: only what the upstream granted is repeated."""
    memory = CorsMemory()
    asked = request("OPTIONS", Origin=APP)
    memory.learn(asked, allowing(403), b"POST create")
    assert memory.preflight(asked, b"POST create") is None
