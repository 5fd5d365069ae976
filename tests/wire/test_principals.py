"""Verified principals on real sockets: an issuer's keys, their rotation, and its outage."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.admin.snapshot import snapshot
from proxy.clock import SystemClock
from proxy.config.load import load
from tests.issuer_site import IssuerSite
from tests.tokens import Issuer, claims
from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire, until

ONE, BOTH, TWO = Issuer("k1"), Issuer("k1", "k2"), Issuer("k2", first=1)
ROUTE = """
[principal.user]
issuer = "https://id.example"
audience = "sessions"
jwks = "{url}"
{table}
[[routes]]
operation = "history"
match = "GET /history/{{id}}"
subject = "path:id"
principal = ["user"]
stale_if_error = "1h"
"""


@pytest.fixture
async def site() -> AsyncIterator[IssuerSite]:
    """Return an issuer's site with one key."""
    made = await IssuerSite(ONE.jwks()).start()
    yield made
    await made.close()


def token(of: Issuer = ONE, **more: Any) -> bytes:
    """Return a new token."""
    return of.token(claims(SystemClock().wall(), **more))


def request(credential: bytes) -> bytes:
    """Return a request with a field line."""
    return b"GET /history/1 HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % credential


def bearer(of: Issuer = ONE, **more: Any) -> bytes:
    """Return a field line with a new token."""
    return b"Authorization: Bearer " + token(of, **more)


async def started(start: Start, site: IssuerSite, table: str = "") -> Wire:
    """Return a sidecar that has read the issuer's keys."""
    wire = await start(more=ROUTE.format(url=site.url, table=table), defaults="retry = { max_retries = 0 }")
    await until(lambda: wire.counted('backstay_principal_keys{principal="user"} 1.0'))
    return wire


