"""What the backend learns about the client, and whom the sidecar trusts (RFC 7239, RFC 9110 section 7.6.3)."""

import asyncio
from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.config.load import load
from proxy.http.fields import Fields
from proxy.http.message import Peer, Request
from proxy.server.trusted_proxies import TrustedProxies
from proxy.upstream.forwarding import Forwarding
from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire, soon, until

LIES = (
    b"GET /x HTTP/1.1\r\nHost: a\r\nVia: 1.0 edge\r\nX-Forwarded-For: 192.0.2.7:4711, 10.0.0.9\r\n"
    b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n\r\n"
)
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_what_came_is_appended_to(start: Start) -> None:
    """Via and X-Forwarded-For grow; the outer scheme and host stay what the first proxy said."""
    wire = await start()
    _, _, asked = await wire.asked(LIES)
    assert asked.all(b"via") == [b"1.0 edge", b"1.1 backstay"]
    assert asked.get(b"x-forwarded-for") == b"192.0.2.7:4711, 10.0.0.9, 127.0.0.1"
    assert asked.get(b"x-forwarded-proto") == b"https"
    assert asked.get(b"x-forwarded-host") == b"shop.example"


async def test_a_stranger_is_not_believed(start: Start) -> None:
    """Where trusted proxies are named, what others say of the client is replaced by what we see."""
    wire = await start(listen='trusted_proxies = ["10.0.0.0/8"]')
    _, _, asked = await wire.asked(LIES)
    assert asked.get(b"x-forwarded-for") == b"127.0.0.1"
    assert asked.get(b"x-forwarded-proto") == b"http"
    assert asked.get(b"x-forwarded-host") == b"a"


@pytest.mark.parametrize(
    ("said", "client", "hops"),
    [
        (b"192.0.2.7, 10.0.0.9", "192.0.2.7", b"192.0.2.7"),
        (b"192.0.2.7:4711, 10.0.0.9:80", "192.0.2.7", b"192.0.2.7"),
        (b"6.6.6.6, 192.0.2.7", "192.0.2.7", b"6.6.6.6,192.0.2.7"),
        (b"[2001:db8::1]:443, 10.0.0.9", "2001:db8::1", b"2001:db8::1"),
        (b"2001:db8::1", "2001:db8::1", b"2001:db8::1"),
        (b"10.0.0.8, 10.0.0.9", "10.0.0.8", b"10.0.0.8"),
        (b"unknown", "unknown", b"unknown"),
        (b"6.6.6.6" + b", 10.0.0.8" * 31, "6.6.6.6", b"6.6.6.6"),
        (b"6.6.6.6" + b", 10.0.0.8" * 33, "10.0.0.8", b"6.6.6.6, 10.0.0.8,10.0.0.8"),
        (b"10.0.0." + b"8" * 100, "10.0.0." + "8" * 57, b"10.0.0." + b"8" * 100),
    ],
)
def test_a_trusted_proxy_names_the_client(said: bytes, client: str, hops: bytes) -> None:
    """The client is the right-most address that no trusted proxy has, without its port.

    What counts of the chain is what stands up to it: which proxies it took, and from which port, does not.
    """
    proxies = TrustedProxies((ip_network("10.0.0.0/8"),))
    fields = Fields(((b"X-Forwarded-For", said),))
    assert proxies.client(Peer("10.0.0.1", 5), fields) == (client, hops)
    assert proxies.client(Peer("192.0.2.99", 5), fields) == ("192.0.2.99", b"")


async def test_it_can_be_told_in_the_standard_s_words_or_not_at_all(start: Start) -> None:
    """`forwarded` writes RFC 7239; `off` and `via = false` say nothing."""
    standard = await start(listen='forwarded = "forwarded"')
    _, _, asked = await standard.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert asked.get(b"forwarded") == b'for=127.0.0.1;proto=http;host="a"'
    silent = await start(listen='forwarded = "off"\nvia = false')
    _, _, asked = await silent.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [asked.get(name) for name in (b"via", b"forwarded", b"x-forwarded-for")] == [None, None, None]


PROXIED = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7;proto=https\r\n\r\n"


