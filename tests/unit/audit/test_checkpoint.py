"""Checkpoints detect a truncated and a rewritten trail, which no forger without the key can hide."""

import errno
import os
import subprocess
from pathlib import Path

import orjson
import pytest

from proxy.audit.chain import Chain, ChainLink, parse_link
from proxy.audit.checkpoint import (
    NO_CHECKPOINT,
    CheckpointKey,
    Checkpoints,
    HmacKey,
    NoKey,
    Position,
    checkpoint_line,
    read,
    read_key,
)
from proxy.audit.files import NoTrailError, TrailError
from proxy.audit.verify import Condition, Finding, Proof, verify
from tests.settings import checkpoint_rules
from tests.unit.audit.samples import as_lines, chained, fields

TRAIL = chained(8)
LINKS = [link for line in TRAIL if (link := parse_link(line))]
SECRET = HmacKey(b"k" * 32)
TS = "2026-11-23T15:37:00.000000Z"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with checkpoints of records 3 and 6, signed."""
    path = tmp_path / "audit.jsonl.checkpoints"
    path.write_bytes(checkpoints_of(LINKS[2], LINKS[5]))
    return path


def judge(lines: list[bytes], file: Path, *keys: CheckpointKey) -> Finding:
    """Return the finding for these lines beside these checkpoints."""
    return verify(as_lines(b"".join(lines)), proof=Proof(read(file, keys), keyed=bool(keys)))


def checkpoints_of(*links: ChainLink, key: CheckpointKey = SECRET) -> bytes:
    """Return a file of checkpoints of these records, each of which continues the one before."""
    position, file = NO_CHECKPOINT, b""
    for link in links:
        line = checkpoint_line(TS, link, key, position)
        position, file = Position.after(line, position.n + 1), file + line
    return file


@pytest.mark.parametrize("keys", [(), (SECRET,), (NoKey(), SECRET)])
def test_a_whole_trail_meets_its_checkpoints(file: Path, keys: tuple[CheckpointKey, ...]) -> None:
    """The finding says how far they reach, with or without the key at hand."""
    finding = judge(TRAIL[:6], file, *keys)
    assert finding.condition is Condition.WHOLE
    assert "checkpoints agree up to record 6" in finding.detail


def test_records_behind_the_last_signed_checkpoint_are_not_called_whole(file: Path) -> None:
    """Anybody can write them. Without a key the finding says what it could not check."""
    finding = judge(TRAIL, file, SECRET)
    assert finding.condition is Condition.UNCOVERED
    assert "records 7 to 8 are behind the last signed checkpoint" in finding.detail
    accepted = verify(as_lines(b"".join(TRAIL)), proof=Proof(read(file, [SECRET]), keyed=True, uncovered=2))
    assert accepted.condition is Condition.WHOLE
    assert "not checked: records 7 to 8, which no checkpoint covers" in str(accepted)
    assert str(judge(TRAIL, file)).startswith("unbroken, not proven: 8 records")
    assert "no key was given" in str(judge(TRAIL, file))


@pytest.mark.parametrize("kept", range(9))
def test_every_cut_behind_the_last_checkpoint_is_found(file: Path, kept: int) -> None:
    """Also a cut of everything; and a cut in the middle of a line does not pass for a crash."""
    expected = {6: Condition.WHOLE, 7: Condition.UNCOVERED, 8: Condition.UNCOVERED}.get(kept, Condition.CUT_TAIL)
    assert judge(TRAIL[:kept], file, SECRET).condition is expected
    if kept < 6:
        assert judge([*TRAIL[:kept], TRAIL[kept][:50]], file, SECRET).condition is Condition.CUT_TAIL


def test_a_trail_computed_anew_does_not_meet_them(file: Path) -> None:
    """Every hash in it is right, and none is the one that was signed."""
    chain = Chain()
    forged = [chain.append(fields(number, status=200)) for number in range(1, 9)]
    finding = judge(forged, file, SECRET)
    assert (finding.condition, finding.seq) == (Condition.EDITED, 3)


def test_checkpoints_made_anew_need_the_key(file: Path) -> None:
    """Signed with another one: a condition of its own. Unsigned or altered ones are no way around it either."""
    file.write_bytes(checkpoint_line(TS, LINKS[2], HmacKey(b"x" * 32)))
    assert judge(TRAIL, file, SECRET).condition is Condition.WRONG_KEY
    file.write_bytes(checkpoint_line(TS, LINKS[2], NoKey()))
    assert judge(TRAIL, file, SECRET).condition is Condition.WRONG_KEY
    file.write_bytes(checkpoint_line(TS, LINKS[5], SECRET).replace(b'"seq":6', b'"seq":2'))
    assert judge(TRAIL[:2], file, SECRET).condition is Condition.EDITED


@pytest.mark.parametrize("mac", [b"", b"00", b"zz"])
def test_a_checkpoint_whose_mac_is_empty_or_short_is_not_signed(file: Path, mac: bytes) -> None:
    """The name of the key proves nothing; nor does a line without a mac, or with something behind it."""
    line = checkpoint_line(TS, LINKS[5], SECRET)
    body = line[: line.index(b',"mac"')]
    for forged in (body + b',"mac":"' + mac + b'"}\n', body + b"}\n", line[:-2] + b',"more":1}\n'):
        file.write_bytes(forged)
        assert [claim.signed for claim in read(file, [SECRET])] == [False]
        assert judge(TRAIL[:6], file, SECRET).condition is Condition.EDITED
        resumed = Checkpoints(checkpoint_rules(file, SECRET), lambda: 0.0).resume(6)
        assert resumed is not None
        assert not resumed.signed


def test_every_byte_of_a_checkpoint_matters(file: Path) -> None:
    """One flipped bit anywhere is an edit, a wrong key, or a claim that the trail does not meet."""
    line = checkpoint_line(TS, LINKS[5], SECRET)
    for position in range(len(line) - 1):
        changed = bytearray(line)
        changed[position] ^= 0x01
        file.write_bytes(bytes(changed))
        assert judge(TRAIL, file, SECRET).condition is not Condition.WHOLE, position


def test_a_trail_that_was_cut_and_went_on_is_found(file: Path) -> None:
    """The next life's checkpoints go back in number: what the earlier ones signed is gone."""
    file.write_bytes(checkpoints_of(LINKS[5], LINKS[3]))
    assert judge(TRAIL, file, SECRET).condition is Condition.EDITED


