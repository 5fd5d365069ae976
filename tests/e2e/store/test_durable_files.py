"""The folder of a durable store as an operator meets it: a second process, a key, a full disk, erasure."""

import base64
import os
import resource
from pathlib import Path

from tests.e2e.raw import ask, request
from tests.e2e.sidecar import backstay
from tests.e2e.store.durable import bytes_of, durable, folder_of, killed, written
from tests.e2e.store.keyed import keyed_backend
from tests.e2e.store.requests import ADA, LOAD, UPDATE, create

TOKEN = "operator-token"


async def test_a_second_process_is_refused_in_one_line(tmp_path: Path) -> None:
    """The first is undisturbed."""
    async with keyed_backend(0.0) as backend, durable(tmp_path, backend.url) as child:
        other = tmp_path / "other"
        other.mkdir()
        ended = await backstay(
            "run", "--upstream", backend.url, cwd=other, store__url=f"sqlite://{folder_of(tmp_path)}",
            listen__address="127.0.0.1:0", admin__address="127.0.0.1:0",
        )  # fmt: skip
        assert (await ask(child.url, LOAD)).status == 200
    last = ended.err.splitlines()[-1]
    assert ended.status == 1
    assert f"another process uses {folder_of(tmp_path)}: give each process a folder of its own" in last
    assert "Traceback" not in ended.err


async def test_a_folder_has_no_word_of_what_is_in_it(tmp_path: Path) -> None:
    """With `key_file`: neither response nor subject nor credential nor key; and all is there after a kill."""
    keys = tmp_path / "keys"
    keys.write_text(base64.b64encode(os.urandom(32)).decode())
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url, store__key_file=str(keys)) as child:
            first, made = await ask(child.url, LOAD), await ask(child.url, create("r-7"))
            await written(child)
            await killed(child)
        found = bytes_of(folder_of(tmp_path))
        async with durable(tmp_path, backend.url, store__key_file=str(keys)) as child:
            again, repeated = await ask(child.url, LOAD), await ask(child.url, create("r-7"))
    assert (again.body, repeated.body) == (first.body, made.body)
    assert backend.calls == 2
    for word in (b"version", b"session", b"r-1", b"r-7", b"ada-0123456789", b"k-1", b"127.0.0.1"):
        assert word not in found


async def test_erasure_by_an_operator_leaves_no_byte(tmp_path: Path) -> None:
    """`DELETE /kept`: of responses and replayed responses of this process and the one before, in no file."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, request("GET", "/api/sessions/planted-secret", None, **ADA))
            await ask(child.url, create("planted-secret"))
            await written(child)
            assert b"planted-secret" in bytes_of(folder_of(tmp_path))
            await killed(child)
        async with durable(tmp_path, backend.url, admin__token=TOKEN) as child:
            await ask(child.url, create("planted-secret", "k-2"))
            (folder_of(tmp_path) / "cache.db.damaged-20261130T170000").write_bytes(b"planted-secret")
            erased = await child.ask_admin("/kept?subject=planted-secret", "DELETE", TOKEN)
            found = bytes_of(folder_of(tmp_path))
            again = await ask(child.url, create("planted-secret"))
    assert erased.status == 200, erased.out
    assert b"planted-secret" not in found
    assert again.status == 409
    assert backend.calls == 3


async def test_a_full_disk_is_one_line_and_stops_no_request(tmp_path: Path) -> None:
    """Reads and writes go on; after a kill nothing from before the unwritten mark is there."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, LOAD)
            await written(child)
            full = max(file.stat().st_size for file in folder_of(tmp_path).iterdir())
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (full, full))
            wrote = await ask(child.url, UPDATE)
            status = [(await ask(child.url, LOAD)).status, (await ask(child.url, create("r-1"))).status]
            await child.until(lambda scrape: scrape.total("backstay_store_up") == 0)
            log = child.log
            await killed(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        after = await ask(child.url, LOAD)
    assert (wrote.status, status, after.status) == (204, [200, 201], 502)
    assert log.count('"event": "store_down"') == 1
    assert '"event": "store_void"' in child.log


async def test_a_disk_that_has_room_again_is_used_again(tmp_path: Path) -> None:
    """What was cached meanwhile is written then, and outlives a kill."""
    async with keyed_backend(0.0) as backend:
        async with durable(tmp_path, backend.url) as child:
            await ask(child.url, LOAD)
            await written(child)
            full = max(file.stat().st_size for file in folder_of(tmp_path).iterdir())
            before = resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
            await ask(child.url, UPDATE)
            fresh = await ask(child.url, LOAD)
            await child.until(lambda scrape: scrape.total("backstay_store_up") == 0)
            resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, before)
            await child.until(lambda scrape: scrape.total("backstay_store_up") == 1)
            await killed(child)
        url = backend.url
    async with durable(tmp_path, url) as child:
        after = await ask(child.url, LOAD)
    assert (fresh.body, after.status, after.body) == (b'{"version": 1}', 200, b'{"version": 1}')