@pytest.mark.parametrize(
    ("trusted", "addresses", "elements"),
    [
        ("[]", b"192.0.2.7", b'for=192.0.2.7;proto=https, for=unknown;proto=http;host="a"'),
        ('["unix"]', b"192.0.2.7", b'for=192.0.2.7;proto=https, for=unknown;proto=http;host="a"'),
        ('["10.0.0.0/8", "unix"]', b"192.0.2.7", b'for=192.0.2.7;proto=https, for=unknown;proto=http;host="a"'),
        ('["10.0.0.0/8"]', None, b'for=unknown;proto=http;host="a"'),
    ],
)
async def test_a_peer_of_a_unix_socket_has_no_address_and_can_be_trusted(
    start: Start, tmp_path: Path, trusted: str, addresses: bytes | None, elements: bytes
) -> None:
    """It is `unknown` in Forwarded (RFC 7239 section 6.2), adds nothing to X-Forwarded-For, and "unix" believes it."""
    here = f"{tmp_path}/here.sock"
    wire = await start(listen=f'forwarded = "both"\ntrusted_proxies = {trusted}', address=f"unix:{here}")
    client = Line(*(await soon(asyncio.open_unix_connection(here))), split=False)
    await client.send(PROXIED)
    asked = await (await wire.backend.connection()).head()
    assert asked.get(b"x-forwarded-for") == addresses
    assert asked.get(b"forwarded") == elements
    client.close()


def test_who_is_trusted_through_a_socket_names_the_client() -> None:
    """Only as a peer: "unix" in a chain is a word that anybody can write, and stands for nobody."""
    proxies = TrustedProxies(("unix", ip_network("10.0.0.0/8")))
    told = Fields(((b"X-Forwarded-For", b"6.6.6.6, unix, 10.0.0.9"),))
    assert proxies.client(Peer("unix", 0), Fields(((b"X-Forwarded-For", b"192.0.2.7, 10.0.0.9"),)))[0] == "192.0.2.7"
    assert proxies.client(Peer("unix", 0), told)[0] == "unix"
    assert proxies.client(Peer("10.0.0.1", 5), told)[0] == "unix"
    assert TrustedProxies(("unix",)).client(Peer("192.0.2.99", 5), told)[0] == "192.0.2.99"


@pytest.mark.parametrize(
    ("came", "kept"),
    [
        (b'for="[2001:db8::1]"', True),
        (b'for="_a\\"b"', True),
        (b'for="', False),
        (b'for="\\"', False),
        (b'for="\\\\"', True),
    ],
)
def test_a_quotation_without_an_end_is_not_continued(came: bytes, kept: bool) -> None:
    """What we append would be inside of it: nobody would read that, and a client could choose so."""
    request = Request("GET", b"/", Fields(((b"Forwarded", came),)), Peer("192.0.2.7", 1), authority=b"a")
    (line,) = Forwarding(via=False, style="forwarded").lines(request)
    own = b'for=192.0.2.7;proto=http;host="a"'
    assert line == (b"Forwarded", came + b", " + own if kept else own)


