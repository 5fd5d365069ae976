"""The compiled build behaves as the source does. It needs compiled modules: `python -m tests.compiled`."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from proxy.build import COMPILED
from tests.e2e.extremes import CONFIG, backend, converse
from tests.e2e.raw import Answer, Client, Origin, answer, chunked, request
from tests.e2e.sidecar import EXAMPLE, ROOT, Child, backstay, sidecar

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not COMPILED, reason="runs in a folder that python -m tests.compiled makes"),
]

OWN = {"date", "x-correlation-id", "server-timing"}  # of a field: what two answers never share
TOLD_APART = {"ts", "id", "correlation_id", "duration_ms", "hash", "prev", "flight"}  # of a record
CREATE = b'{"reportId": "r-1"}'
SAID = (
    request("GET", "/api/sessions/r-1", Cookie="sid=1"),
    request("GET", "/api/sessions/r-1?a=%2f&b", Authorization="Bearer x", traceparent="not one"),
    request("HEAD", "/api/sessions/r-1"),
    request("GET", "/api/sessions/busy"),
    request("GET", "/api/sessions/pieces"),
    request("GET", "/api/sessions/broken", X_Correlation_ID="mine-1"),
    request("GET", "/api/sessions/gone", X_Correlation_ID="mine-2"),
    request("POST", "/api/sessions", CREATE, Content_Type="application/json", Idempotency_Key="k-1"),
    request("BREW", "/coffee"),
    b"GET /without-a-host HTTP/1.1\r\n\r\n",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the modules as they were before they were compiled."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "proxy", folder / "proxy", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return folder


async def test_it_says_that_it_is_compiled(source: Path, tmp_path: Path) -> None:
    """Who asks for the version is told; and of the source that it is not."""
    plain = (await backstay("--version", cwd=tmp_path, PYTHONPATH=str(source))).out
    assert "compiled" not in plain
    assert (await backstay("--version", cwd=tmp_path)).out == f"{plain.strip()} (compiled)\n"


async def test_it_answers_and_records_as_the_source_does(source: Path, tmp_path: Path, origin: Origin) -> None:
    """The same conversation with both: equal answers, equal questions to the backend, equal records."""
    origin.on("/api/sessions/r-1", answer(b'{"id": "r-1"}', Content_Type="application/json"))
    origin.on("/api/sessions/busy", answer(b"later", "503 Service Unavailable"))
    pieces = chunked(b"one", b"two", trailer=b"X-Sum: 6\r\n")
    origin.on("/api/sessions/pieces", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces)
    origin.on("/api/sessions/broken", b"this is not HTTP\r\n\r\n")
    origin.on("/api/sessions", answer(b'{"id": "s-1"}', "409 Conflict", Content_Type="application/json"))
    origin.on("/api/sessions/gone", answer(b"no", "404 Not Found"))
    origin.on("/coffee", answer(b"a teapot", "418 Teapot"))
    told = []
    for name, more in (("source", {"PYTHONPATH": str(source)}), ("compiled", {})):
        folder = tmp_path / name
        folder.mkdir()
        async with sidecar(folder, origin.url, EXAMPLE, **more) as child:
            answers = [_shown(got) for got in await _conversation(child)]
            build = [key for key in (await child.scrape()).samples if key[0] == "backstay_build_info"]
            await child.stop()
        told.append((answers, [_plain(record) for record in child.records()]))
        assert ("compiled", "no" if more else "yes") in build[0][1]
    assert told[0] == told[1]
    assert len(told[0][1]) == len(SAID) - 1  # one is refused on the wire


async def test_it_takes_extremes_as_the_source_does(source: Path, tmp_path: Path) -> None:
    """Numbers, lists and fields at their limits, on both legs: equal answers, and equally many questions."""
    told = []
    async with backend() as (peer, url):
        for name, more in (("source", {"PYTHONPATH": str(source)}), ("compiled", {})):
            folder = tmp_path / name
            folder.mkdir()
            async with sidecar(folder, url, CONFIG.format(url=url), **more) as child:
                told.append(await converse(child, peer))
    assert [pair for pair in zip(*told, strict=True) if pair[0] != pair[1]] == []


async def _conversation(child: Child) -> list[Answer]:
    answers = []
    for said in SAID:
        async with await Client.connect(child.url) as client:
            client.send(said)
            answers.append(await client.answer(said.split(b" ", 1)[0].decode()))
    return answers


def _shown(got: Answer) -> object:
    return got.status, {name: value for name, value in got.headers.items() if name not in OWN}, got.body, got.interim


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without what differs from one run to the next."""
    attempts = [{name: value for name, value in one.items() if "ms" not in name} for one in record["attempts"]]
    key = record["idempotency"] and record["idempotency"]["source"]
    kept = {name: value for name, value in record.items() if name not in TOLD_APART | {"target"}}
    return kept | {"attempts": attempts, "idempotency": key, "role": record["flight"]["role"]}
