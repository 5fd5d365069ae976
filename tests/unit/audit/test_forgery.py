"""No forged trail passes as whole: every forgery with every kind of checkpoints, through the command itself."""

from pathlib import Path

import pytest

from proxy.audit.chain import Chain
from proxy.audit.checkpoint import CheckpointKey, read
from proxy.audit.verify import Condition, Finding, Proof, verify
from tests.unit.audit.forgery import (
    BESIDE,
    FORGED,
    HONEST,
    SECRET,
    UNHARMED,
    Verdict,
    as_table,
    checkpoints,
    links,
    placed,
    restarted,
    retired,
    verdict,
    verdicts,
)
from tests.unit.audit.samples import as_lines, chained

PAGE = Path(__file__).parents[3] / "docs/audit-integrity.md"
Table = dict[str, dict[str, Verdict]]
BEGUN_ANEW = {("emptied", how) for how in ("emptied", "the forger's", "unsigned", "taken away")}  # no line is left


@pytest.fixture(scope="module")
def with_key() -> Table:
    """Return what the command says with the key."""
    return verdicts(keyed=True)


@pytest.fixture(scope="module")
def after_restart() -> Table:
    """Return what the command says with the key once the sidecar was started on the trail."""
    return verdicts(keyed=True, restart=True)


@pytest.fixture(scope="module")
def without_key() -> Table:
    """Return what the command says without it."""
    return verdicts(keyed=False)


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("kind", [kind for kind in FORGED if kind not in UNHARMED])
def test_no_forged_trail_is_whole_for_who_has_the_key(kind: str, how: str, with_key: Table) -> None:
    """Whatever the forger does with the checkpoints."""
    status, said = with_key[kind][how]
    assert status != 0
    assert not said.startswith(("whole", "unbroken"))


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("kind", [kind for kind in FORGED if kind not in UNHARMED])
def test_no_restart_makes_a_forged_trail_whole(kind: str, how: str, after_restart: Table) -> None:
    """The sidecar signs what it writes itself. Where the forger left no line at all, it begins a new trail."""
    status, said = after_restart[kind][how]
    if (kind, how) in BEGUN_ANEW:
        assert (status, said[:17]) == (0, "whole: 5 records,")
    else:
        assert status != 0
        assert not said.startswith(("whole", "unbroken"))


def test_a_restart_leaves_an_honest_trail_whole_beside_its_own_checkpoints_only(after_restart: Table) -> None:
    """What no checkpoint covers at the start stays uncovered."""
    row = after_restart["nothing"]
    assert row["intact"][1].startswith("whole: 65 records,")
    assert [how for how, (status, _) in row.items() if status == 0] == ["intact"]
    assert "no signed checkpoint covers records 1 to 60, found at a start" in row["taken away"][1]
    assert "no signed checkpoint covers records 11 to 60, found at a start" in row["cut to one"][1]


async def test_no_checkpoint_taken_away_after_the_restart_hides_what_it_found(tmp_path: Path) -> None:
    """Each one by itself, all before it, and all behind it."""
    placed(FORGED["records added behind the end"](), checkpoints(HONEST, SECRET), tmp_path)
    await restarted(tmp_path)
    marks = tmp_path / "audit.jsonl.checkpoints"
    written = marks.read_bytes().splitlines(keepends=True)
    assert "covers records 61 to 63, found at a start" in verdict(tmp_path)[1]
    assert verdict(tmp_path, "--allow-uncovered", "2")[0] == Condition.UNCOVERED
    assert verdict(tmp_path, "--allow-uncovered", "3")[0] == 0
    for place in range(len(written)):
        for left in (written[:place] + written[place + 1 :], written[place + 1 :], written[:place]):
            marks.write_bytes(b"".join(left))
            assert verdict(tmp_path)[0] != 0, (place, len(left))


@pytest.mark.parametrize("how", BESIDE)
@pytest.mark.parametrize("kind", FORGED)
def test_without_the_key_nothing_is_called_whole(kind: str, how: str, without_key: Table) -> None:
    """Either the damage shows, or the verdict says that signatures were not checked."""
    status, said = without_key[kind][how]
    assert not said.startswith("whole")
    assert status != 0 or "no key was given" in said


@pytest.mark.parametrize("kind", UNHARMED)
def test_an_honest_trail_is_whole(kind: str, with_key: Table) -> None:
    """So the others fail for what was done to them. It is not whole where its checkpoints are not."""
    status, said = with_key[kind]["intact"]
    assert (status, said[:18]) == (0, "whole: 60 records,")
    assert [how for how, (status, _) in with_key[kind].items() if status == 0] == ["intact"]
    assert "no checkpoints to verify the trail against" in with_key[kind]["taken away"][1]


def test_the_page_shows_every_verdict(with_key: Table, after_restart: Table, without_key: Table) -> None:
    """`python -m tests.unit.audit.forgery` prints the tables as they stand there."""
    page = PAGE.read_text(encoding="utf-8")
    for table in (with_key, after_restart, without_key):
        assert as_table(table) in page


def judge(lines: list[bytes], beside: list[bytes], file: Path, *keys: CheckpointKey) -> Finding:
    """Return what becomes of a trail held against these checkpoints."""
    file.write_bytes(b"".join(beside))
    return verify(as_lines(b"".join(lines)), proof=Proof(read(file, keys), keyed=bool(keys)))


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
    assert verify(as_lines(b"".join(chained(5, chain))), partial=True, proof=proof).condition is Condition.EDITED