def test_a_checkpoint_cut_off_by_a_crash_is_passed(file: Path) -> None:
    """Only the very last line can be: the record it was about is on disk already."""
    file.write_bytes(file.read_bytes() + checkpoint_line(TS, LINKS[7], SECRET)[:60])
    assert judge(TRAIL[:6], file, SECRET).condition is Condition.WHOLE


@pytest.mark.parametrize("removed", [1, 2])
def test_a_removed_checkpoint_is_found(file: Path, removed: int) -> None:
    """The lines are chained: one in the middle is missed. The first may have been moved away with its file."""
    lines = checkpoints_of(*LINKS[:4]).splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:removed] + lines[removed + 1 :]))
    for keys in ((), (SECRET,)):
        finding = judge(TRAIL[:4], file, *keys)
        assert (finding.condition, "checkpoints were removed" in finding.detail) == (Condition.EDITED, True)
    file.write_bytes(b"".join(lines[1:]))
    assert judge(TRAIL[:4], file, SECRET).condition is Condition.WHOLE


def test_checkpoints_of_the_first_version_are_still_read(file: Path) -> None:
    """They have no number and no link to the one before; what follows them is chained to the last of them."""

    def first_version(link: ChainLink) -> bytes:
        body = orjson.dumps({"v": 1, "ts": TS, "seq": link.seq, "head": link.hash.decode(), "key": SECRET.name})
        return b"".join((body[:-1], b',"mac":"', SECRET.sign(body).hex().encode(), b'"}\n'))

    file.write_bytes(first_version(LINKS[1]) + first_version(LINKS[3]))
    assert judge(TRAIL[:4], file, SECRET).condition is Condition.WHOLE
    checkpoints = Checkpoints(checkpoint_rules(file, SECRET), lambda: 0.0)
    checkpoints.resume(4)
    checkpoints.durable(LINKS[7])
    assert judge(TRAIL, file, SECRET).condition is Condition.WHOLE


