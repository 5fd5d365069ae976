"""Forged trails, without and with the key at hand, beside checkpoints that are intact, emptied, cut, replaced or gone.

The forger writes to every file and lacks the key. With the key none of his trails is whole. Without it nobody can tell
a trail that was written anew together with its checkpoints: then nothing is called whole at all.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.audit.chain import Chain, Link, unseal
from proxy.audit.checkpoint import NO_CHECKPOINT, HmacKey, Key, NoKey, Position, read, seal
from proxy.audit.files import NoTrailError
from proxy.audit.verify import Condition, Finding, Proof, verify
from tests.unit.audit.samples import as_lines, fields, sealed

HONEST = sealed(60)
COVERED = (10, 20, 30, 40, 50, 60)  # the records that the checkpoints speak of
SECRET, FORGERS = HmacKey(b"k" * 32), HmacKey(b"f" * 32)
TS = "2026-11-29T15:37:00.000000Z"


def links(lines: list[bytes]) -> list[Link]:
    """Return the links of whole lines."""
    return [link for line in lines if (link := unseal(line))]


def checkpoints(of: list[bytes], key: Key, seqs: tuple[int, ...] = COVERED) -> list[bytes]:
    """Return chained checkpoints of the records with these numbers, as far as the trail has them."""
    position, made = NO_CHECKPOINT, []
    for link in links(of):
        if link.seq in seqs:
            made.append(seal(TS, link, key, position))
            position = Position.after(made[-1], position.n + 1)
    return made


def anew(start: int) -> list[bytes]:
    """Return the trail with every record from `start` on forged, and every hash behind it computed again."""
    before = HONEST[: start - 1]
    last = links(before)[-1] if before else Link(0, b"", b"0" * 64)
    chain = Chain(last.hash, last.seq)
    return [*before, *(chain.seal(fields(number, status=404)) for number in range(start, 61))]


def retired(through: int, head: bytes) -> list[bytes]:
    """Return a trail that begins late and says that everything before was retired."""
    chain = Chain(head, through)
    note = chain.seal({"ts": TS, "note": "retired", "files": 1, "through": through, "head": head.decode()})
    return [note, *sealed(20, chain)]


FORGED: dict[str, Callable[[], list[bytes]]] = {
    "all written anew": lambda: anew(1),
    "written anew behind the first checkpoint": lambda: anew(11),
    "written anew behind the last checkpoint but one": lambda: anew(51),
    "cut and continued": lambda: [*HONEST[:35], *sealed(25, Chain(links(HONEST)[34].hash, 35))],
    "cut": lambda: HONEST[:35],
    "retired behind the last checkpoint": lambda: retired(60, b"ab" * 32),
    "retired in the middle": lambda: retired(30, links(HONEST)[29].hash),
    "emptied": list,
}
BESIDE: dict[str, Callable[[list[bytes]], list[bytes] | None]] = {
    "intact": lambda forged: checkpoints(HONEST, SECRET),
    "emptied": lambda forged: [],
    "cut to one": lambda forged: checkpoints(HONEST, SECRET)[:1],
    "one removed": lambda forged: checkpoints(HONEST, SECRET)[:2] + checkpoints(HONEST, SECRET)[3:],
    "replaced, signed by the forger": lambda forged: checkpoints(forged, FORGERS),
    "replaced, not signed": lambda forged: checkpoints(forged, NoKey()),
    "moved away": lambda forged: None,
}


def judge(lines: list[bytes], beside: list[bytes] | None, file: Path, *keys: Key) -> Finding:
    """Return the finding of `backstay audit verify`, with the file of checkpoints as it is."""
    if beside is not None:
        file.write_bytes(b"".join(beside))
    claims = read(file, keys) if keys or file.exists() else ()
    return verify(as_lines(b"".join(lines)), proof=Proof(claims, keyed=bool(keys)))


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("kind", FORGED)
def test_no_forged_trail_is_whole_for_who_has_the_key(kind: str, how: str, tmp_path: Path) -> None:
    """Whatever the forger does with the checkpoints; where they are gone there is no verdict at all."""
    forged = FORGED[kind]()
    beside = BESIDE[how](forged)
    if beside is None:
        with pytest.raises(NoTrailError, match="no checkpoints to hold the trail against"):
            judge(forged, beside, tmp_path / "checkpoints", SECRET)
        return
    assert judge(forged, beside, tmp_path / "checkpoints", SECRET).condition is not Condition.WHOLE


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("kind", FORGED)
def test_without_the_key_nothing_is_called_whole(kind: str, how: str, tmp_path: Path) -> None:
    """Either the damage shows, or the finding says that signatures were not checked."""
    forged = FORGED[kind]()
    finding = judge(forged, BESIDE[how](forged), tmp_path / "checkpoints")
    assert not str(finding).startswith("whole")
    assert finding.condition is not Condition.WHOLE or "no key was given" in str(finding)


def test_the_honest_trail_is_whole(tmp_path: Path) -> None:
    """So the others fail for what was done to them."""
    finding = judge(HONEST, checkpoints(HONEST, SECRET), tmp_path / "checkpoints", SECRET)
    assert str(finding).startswith("whole: 60 records")


def test_an_honest_retirement_is_whole_once_a_checkpoint_covers_it(tmp_path: Path) -> None:
    """The note that files were retired counts like any other record."""
    rest = retired(30, links(HONEST)[29].hash)
    marks = checkpoints([*HONEST[:30], *rest], SECRET, (10, 20, 30, 31, 51))
    assert judge(rest, marks, tmp_path / "checkpoints", SECRET).condition is Condition.WHOLE


def test_a_trail_that_begins_behind_a_checkpoint_must_continue_it(tmp_path: Path) -> None:
    """Also where the oldest files are said to be elsewhere."""
    chain = Chain(b"ab" * 32, 10)
    marks = checkpoints(HONEST, SECRET, (10,))
    (tmp_path / "checkpoints").write_bytes(b"".join(marks))
    proof = Proof(read(tmp_path / "checkpoints", [SECRET]), keyed=True)
    assert verify(as_lines(b"".join(sealed(5, chain))), partial=True, proof=proof).condition is Condition.EDITED
