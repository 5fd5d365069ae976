"""Keys are read in the background, at most once a minute, and outlive what goes wrong with their issuer."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from proxy.config.principal_table import PrincipalTable
from proxy.errors import StartError
from proxy.principals import key_source, registry
from proxy.principals.key_source import AT_MOST_EVERY_S, MOST_BYTES, REFRESH_S, KeySource, KeysPlace
from proxy.principals.registry import Principals, read_key_files
from proxy.transport.tls import TlsFiles, server_context
from tests.issuer_site import IssuerSite
from tests.tokens import Issuer, Told, table
from tests.wire.test_tls import issue

ONE, TWO = Issuer("k1"), Issuer("k1", "k2")


@pytest.fixture
async def site() -> AsyncIterator[IssuerSite]:
    """Return a site that has started."""
    made = await IssuerSite(ONE.jwks()).start()
    yield made
    await made.close()


async def read(source: KeySource, now: float) -> None:
    """Sweep, and wait for the read that this starts, if any."""
    source.sweep(now)
    if source._task is not None:
        await source._task


def of(told: Told, **more: object) -> KeySource:
    """Return a source of keys."""
    return KeySource("user", KeysPlace.of(table(**more)), told)


async def test_keys_are_read_at_once_and_then_now_and_then(site: IssuerSite) -> None:
    """The same document changes nothing; another one does."""
    told = Told()
    source = of(told, jwks=site.url)
    await read(source, 0.0)
    assert (told.keys, source.keys.generation) == ([1], 1)
    await read(source, REFRESH_S - 1)
    assert site.asked == 1
    await read(source, REFRESH_S)
    assert (site.asked, source.keys.generation) == (2, 1)
    site.document = TWO.jwks()
    await read(source, 2 * REFRESH_S)
    assert (told.keys, source.keys.generation, source.keys.count) == ([1, 2], 2, 2)


async def test_a_token_with_an_unknown_key_has_them_read_at_most_once_a_minute(site: IssuerSite) -> None:
    """However many such tokens there are."""
    source = of(Told(), jwks=site.url)
    for second in range(0, 240, 5):
        source.keys.wanted = True
        await read(source, float(second))
    assert site.asked == 240 / AT_MOST_EVERY_S


async def test_known_keys_outlive_the_issuers_outage(site: IssuerSite) -> None:
    """Refused, redirected, broken, empty, too long: the issuer is asked again in a minute, and then is well again."""
    told = Told()
    source, now = of(told, jwks=site.url), 0.0
    await read(source, now)

    def answering(**said: object) -> Callable[[], Awaitable[web.StreamResponse]]:
        async def answer() -> web.StreamResponse:
            return web.Response(**said)  # type: ignore[arg-type]

        return answer

    for wrong in (
        answering(status=503), answering(status=302, headers={"Location": site.url}), answering(body=b"<html>"),
        answering(body=b'{"keys": []}'), answering(body=b" " * (MOST_BYTES + 1)),
    ):  # fmt: skip
        site.answer, now = wrong, now + REFRESH_S
        await read(source, now)
        assert source.failure == told.keys[-1] != ""
        assert (source.keys.count, source.keys.generation) == (1, 1)
    site.answer, asked = site.keys, site.asked
    await read(source, now + AT_MOST_EVERY_S - 1)
    assert site.asked == asked
    await read(source, now + AT_MOST_EVERY_S)
    assert (site.asked, source.failure) == (asked + 1, "")


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_issuer_must_be_vouched_for(tmp_path: Path, trusted: bool) -> None:
    """By `tls_ca`, or by the system's authorities."""
    certificate, told = issue(tmp_path, "localhost"), Told()
    site = await IssuerSite(ONE.jwks()).start(server_context(TlsFiles(str(certificate))))
    source = of(told, jwks=site.url, tls_ca=str(certificate) if trusted else None)
    await read(source, 0.0)
    await site.close()
    assert source.keys.count == int(trusted)
    assert ("certificate verify failed" in source.failure.lower()) is not trusted


async def test_an_issuer_that_is_away_at_the_start_is_asked_every_minute() -> None:
    """Nothing waits for it."""
    told = Told()
    source = of(told, jwks="http://127.0.0.1:1/keys")
    for minute in range(3):
        await read(source, minute * AT_MOST_EVERY_S)
    assert (len(told.keys), source.keys.count) == (3, 0)


async def test_a_read_that_hangs_is_the_only_one_and_ends_with_the_source(site: IssuerSite) -> None:
    """A minute later it still runs, and no second one is begun."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def hang() -> web.StreamResponse:
        begun.set()
        await never.wait()
        return web.Response()

    site.answer = hang
    source = of(Told(), jwks=site.url)
    source.sweep(0.0)
    await begun.wait()
    source.sweep(10 * REFRESH_S)
    assert site.asked == 1
    task = source._task
    assert task is not None
    source.close()
    await asyncio.wait((task,))
    assert task.cancelled()
    never.set()


async def test_while_a_file_hangs_no_second_thread_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file server that is away would otherwise collect one thread each minute."""
    file, gone, begun = tmp_path / "jwks.json", threading.Event(), 0

    def hang(path: str, most: int) -> bytes:
        nonlocal begun
        begun += 1
        gone.wait(30.0)
        return ONE.jwks()

    monkeypatch.setattr(key_source, "read_regular", hang)
    monkeypatch.setattr(key_source, "_WITHIN_S", 0.01)
    source = of(Told(), jwks=None, jwks_file=str(file))
    for minute in range(10):
        await read(source, minute * AT_MOST_EVERY_S)
    assert (begun, "no answer" in source.failure) == (1, True)
    assert source._blocked is not None
    gone.set()
    await source._blocked
    monkeypatch.setattr(key_source, "_WITHIN_S", 30.0)
    await read(source, 10 * AT_MOST_EVERY_S)
    assert (begun, source.keys.count, source.failure) == (2, 1, "")