async def asked(client: Line, backend: Line, credential: bytes, status: int = 200) -> tuple[int, bytes, bytes | None]:
    """Ask a backend that answers with this status; return status, body and what is said of the cache."""
    await client.send(request(credential))
    head = await backend.head()
    assert credential in head.lines  # nothing of it is changed
    await backend.send(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nhi" % status)
    answer = await client.message()
    return answer.status, answer.body, answer.get(b"cache-status")


async def opened(wire: Wire) -> tuple[Line, Line]:
    """Return a client's line and the backend's."""
    client, backend, _ = await wire.asked(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await client.message()
    return client, backend


def later(wire: Wire, seconds: float) -> None:
    """Let the reading of keys believe that so much time went by. The connections stay."""
    wire.sidecar._principals.sweep(asyncio.get_running_loop().time() + seconds)


async def test_a_refreshed_token_reads_on_in_an_outage(start: Start, site: IssuerSite) -> None:
    """Another user, another role and a forger get the backend's failure."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    assert (await asked(client, backend, bearer()))[0] == 200
    status, body, said = await asked(client, backend, bearer(jti="refreshed"), 503)
    assert (status, body) == (200, b"hi")
    assert said is not None
    assert b"hit" in said
    for other in (bearer(sub="bo"), bearer(role="admin"), bearer(Issuer("k1", first=4)), bearer()[:-9] + b"AAAAAAAAA"):
        assert (await asked(client, backend, other, 503))[0] == 503
    assert wire.counted('backstay_principal_tokens_total{principal="user",result="verified"} 4.0')
    assert wire.counted('backstay_principal_tokens_total{principal="user",result="signature"} 2.0')
    assert wire.counted('backstay_principal_splits_total{principal="user"} 1.0')
    (view,) = orjson.loads(orjson.dumps(snapshot(wire.sidecar._control())))["principals"]
    assert (view["name"], view["keys"], view["tokens"], view["splits"], view["by"]) == ("user", 1, 6, 1, {"role": 1})
    assert not any(b"eyJ" in line for line in wire.sidecar.audit.newest)


async def test_a_token_in_a_cookie(start: Start, site: IssuerSite) -> None:
    """The other cookies still tell requests apart, and all go to the backend as they came."""
    wire = await started(start, site, 'token = "cookie:at"')
    client, backend = await opened(wire)
    await asked(client, backend, b"Cookie: lang=en; at=" + token())
    assert (await asked(client, backend, b"Cookie: at=" + token(jti="2") + b"; lang=en", 503))[0] == 200
    for other in (b"Cookie: lang=de; at=" + token(), b"Cookie: lang=en; at=" + token(sub="bo"), b"Cookie: lang=en"):
        assert (await asked(client, backend, other, 503))[0] == 503


async def test_keys_are_rotated(start: Start, site: IssuerSite) -> None:
    """A token with a new key is told apart by its bytes until the key is known, a minute later at most."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    await asked(client, backend, bearer())
    site.document = BOTH.jwks()
    new = bearer(TWO)
    assert (await asked(client, backend, new, 503))[0] == 503
    assert site.asked == 1
    later(wire, 61.0)
    await until(lambda: wire.counted('backstay_principal_keys{principal="user"} 2.0'))
    assert (await asked(client, backend, new, 503))[0] == 200
    site.document = TWO.jwks()
    later(wire, 400.0)
    await until(lambda: wire.counted('backstay_principal_keys{principal="user"} 1.0'))
    assert (await asked(client, backend, bearer(), 503))[0] == 503
    assert (await asked(client, backend, new, 503))[0] == 200
    assert site.asked == 3


async def test_the_issuer_is_away(start: Start, site: IssuerSite) -> None:
    """The keys that are known verify on, new tokens included."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    await asked(client, backend, bearer())
    await site.close()
    for minutes in range(1, 61, 20):
        later(wire, 60.0 * minutes)
        await until(lambda: wire.sidecar._principals._sources["user"]._task is None)
    (view,) = wire.sidecar._principals.views(0.0)
    assert (view.keys, view.failure != "") == (1, True)
    assert (await asked(client, backend, bearer(jti="new"), 503))[0] == 200


async def test_forgeries_without_end_have_keys_read_once_a_minute_and_take_no_verified_ones_place(
    start: Start, site: IssuerSite
) -> None:
    """Each names another unknown key."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    known = bearer()
    await asked(client, backend, known)
    forger = Issuer("k1", first=3)
    for n in range(300):
        forged = b"Authorization: Bearer " + forger.token(claims(kid=n), {"alg": "ES256", "kid": f"x{n}"})
        assert (await asked(client, backend, forged, 401))[0] == 401
        later(wire, 0.0)
    assert site.asked == 1
    assert wire.sidecar._principals.views(0.0)[0].tokens <= 201
    assert (await asked(client, backend, known, 503))[0] == 200


async def test_a_record_has_a_hash_of_the_subject_where_clients_are_hashed(start: Start, site: IssuerSite) -> None:
    """Equal for every token of a user, and nothing of a token in plain; by default there is nothing at all."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    await asked(client, backend, bearer())
    for clients in ("hashed", "plain"):
        redaction = wire.sidecar._ledger._redaction
        wire.sidecar._ledger._redaction = replace(redaction, clients=clients)
        for credential in (bearer(jti="2"), bearer(role="admin"), bearer(sub="bo"), bearer(Issuer("k1", first=4))):
            await asked(client, backend, credential)
    await until(lambda: len(wire.records) == 10)
    found = [record["metadata"].get("principal") for record in wire.records[1:]]
    assert found[0] is None
    assert found[1:5] == found[5:]
    assert found[1] == found[2] != found[3] is not None
    assert found[4] is None
    for line in wire.sidecar.audit.newest:
        assert not any(secret in line for secret in (b"eyJ", b'"ada"', b'"bo"'))


async def test_a_reload_changes_which_claims_tell_callers_apart(start: Start, site: IssuerSite, tmp_path: Path) -> None:
    """Responses that were cached under the earlier table are not found under the later one."""
    wire = await started(start, site)
    client, backend = await opened(wire)
    await asked(client, backend, bearer(role="a"))
    file = tmp_path / "config-0.toml"
    volatile = 'token = "authorization"\nvolatile_claims = ["exp", "iat", "role"]'
    file.write_text(file.read_text().replace("[[routes]]", f"{volatile}\n[[routes]]", 1))
    await wire.sidecar.reload(lambda: load(file, environ={}))
    assert (await asked(client, backend, bearer(role="a"), 503))[0] == 503
    await asked(client, backend, bearer(role="a"))
    assert (await asked(client, backend, bearer(role="b"), 503))[0] == 200
    assert site.asked == 1