def test_a_restart_continues_the_chain_behind_the_last_whole_checkpoint(file: Path) -> None:
    """An unfinished line of a crash is cut off, so that it does not spoil the next one."""
    file.write_bytes(file.read_bytes() + checkpoint_line(TS, LINKS[6], SECRET)[:60])
    checkpoints = Checkpoints(checkpoint_rules(file, SECRET), lambda: 0.0)
    claim = checkpoints.resume(6)
    assert claim is not None
    assert (claim.seq, claim.signed, claim.n) == (6, True, 2)
    checkpoints.durable(LINKS[7])
    assert [found.n for found in read(file, [SECRET])] == [1, 2, 3]
    assert judge(TRAIL, file, SECRET).condition is Condition.WHOLE


def test_retired_files_need_no_checkpoint(file: Path) -> None:
    """The trail says up to where its oldest files went; checkpoints of those records are passed."""
    chain = Chain(LINKS[3].hash, 4)
    rest = chained(2, chain)
    note = chain.append({"ts": TS, "note": "retired", "through": 4, "head": LINKS[3].hash.decode(), "files": 1})
    ends = [link for line in (rest[1], note) if (link := parse_link(line))]
    file.write_bytes(checkpoints_of(LINKS[2], *ends))
    assert judge([*rest, note], file, SECRET).condition is Condition.WHOLE
    file.write_bytes(checkpoints_of(LINKS[2], ends[0]))
    assert judge(rest, file, SECRET).condition is Condition.MISSING
    assert judge([*rest, note], file, SECRET).condition is Condition.MISSING  # anybody may have written the note
    assert judge([*rest, note], file).condition is Condition.WHOLE
    lie = note.replace(b'"through":4', b'"through":3')
    assert judge([*rest, lie], file, SECRET).condition is Condition.EDITED


def test_without_a_checkpoint_file_there_is_nothing_to_hold_it_against(tmp_path: Path) -> None:
    """Whoever asks for a proof is told that there is none."""
    with pytest.raises(NoTrailError, match="no checkpoints to verify the trail against"):
        judge(TRAIL, tmp_path / "none", SECRET)


def test_the_writer_takes_down_what_became_durable(tmp_path: Path) -> None:
    """One line a call, mode 0600, also after the file was moved away; a failure raises nothing."""
    path = tmp_path / "checkpoints"
    checkpoints = Checkpoints(checkpoint_rules(path, SECRET), lambda: 0.0)
    checkpoints.durable(LINKS[0])
    path.rename(tmp_path / "elsewhere")
    checkpoints.durable(LINKS[1])
    assert path.stat().st_mode & 0o777 == 0o600
    assert [(claim.seq, claim.n) for claim in read(path, [SECRET])] == [(2, 2)]
    Checkpoints(checkpoint_rules(tmp_path / "no" / "folder", SECRET), lambda: 0.0).durable(LINKS[0])


def test_an_ed25519_pair_signs_with_one_half_and_checks_with_the_other(tmp_path: Path) -> None:
    """The auditor needs no secret; the sidecar cannot sign with the public half."""
    pytest.importorskip("cryptography")
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    _openssl("genpkey", "-algorithm", "ed25519", "-out", str(private))
    _openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    checkpoints = tmp_path / "checkpoints"
    checkpoints.write_bytes(checkpoint_line(TS, LINKS[7], read_key(private)))
    assert judge(TRAIL, checkpoints, read_key(public)).condition is Condition.WHOLE
    assert judge(TRAIL[:5], checkpoints, read_key(public)).condition is Condition.CUT_TAIL
    with pytest.raises(TrailError, match="a public key can only check"):
        read_key(public).sign(b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"short\n", "a key of 5 bytes can be guessed: head -c 32 /dev/urandom"),
        (b"-----BEGIN NONSENSE-----\n", "not a key that can be read"),
    ],
)
def test_a_key_that_is_none_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    """What is wrong with it, and how to make one."""
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(TrailError, match=said):
        read_key(tmp_path / "key")


