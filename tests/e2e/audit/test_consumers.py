"""Common programs that read and rotate log files, at work on a trail that is being written."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import orjson
import pytest

from proxy.audit.files import trails
from proxy.audit.verify import Condition
from tests.e2e.audit.kit import CLOCK, PATIENCE_S, Backend, Client, Running, found, load, needs, recorded, running
from tests.e2e.sidecar import environment

STANZA = Path(__file__).with_name("backstay.logrotate")
BACKSTAY = (sys.executable, "-m", "proxy")
RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="1m")
module(load="imfile")
module(load="mmjsonparse")
template(name="said" type="list") {{
  property(name="$!correlation_id") constant(value=" ") property(name="$!status") constant(value="\\n")
}}
input(type="imfile" File="{trail}" Tag="backstay:" ruleset="audit")
ruleset(name="audit") {{
  action(type="mmjsonparse" cookie="")
  action(type="omfile" file="{out}" template="said")
}}
"""


@asynccontextmanager
async def under_load(sidecar: Running) -> AsyncIterator[dict[str, tuple[int, float]]]:
    """Keep the sidecar busy; what was answered is complete at the end of the block."""
    until, answered = asyncio.Event(), dict[str, tuple[int, float]]()
    loading = asyncio.ensure_future(load(sidecar.url, 8, until, "load"))
    try:
        while not sidecar.trail.exists() or not sidecar.trail.stat().st_size:
            await CLOCK.sleep(0.01)
        yield answered
    finally:
        until.set()
        answered |= await loading


def output_of(*command: object, **env: str) -> str:
    """Run a program that ends by itself, and return what it printed."""
    ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment(**env))
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@needs("logrotate")
async def test_logrotate_with_the_documented_stanza_loses_nothing(folder: Path, backend: Backend) -> None:
    """Three rotations under load, a HUP after the second: every answered request is in one whole trail."""
    stanza, state = folder.parent / "logrotate.conf", folder.parent / "state"
    with running(folder, backend, audit__rotate_size="none") as sidecar:
        stanza.write_text(STANZA.read_text().replace("/var/log/backstay/audit.jsonl", str(sidecar.trail)))
        async with under_load(sidecar) as answered:
            for rotation in range(3):
                await CLOCK.sleep(1.1)  # logrotate names a file by the second
                await asyncio.to_thread(output_of, "/usr/sbin/logrotate", "--force", "--state", state, stanza)
                if rotation == 1:
                    sidecar.process.send_signal(signal.SIGHUP)
        assert sidecar.stop() == 0
    (trail,) = trails(sidecar.trail)
    assert sum(file.suffix == ".gz" for file in trail.files) == 2
    assert len(trail.files) == 4
    assert found(sidecar.trail).condition is Condition.WHOLE
    assert {str(record["correlation_id"]) for record in recorded(sidecar.trail)} == answered.keys()


@needs("jq")
async def test_jq_reads_the_file_as_it_is_written(folder: Path, backend: Backend) -> None:
    """Every line is one JSON object of its own, also the newest."""
    with running(folder, backend) as sidecar:
        async with under_load(sidecar):
            said = await asyncio.to_thread(read_by_jq, sidecar.trail)
    ids = said.split()
    assert ids == [record["correlation_id"] for record in recorded(sidecar.trail)][: len(ids)]
    assert ids


def read_by_jq(trail: Path) -> str:
    """Return the ids that jq prints. A batch may be half written while it reads: then it says so of the last line."""
    command = ("jq", "-r", "select(.success) | .correlation_id", str(trail))
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0 or "Unfinished" in ended.stderr, ended.stderr
    return ended.stdout


@contextmanager
def rsyslog(folder: Path, trail: Path, out: Path) -> Iterator[None]:
    """Run rsyslog on the trail."""
    config = folder / "rsyslog.conf"
    config.write_text(RSYSLOG.format(folder=folder, trail=trail, out=out))
    command = ["/usr/sbin/rsyslogd", "-n", "-f", str(config), "-i", str(folder / "rsyslog.pid")]
    with (folder / "rsyslog.log").open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        yield
        process.terminate()


@needs("rsyslogd")
async def test_rsyslog_parses_every_record(folder: Path, backend: Backend) -> None:
    """Its file input with its JSON parser sees each request's id and status, also across a rotation."""
    out = folder.parent / "said"
    with running(folder, backend) as sidecar, rsyslog(folder.parent, sidecar.trail, out):
        client = Client(sidecar.url)
        for number in range(100):
            await client.ask("GET", "/api/sessions", f"read-{number}")
        client.close()
        async with asyncio.timeout(PATIENCE_S):
            while not out.exists() or out.read_text().count("\n") < 100:
                await CLOCK.sleep(0.05)
    assert out.read_text().splitlines() == [f"read-{number} 200" for number in range(100)]