async def test_whatever_goes_wrong_the_keys_stay_and_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what neither the network nor a document explains, such as no thread being left."""
    told = Told()
    source = of(told, jwks="https://id.example/keys")

    def fails(files: TlsFiles) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(key_source, "client_context", fails)
    await read(source, 0.0)
    await read(source, AT_MOST_EVERY_S)
    assert told.keys == ["can't start new thread"] * 2


async def test_the_same_keys_in_another_document_change_nothing(site: IssuerSite) -> None:
    """Neither another order nor another member: otherwise every token would be examined again."""
    told = Told()
    source = of(told, jwks=site.url)
    site.document = TWO.jwks()
    await read(source, 0.0)
    keys = json.loads(TWO.jwks())["keys"]
    site.document = json.dumps({"at": 1, "keys": [{**one, "x5t": "AA"} for one in keys[::-1]]}).encode()
    await read(source, REFRESH_S)
    assert (source.keys.generation, told.keys) == (1, [2])
    site.document = json.dumps({"keys": [{**keys[0], "kid": "k3"}, keys[1]]}).encode()
    await read(source, 2 * REFRESH_S)
    assert (source.keys.generation, told.keys) == (2, [2, 2])


async def test_a_redirect_is_not_followed_and_the_cure_is_told(site: IssuerSite) -> None:
    """Whoever may redirect would choose the keys."""

    async def redirect() -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/keys?again"})

    site.answer = redirect
    source = of(Told(), jwks=site.url)
    await read(source, 0.0)
    assert site.asked == 1
    assert source.failure == "the issuer answered 307: write the URL to which it redirects"


async def test_other_algorithms_begin_with_the_keys_that_are_known(site: IssuerSite) -> None:
    """The issuer may be away when a reload changes them. Another site, or other authorities, begin without keys."""
    principals = Principals(Told())

    def used(**more: object) -> KeySource:
        principals.use({"user": table(**{"jwks": site.url, **more})}, {})
        return principals._sources["user"]

    first = used()
    await read(first, 0.0)
    await site.close()
    other = used(algorithms=["ES256"])
    assert other is not first
    assert (other.keys.count, other.read_at) == (1, 0.0)
    assert used(algorithms=["RS256"]).keys.count == 0
    assert used(algorithms=["ES256"], jwks=site.url + "2").keys.count == 0


async def test_a_start_waits_for_the_keys_but_not_for_ever(site: IssuerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request at once after the start has its token verified; an issuer that hangs delays it by two seconds."""
    principals = Principals(Told())
    principals.use({"user": table(jwks=site.url)}, {})
    await principals.start(0.0)
    assert principals.views(0.0)[0].keys == 1
    await principals.start(1.0)
    never = asyncio.Event()

    async def hang() -> web.StreamResponse:
        await never.wait()
        return web.Response()

    site.answer = hang
    monkeypatch.setattr(registry, "FIRST_WITHIN_S", 0.01)
    hanging = Principals(Told())
    hanging.use({"user": table(jwks=site.url)}, {})
    await hanging.start(0.0)
    assert hanging.views(0.0)[0].keys == 0
    hanging.close()
    never.set()


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A file that is gone or broken leaves the keys as they are."""
    file, told = tmp_path / "jwks.json", Told()
    file.write_bytes(ONE.jwks())
    source = of(told, jwks=None, jwks_file=str(file))
    await read(source, 0.0)
    file.write_bytes(TWO.jwks())
    await read(source, AT_MOST_EVERY_S)
    file.unlink()
    await read(source, 2 * AT_MOST_EVERY_S)
    os.mkfifo(file)
    await read(source, 3 * AT_MOST_EVERY_S)
    assert told.keys[:2] == [1, 2]
    assert len(told.keys) == 4
    assert source.keys.count == 2


def test_a_file_is_read_before_the_start(tmp_path: Path) -> None:
    """Its tokens are verified from the first request on; a bad one is an error that names the setting."""
    file = tmp_path / "jwks.json"
    file.write_bytes(ONE.jwks())
    tables = {"user": table(jwks=None, jwks_file=str(file))}
    principals = Principals(Told())
    principals.use(tables, read_key_files(tables))
    (view,) = principals.views(0.0)
    assert (view.name, view.keys, view.keys_age_s) == ("user", 1, None)
    file.write_bytes(b"{}")
    with pytest.raises(StartError, match=r"principal\.user\.jwks_file: .*jwks\.json: it is not a JWK Set"):
        read_key_files(tables)
    file.unlink()
    with pytest.raises(StartError, match="No such file"):
        read_key_files(tables)


def test_without_the_extra_a_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a table needs it."""
    monkeypatch.setitem(sys.modules, "proxy.principals.key_source", None)
    assert read_key_files({}) == {}
    with pytest.raises(StartError, match=r"pip install 'backstay\[principals\]'"):
        read_key_files({"user": table()})


def test_a_reload_keeps_keys_and_memories_that_did_not_change() -> None:
    """Another place has other keys; other rules judge anew, with the same keys."""
    principals = Principals(Told())

    def used(**more: object) -> tuple[object, object]:
        tables: dict[str, PrincipalTable] = {"user": table(**more)}
        principals.use(tables, {})
        return principals._sources["user"].keys, principals._judges["user"]

    keys, judge = used()
    assert used() == (keys, judge)
    kept, anew = used(leeway="10s")
    assert kept is keys
    assert anew is not judge
    assert used(jwks="https://id.example/other")[0] is not keys
    principals.use({}, {})
    assert principals.views(0.0) == []