def test_a_key_file_with_a_newline_is_the_same_key(tmp_path: Path) -> None:
    """An editor's last newline changes nothing."""
    (tmp_path / "a").write_bytes(b"k" * 32)
    (tmp_path / "b").write_bytes(b"k" * 32 + b"\n")
    assert read_key(tmp_path / "a").name == read_key(tmp_path / "b").name == SECRET.name


@pytest.mark.parametrize(
    "secret",
    [b"\x01" * 31 + b"\n", b" " + b"\xff" * 31, b"\x1f" * 31 + b"\r", b"\n" * 16 + b"\0" * 16, b"\x80" * 40 + b"\t \n"],
)
def test_a_binary_key_is_used_whole(tmp_path: Path, secret: bytes) -> None:
    """One key of 32 random bytes in twenty begins or ends with a byte that is white space in a text."""
    (tmp_path / "key").write_bytes(secret)
    assert read_key(tmp_path / "key").sign(b"data") == HmacKey(secret).sign(b"data")


@pytest.mark.parametrize("text", [b"k" * 32, b"a2V5\n" * 20, "ü".encode() * 16, b"correct horse battery staple, or so"])
def test_a_text_key_is_used_without_the_white_space_around_it(tmp_path: Path, text: bytes) -> None:
    """Base64 of one line or several, or a sentence, as an editor saves it."""
    (tmp_path / "key").write_bytes(b" " + text + b"\r\n\n")
    assert read_key(tmp_path / "key").sign(b"data") == HmacKey(text.strip()).sign(b"data")


def test_a_pem_after_an_empty_line_is_no_secret(tmp_path: Path) -> None:
    """The text of a public key is known to everybody."""
    (tmp_path / "key").write_bytes(b"\n-----BEGIN NONSENSE-----\n" + b"k" * 40)
    with pytest.raises(TrailError, match="not a key that can be read"):
        read_key(tmp_path / "key")


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("after", "follows"),
    [("the one before", True), ("its number alone", False), ("its hash alone", False), ("none", False)],
)
def test_a_checkpoint_continues_the_one_before_by_number_and_hash(file: Path, after: str, follows: bool) -> None:
    """Either alone is what a process has that did not see the line before: a copied or restored file."""
    first = checkpoint_line(TS, LINKS[2], SECRET)
    right = Position.after(first, 1)
    positions = {
        "the one before": right, "its number alone": right._replace(hash=b"f" * 64), "its hash alone":
        right._replace(n=2), "none": NO_CHECKPOINT,
    }  # fmt: skip
    file.write_bytes(first + checkpoint_line(TS, LINKS[5], SECRET, positions[after]))
    assert [claim.follows for claim in read(file, [SECRET])] == [True, follows]
    assert judge(TRAIL[:6], file, SECRET).condition is (Condition.WHOLE if follows else Condition.EDITED)


def test_a_checkpoint_counts_when_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short write or a failed fsync leaves the file as it was: half a line would spoil the next one."""
    path = tmp_path / "checkpoints"
    checkpoints = Checkpoints(checkpoint_rules(path, SECRET), lambda: 0.0)
    synced: list[int] = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    assert checkpoints.durable(LINKS[0])
    whole = path.read_bytes()
    assert synced == [len(whole)]

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:50]))
    assert not checkpoints.durable(LINKS[1])
    assert path.read_bytes() == whole
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(os, "fsync", refuse)
    assert not checkpoints.durable(LINKS[1])
    assert path.read_bytes() == whole
    monkeypatch.setattr(os, "fsync", fsync)
    assert checkpoints.durable(LINKS[1])
    assert [(claim.n, claim.follows) for claim in read(path, [SECRET])] == [(1, True), (2, True)]


@pytest.mark.parametrize(("size", "accepted"), [(31, False), (32, True)])
def test_a_key_has_at_least_32_bytes(tmp_path: Path, size: int, accepted: bool) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"k" * size + b"\n")
    if accepted:
        assert read_key(file).name.startswith("hmac-")
    else:
        with pytest.raises(TrailError, match="a key of 31 bytes can be guessed"):
            read_key(file)
