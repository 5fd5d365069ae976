"""Functions that read whole files: trails, rotated or not, their ends, their checkpoints, their keys."""

import gzip
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

import typer

from proxy.audit import checkpoint
from proxy.audit.chain import GENESIS, Chain
from proxy.audit.checkpoint import HmacKey, read_key
from proxy.audit.crash_recovery import recover_rotated
from proxy.audit.files import Trail, TrailError, lines, parse, trails
from proxy.audit.reader import Query, records, tail
from proxy.audit.retention import Retention
from proxy.audit.trail_end import compare, last_link, live_proof
from proxy.audit.trail_file import TrailFile
from proxy.audit.verify import Proof, verify
from proxy.cli.audit import _found
from proxy.cli.audit import verify as verify_command
from proxy.errors import StartError
from tests.growth.case import TEXT, Case, in_file
from tests.growth.inputs import Around
from tests.growth.readers import line_of
from tests.settings import retention_rules, rotation
from tests.unit.audit.samples import chained

_KEY = HmacKey(b"k" * 32)
_PUT_ASIDE = ".20261123T153700.123456Z"
_ANYBODY = Query()
_FEW = [line_of(line) for line in chained(3)]


def _read(path: Path) -> None:
    """Read a trail as `query`, `verify` and `tail` do."""
    found = list(lines([path]))
    verify(found)
    for line in found:
        parse(line)
    with redirect_stderr(StringIO()):
        list(_found(path, Query(report_id="a")))
        list(_found(path.parent, _ANYBODY))
    list(tail(Trail((path,), path), _ANYBODY, 10, None))


def _commanded(path: Path) -> None:
    with redirect_stdout(StringIO()), suppress(typer.Exit):
        verify_command(path)


def _claimed(path: Path) -> None:
    for keys in ((), (_KEY,)):
        claims = list(checkpoint.read(path, keys))
        verify(_FEW, proof=Proof(claims, keyed=bool(keys)))


def _keyed(path: Path) -> None:
    for before in (b"", b"-----BEGIN PUBLIC KEY-----\n", b"-----BEGIN PRIVATE KEY-----\n"):
        key = path.with_name("key")
        key.write_bytes(before + path.read_bytes())
        with suppress(TrailError):
            read_key(key)


def _began_again(path: Path) -> None:
    """Start on a trail as a crash or a rotation left it, tidy up, and say how far it agrees with a checkpoint."""
    data = path.read_bytes()
    path.with_name(path.name + _PUT_ASIDE).write_bytes(data)
    path.with_name(path.name + ".1.gz").write_bytes(gzip.compress(data, 1))
    for name in ("file", "empty"):
        file = TrailFile(path.with_name(name) if name == "empty" else path, rotation())
        with suppress(StartError):
            recover_rotated(path, file.open())
        file.close()
    for compressed in (path.with_name(path.name + ".1.gz"), path):
        last = last_link(compressed) or GENESIS
        compare(path, last, checkpoint.Checkpoint(1, b"", "", signed=True, foreign=False, line=1))
    Retention(path, retention_rules(compress=False, max_files=0), lambda note: False).tidy()
    for beside in path.parent.glob("*.torn"):
        beside.unlink()


def _proven(path: Path) -> None:
    claims = path.with_name("checkpoints")
    claims.write_bytes(checkpoint.checkpoint_line("2026", GENESIS, _KEY) + path.read_bytes())
    live_proof(Trail((path,), path), claims, [_KEY], 0, lambda: None)


def _with_gaps(data: bytes) -> None:
    """Check trails whose beginning was retired, or whose middle is missing, and that say long things."""
    chain = Chain()
    text = data.decode(TEXT)
    found = [line_of(chain.append({"note": "retired", "through": 1, "head": text})) for _ in range(4)]
    for kept in (found[1:], [found[0], *found[2:]], [found[0], found[2], found[1]]):
        verify(kept)


def _compared(data: bytes) -> None:
    """Hold a trail that is whole, and says long things, against checkpoints of each of its records."""
    chain, path = Chain(), Path("compared.jsonl")
    path.write_bytes(b"".join(chain.append({"subject": data.decode(TEXT)}) for _ in range(3)))
    last = last_link(path)
    assert last is not None
    for seq in (1, 2, 3):
        compare(path, last, checkpoint.Checkpoint(seq, last.hash, "", signed=True, foreign=False, line=1))


def _damaged(path: Path) -> None:
    (trail,) = trails(path)
    list(records(trail, lambda line: None, Query(report_id="a", failures=True)))


IN_TRAILS = (Around(), Around(b'{"v":1,', b"\n"), Around(b"", b',"mac":""}\n'))
TRAILS = (
    Case("files.lines, parse; verify; reader.records, tail; cli.audit", in_file("trail", _read), IN_TRAILS, times=32),
    Case("reader.records of a damaged trail", in_file("damaged", _damaged), IN_TRAILS[1:2], times=16),
    Case("cli.audit.verify", in_file("command", _commanded), IN_TRAILS[:1], times=32),
    Case("verify of a trail with gaps", _with_gaps),
    Case("trail_end.compare", _compared),
    Case("checkpoint.read", in_file("checkpoints", _claimed), IN_TRAILS, times=16),
    Case("checkpoint.read_key", in_file("key", _keyed), times=8),
    Case("recovery; trail_end; keeper; output", in_file("again", _began_again), IN_TRAILS, times=32),
    Case("trail_end.live_proof", in_file("live", _proven), IN_TRAILS[:2], times=256),
)
