"""Trails and checkpoints of any bytes: readers end, and only an intact chain counts as whole."""

import io
import os
import re
import tempfile
from collections.abc import Hashable
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path

import orjson

from proxy.audit import checkpoint
from proxy.audit.chain import GENESIS, Chain, parse_link
from proxy.audit.checkpoint import HmacKey
from proxy.audit.crash_recovery import recover, recover_rotated
from proxy.audit.export import write_csv, write_json, write_stats_csv, write_stats_json
from proxy.audit.files import (
    Record,
    TrailError,
    TrailLine,
    lines,
    trails,
)
from proxy.audit.printing import show_records, show_stats
from proxy.audit.reader import Query, records, stats
from proxy.audit.verify import Condition, Proof, verify
from proxy.errors import StartError
from tests.fuzz.target import Target
from tests.unit.audit.samples import chained, fields

_TEMPORARY = tempfile.TemporaryDirectory(prefix="fuzz-trails-")
FOLDER = Path(_TEMPORARY.name)
FILE, CHECKPOINTS = FOLDER / "audit.jsonl", FOLDER / "audit.jsonl.checkpoints"
KEY = HmacKey(b"k" * 32)
_CHAINED = frozenset({"v", "seq", "prev", "hash"})
WHOLE = b"".join(chained(3))
WORDS = (
    b"\n", b"{", b"}", b'"', b",", b":", b"null", b"true", b"[]", b"{}", b"1e308", b"-1", b"18446744073709551615",
    b'"v":1',
    b'"v":2', b'"seq":', b'"gap":3', b'"torn":9', b'"note":"retired"', b'"through":2', b'"prev":"', b'"hash":"',
    b'"duration_ms":', b'"success":false', b'"subject":"val_123"', b'"attempts":[', b'"flight":{', b"\\u0000",
    b"\\ud800",
    b"\x1b[2J", b"\xff", b'"ts":"2026-11-23T15:37:01.123456Z"', b'"key":"none"', b'"mac":""', b"0" * 64,
    b'"from":1', b'"from":-1', b'"n":1',
)  # fmt: skip


def check_trail(data: bytes) -> Hashable:
    """Check a trail file of these bytes."""
    FILE.write_bytes(data)
    return read_all(data)


def check_records(data: bytes) -> Hashable:
    """Check a trail whose every record says any JSON: the chain is whole, and the readers must live with it."""
    chain, found = Chain(), []
    for line in data.split(b"\n"):
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(said, dict) and (said := {name: value for name, value in said.items() if name not in _CHAINED}):
            found.append(chain.append({**fields(), **said} if len(said) % 2 else said))
    trail = b"".join(found)
    FILE.write_bytes(trail)
    return read_all(trail), min(len(found), 3)


def read_all(data: bytes) -> Hashable:
    """Ask every reader; a refusal is one line."""
    damaged: list[TrailLine] = []
    try:
        (trail,) = trails(FILE)
        finding = verify(lines(trail.files), partial=bool(len(data) % 2))
        found = list(
            records(trail, damaged.append, Query(report_id="val_123", failures=True) if len(data) % 3 else None)
        )
        shown(found)
    except TrailError as error:
        is_one_line(error)
        return "refused", recovered()
    assert str(finding)
    if finding.condition is Condition.WHOLE:
        assert not data or is_chain(data)
    return finding.condition, bool(found), bool(damaged), recovered()


def is_one_line(refusal: Exception) -> None:
    """Check that a refusal can stand on a terminal."""
    assert str(refusal).strip()
    assert "\n" not in str(refusal)


def shown(found: list[Record]) -> None:
    """Ask every writer of what was read; nothing that a terminal acts on goes to one."""
    raw, text = io.BytesIO(), io.StringIO()
    write_json(found, raw)
    write_csv(found, text)
    summed = stats(found)
    write_stats_json(summed, raw)
    write_stats_csv(summed, text)
    with redirect_stdout(io.StringIO()) as out:
        show_records(found)
        show_stats(summed)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x9b]", out.getvalue()), out.getvalue()


def is_chain(data: bytes) -> bool:
    """Tell whether the lines' hashes meet, by another reading than the sidecar's."""
    before: tuple[int, bytes] | None = None
    for line in data.removesuffix(b"\n").split(b"\n"):
        body, _, rest = line.rpartition(b',"hash":"')
        seq, prev = int(line.split(b",", 2)[1].removeprefix(b'"seq":')), body[-65:-1]
        own = sha256(body + b"}").hexdigest().encode()
        if rest != own + b'"}' or before not in (None, (seq - 1, prev)):
            return False
        before = seq, own
    return True


def recovered() -> Hashable:
    """Check where a sidecar that starts goes on: after a whole record, and the torn rest is kept beside."""
    size = FILE.stat().st_size
    fd = os.open(FILE, os.O_RDWR | os.O_APPEND)
    try:
        found = recover_rotated(FILE, recover(fd, FILE))
    except StartError as error:
        is_one_line(error)
        return "refused"
    finally:
        os.close(fd)
    assert FILE.stat().st_size + found.torn_bytes >= size
    for beside in FOLDER.glob("*.torn"):
        beside.unlink()
    return found.last is GENESIS, bool(found.torn_bytes)


def check_checkpoints(data: bytes) -> Hashable:
    """Check a file of checkpoints beside a whole trail. With the key none is whole: no signed one covers record 2."""
    CHECKPOINTS.write_bytes(data)
    outcomes: list[Hashable] = []
    for keys in ((), (KEY,)):
        try:
            claims = list(checkpoint.read(CHECKPOINTS, keys))
        except TrailError as error:
            is_one_line(error)
            outcomes.append("refused")
            continue
        finding = verify(SEALED, proof=Proof(claims, keyed=bool(keys)))
        assert str(finding)
        assert not (keys and finding.condition is Condition.WHOLE), finding
        signed, follows = any(claim.signed for claim in claims), any(claim.follows for claim in claims)
        outcomes.append((signed, follows, finding.condition))
    return tuple(outcomes)


def signed() -> bytes:
    """Return checkpoints of records 1 and 3 by two processes: the second found record 2 when it started."""
    position, made = checkpoint.NO_CHECKPOINT, b""
    for line in (SEALED[0], SEALED[2]):
        link = parse_link(line.data)
        assert link is not None
        said = checkpoint.checkpoint_line("2026-11-23T15:37:01Z", link, KEY, position, link.seq)
        made, position = made + said, checkpoint.Position.after(said, position.n + 1)
    return made


SEALED = [TrailLine(FILE, number, line) for number, line in enumerate(chained(3), start=1)]
SIGNED = signed()
TARGETS = (
    Target("trails", check_trail, WORDS, (WHOLE, WHOLE[:-20], WHOLE.replace(b"val_123", b"val_124"))),
    Target("records", check_records, WORDS, (orjson.dumps(fields()) + b"\n" + orjson.dumps({"gap": 3, "ts": "x"}),)),
    Target("checkpoints", check_checkpoints, WORDS, (SIGNED,)),
)