async def test_both_legs_may_be_sockets_in_the_file_system(tmp_path: Path) -> None:
    """A request comes in on one and goes out on another."""
    arrived: asyncio.Queue[Line] = asyncio.Queue()
    there, here = f"{tmp_path}/backend.sock", f"{tmp_path}/sidecar.sock"

    async def arrive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.put_nowait(Line(reader, writer, split=False))

    server = await asyncio.start_unix_server(arrive, there)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[listen]\naddress = "unix:{here}"\n[admin]\naddress = "127.0.0.1:0"\n'
        f'[audit]\npath = "{tmp_path}/audit.jsonl"\n[upstreams.b]\nurl = "unix:{there}"\n'
    )
    sidecar = Sidecar(load(config, environ={}))
    await sidecar.start()
    client = Line(*(await soon(asyncio.open_unix_connection(here))), split=False)
    await client.send(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    backend = await soon(arrived.get())
    assert (await backend.head()).get(b"host") == b"a"
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    for line in (client, backend):
        line.close()
    server.close()
    await sidecar.stop(delay_s=0.0)


TOLD = b"GET /x HTTP/1.1\r\nHost: a\r\n%b\r\nX-Forwarded-For: %b\r\n\r\n"


async def share(wire: Wire, one: bytes, two: bytes) -> bool:
    """Tell whether two requests at once are one question: whether one joins the other, or the backend hears of both."""
    first, backend, _ = await wire.asked(one)
    second = await wire.client()
    await second.send(two)
    await until(lambda: _joined(wire) or len(wire.backend.lines) == 2)
    await backend.send(HI)
    assert (await first.message()).body == b"hi"
    if _joined(wire):
        assert (await second.message()).body == b"hi"
        assert len(wire.backend.lines) == 1
    return _joined(wire)


def _joined(wire: Wire) -> bool:
    return wire.counted('backstay_coalesced_total{role="joined",route="passthrough"} 1.0')


@pytest.mark.parametrize(
    ("one", "two", "shared"),
    [
        ((b"Cookie: a=1", b"192.0.2.7:4711, 127.0.0.9"), (b"Cookie: a=1", b"192.0.2.7:4712, 127.0.0.8"), True),
        ((b"X-A: 1", b"192.0.2.7, 127.0.0.9"), (b"X-A: 1", b"192.0.2.7"), True),
        ((b"X-A: 1", b"192.0.2.7, 127.0.0.9"), (b"X-A: 1", b"192.0.2.8, 127.0.0.9"), False),
        ((b"Cookie: a=1", b"192.0.2.7"), (b"Cookie: a=1", b"192.0.2.8"), False),
        ((b"X-A: 1", b"6.6.6.6, 192.0.2.7"), (b"X-A: 1", b"192.0.2.7"), False),
    ],
)
async def test_the_way_through_trusted_proxies_splits_no_question(
    start: Start, one: tuple[bytes, bytes], two: tuple[bytes, bytes], shared: bool
) -> None:
    """One client is one client by whichever of our proxies and port it came; two clients are always two."""
    wire = await start(listen='trusted_proxies = ["127.0.0.0/8"]')
    assert await share(wire, TOLD % one, TOLD % two) is shared


async def test_a_chain_that_nobody_vouches_for_is_a_field_like_any_other(start: Start) -> None:
    """Without trusted proxies the chain goes upstream as it came, so it tells questions apart as it came."""
    wire = await start()
    assert not await share(wire, TOLD % (b"Cookie: a=1", b"10.0.0.1"), TOLD % (b"Cookie: a=1", b"10.0.0.2"))


async def test_a_renamed_deadline_splits_no_question(start: Start) -> None:
    """The sidecar's own request fields are neutral by the name they were given; two budgets, one question."""
    wire = await start(listen='deadline_header = "X-Budget"')
    asked = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Budget: %d\r\n\r\n"
    assert await share(wire, asked % 1900, asked % 1800)


RENAMED = 'deadline_header = "X-Budget"'


async def test_a_renamed_deadline_is_the_one_that_is_sent(start: Start) -> None:
    """The backend is told under the configured name, in its spelling, and never the client's own value."""
    wire = await start(listen=RENAMED)
    _, _, asked = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Budget: 900\r\n\r\n")
    budgets = [line for line in asked.lines if line.lower().startswith(b"x-budget:")]
    assert len(budgets) == 1
    assert budgets[0].startswith(b"X-Budget: ")
    assert budgets[0] != b"X-Budget: 900"
    assert asked.get(b"x-request-deadline-ms") is None


async def test_the_default_name_is_a_clients_own_field_where_the_deadline_has_another(start: Start) -> None:
    """It goes upstream as it came, bounds nobody's wait, and tells questions apart like any other field."""
    wire = await start(listen=RENAMED)
    asking = b"GET /x HTTP/1.1\r\nHost: a\r\nX-Request-Deadline-Ms: %s\r\n\r\n"
    assert not await share(wire, asking % b"0", asking % b"soon")


async def test_a_dry_run_leaves_the_clients_own_fields_alone(start: Start) -> None:
    """Nothing is added in a dry run, so nothing is taken away either: the fields cross as they came."""
    wire = await start()
    settings = wire.sidecar.settings.model_copy(update={"dry_run": True})
    await wire.sidecar.reload(lambda: settings)
    own = [b"X-Correlation-ID: mine", b"X-Request-Deadline-Ms: 900", b"X-Attempt-Count: 7", b"X-Backstay-Explain: 1"]
    _, _, asked = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % b"\r\n".join(own))
    assert asked.lines[1 : 1 + len(own)] == own
    assert not {b"x-correlation-id", b"x-request-deadline-ms"} & {
        line.split(b":")[0].lower() for line in asked.lines[1 + len(own) :]
    }
