"""Every setting of the audit trail has an effect: another value leaves another trail, or answers otherwise."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.audit.factory import audit_trail
from proxy.audit.redaction import Redaction
from proxy.audit.retention import Retention
from proxy.audit.rounds import Rounds
from proxy.clock import SystemClock
from proxy.config.settings import Audit, Settings
from proxy.http.fields import Fields
from tests.unit.audit.samples import fields

BURSTS, SIZE = 10, 10
# Another value of each setting, and the settings that are given for both values.
TRAIL: dict[str, tuple[object, dict[str, object]]] = {
    "path": ("elsewhere.jsonl", {}),
    "queue": (5, {}),
    "queue_bytes": (2_000, {}),
    "rotate_size": ("2KiB", {}),
    "rotate_age": ("1ms", {}),
    "compress": (False, {"rotate_size": "2KiB"}),
    "keep_files": (1, {"rotate_size": "2KiB"}),
    "keep_size": (1, {"rotate_size": "2KiB"}),
    "checkpoints": ("{path}.marks", {}),
    "checkpoint_every": (1, {}),
    "checkpoint_key_file": ("key", {}),
    "salt_file": ("{path}.grain", {}),
    "max_entries": (10, {}),
    "max_wait": ("5s", {}),
}
RECORDED: dict[str, object] = {"query_parameters": ["page"], "headers": ["X-View"], "clients": "plain"}
# They need a disk that is slow or a running control plane.
PROVEN_ELSEWHERE = {
    "durability": "tests/e2e/audit/test_durability.py",
    "export_format": "tests/unit/admin/test_application.py",
}


def test_each_setting_has_a_case() -> None:
    """A setting that nobody reads cannot be added: its case would fail."""
    assert TRAIL.keys() | RECORDED.keys() | PROVEN_ELSEWHERE.keys() == Audit.model_fields.keys()


@pytest.mark.parametrize("key", TRAIL)
async def test_a_setting_has_an_effect_on_the_trail(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records leave other files, are lost, or are shown."""
    value, given = TRAIL[key]
    left, waits = [], list[float]()
    monkeypatch.setattr(Retention, "start", lambda self: None)  # the test has it work at a known time
    add = Rounds.add

    def adding(self: Rounds, tell: Callable[[bool], None], wait_s: float) -> None:
        waits.append(wait_s)
        add(self, tell, wait_s)

    monkeypatch.setattr(Rounds, "add", adding)
    for name, changes in (("before", given), ("after", {**given, key: value})):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "key").write_bytes(bytes(32))
        left.append((*await _left(folder, changes), waits.copy()))
        waits.clear()
    assert left[0] != left[1]


async def _left(folder: Path, changes: dict[str, object]) -> tuple[object, ...]:
    """Write records, and return what can be seen of them afterwards."""
    settings = Settings.model_validate({"audit": changes})
    trail = audit_trail(settings, "test", SystemClock(), lambda seconds: None)
    await trail.ledger.start()
    for burst in range(BURSTS):
        for number in range(SIZE):
            trail.log.append(fields(burst * SIZE + number))
        await trail.log.flush()
    trail.log.when_durable(lambda durable: None)
    shown = len(trail.log.newest)
    assert trail.log._retention is not None
    await asyncio.to_thread(trail.log._retention.tidy)
    await trail.log.close()
    return trail.log.gaps, shown, *_files(folder)


def _files(folder: Path) -> tuple[object, ...]:
    """Return the names of the files, and what stands in each checkpoint."""
    paths = sorted(folder.iterdir())
    marks = [path.read_bytes() for path in paths if path.suffix in (".checkpoints", ".marks")]
    said = [{key for key, value in orjson.loads(line).items() if value} for mark in marks for line in mark.splitlines()]
    return [re.sub(r"\d{8}T[\d.]+Z", "TIME", path.name) for path in paths], said


@pytest.mark.parametrize("key", RECORDED)
def test_a_setting_has_an_effect_on_what_is_recorded(key: str) -> None:
    """The same request is recorded otherwise."""
    assert _recorded({}) != _recorded({key: RECORDED[key]})


def _recorded(changes: dict[str, Any]) -> tuple[object, ...]:
    redaction = Redaction.of(Settings.model_validate({"audit": changes}).audit)
    noted = redaction.noted_headers(Fields(((b"X-View", b"manual"),)))
    return redaction.path(b"/a", b"page=2"), noted, redaction.client("192.0.2.1")