async def test_duckdb_reads_the_file_as_it_is_written(folder: Path, backend: Backend) -> None:
    """`backstay audit sql` and Parquet, beside the same figures of `stats`."""
    duckdb = pytest.importorskip("duckdb")
    with running(folder, backend) as sidecar:
        async with under_load(sidecar):
            live = "SELECT count(*) AS n FROM audit WHERE success"
            rows = await asyncio.to_thread(output_of, *BACKSTAY, "audit", "sql", live, sidecar.trail)
            assert orjson.loads(rows)["n"] > 0
        assert sidecar.stop() == 0
    sums = orjson.loads(output_of(*BACKSTAY, "audit", "stats", sidecar.trail))["overall"]
    ask = "SELECT count(*) AS total, round(avg(duration_ms), 3) AS mean_ms FROM audit WHERE success IS NOT NULL"
    assert orjson.loads(output_of(*BACKSTAY, "audit", "sql", ask, sidecar.trail)) == {
        "total": sums["total"],
        "mean_ms": sums["mean_ms"],
    }
    parquet = folder / "audit.parquet"
    output_of(*BACKSTAY, "audit", "export", sidecar.trail, "--format", "parquet", "--output", parquet)
    assert duckdb.sql(f"SELECT count(*) FROM '{parquet}' WHERE method IS NOT NULL").fetchall() == [(sums["total"],)]


async def test_tail_follows_the_sidecars_own_rotation(folder: Path, backend: Backend) -> None:
    """Files of a few records each, gzipped at once: `tail -f` prints every record once, in order."""
    with running(folder, backend, audit__rotate_size="4KiB") as sidecar, following(sidecar.trail) as tail:
        client, warm_ups = Client(sidecar.url), 0
        first = asyncio.ensure_future(asyncio.to_thread(tail.readline))
        while not first.done():
            warm_ups += 1
            await client.ask("GET", "/api/sessions", f"warm-up-{warm_ups}")
            await CLOCK.sleep(0.05)
        for number in range(50):
            await client.ask("GET", "/api/sessions", f"read-{number}")
        seqs = [orjson.loads(await first)["seq"]]
        while seqs[-1] < warm_ups + 50:
            seqs.append(orjson.loads(await asyncio.to_thread(tail.readline))["seq"])
        client.close()
    (trail,) = trails(sidecar.trail)
    assert len(trail.files) > 2
    assert seqs == list(range(seqs[0], warm_ups + 51))


@contextmanager
def following(trail: Path) -> Iterator[IO[bytes]]:
    """Run `backstay audit tail -f`, and return what it prints."""
    command = [*BACKSTAY, "audit", "tail", "-f", "-n", "0", "--format", "json", str(trail)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


SECRETS = ("s3cret-cookie", "s3cret-token", "s3cret-key", "s3cret-query", "s3cret-bare", "s3cret-body", "s3cret-header")


@pytest.mark.parametrize("durability", ["batch", "strict"])
async def test_planted_secrets_are_in_no_file(folder: Path, backend: Backend, durability: str) -> None:
    """Cookies, credentials, keys, query values, bodies and unnamed headers: grep finds none, in any file it writes."""
    lists = {"audit__headers": '["X-View"]', "audit__query_parameters": '["page"]', "audit__clients": "hashed"}
    with running(folder, backend, audit__durability=durability, **lists) as sidecar:
        reader, writer = await asyncio.open_connection(*sidecar.url.removeprefix("http://").split(":"))
        writer.write(
            b"POST /api/sessions?page=2&token=s3cret-query&s3cret-bare HTTP/1.1\r\nHost: app\r\n"
            b"Cookie: a=s3cret-cookie\r\n"
            b"Authorization: Bearer s3cret-token\r\nIdempotency-Key: s3cret-key\r\nX-View: manual\r\n"
            b"X-Other: s3cret-header\r\nX-Correlation-ID: planted\r\nContent-Length: 15\r\n\r\n"
            b'"s3cret-body  "'
        )
        assert b" 200 " in await reader.readline()
        writer.close()
        assert sidecar.stop() == 0
    (record,) = recorded(sidecar.trail)
    assert record["path"] == "/api/sessions?page=2&token=*&*"
    assert isinstance(metadata := record["metadata"], dict)
    assert metadata["headers"] == {"x-view": "manual"}
    assert len(metadata["client"]) == 16
    assert "127.0.0.1" not in str(record)
    for secret in SECRETS:
        assert files_with(secret, folder, Path(f"{folder}.stderr")) == ""


def files_with(text: str, *places: Path) -> str:
    """Return the names of the files in which grep finds a text."""
    command = ["grep", "-rl", "--", text, *map(str, places)]
    return subprocess.run(command, capture_output=True, text=True).stdout
