"""`backstay config show`: of a file, and of a running sidecar."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.admin.admin_listener import AdminListener, start_admin
from proxy.cli.circuits import TOKEN_VARIABLE
from proxy.cli.configuration import show
from proxy.config.load import load
from proxy.config.objections import ConfigError
from tests.settings import admin_settings
from tests.unit.admin.sidecar import TOKEN, Sidecar

Captured = pytest.CaptureFixture[str]
FILE = """[admin]
token = "open-sesame"
[upstreams.a]
url = "http://b"
[[routes]]
operation = "load"
match = "GET /s/{id}"
fallback = { body = { text = "%s" } }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration, and keep the machine's own environment out."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(FILE % ("x" * 200), encoding="utf-8")
    return Path("c.toml")


@pytest.fixture
async def admin(file: Path) -> AsyncIterator[str]:
    """Give the address of the admin listener of a sidecar that has read the file."""
    listener: AdminListener = await start_admin(Sidecar(settings=load(file, {}, {})).control(), admin_settings())
    yield f"127.0.0.1:{listener.port}"
    await listener.close()


async def test_a_sidecar_and_its_file_show_the_same(admin: str, file: Path, capsys: Captured) -> None:
    """Aligned columns: setting, value, origin. The secret is hidden, and a long value widens no other line."""
    assert await asyncio.to_thread(show, None, admin, TOKEN) == 0
    asked = capsys.readouterr().out
    assert show(file, "", None) == 0
    assert asked == capsys.readouterr().out
    lines = [line.split() for line in asked.splitlines()]
    assert lines[0] == ["setting", "value", "from"]
    assert ["admin.token", '"***"', "c.toml:2"] in lines
    assert ["listen.max_head", '"64KiB"', "default"] in lines
    assert ["routes[0].coalesce", "by", "method", "default"] in lines
    assert all(len(line) < 130 for line in asked.splitlines() if "xxx" not in line)
    assert TOKEN not in asked


def test_only_what_is_not_the_default(file: Path, capsys: Captured) -> None:
    """`--changed` leaves what somebody wrote."""
    assert show(file, "", None, changed=True) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "admin.token", "upstreams.a.url", "routes[0].fallback.body", "routes[0].operation", "routes[0].match"
    ]  # fmt: skip


async def test_json_is_what_the_control_plane_gives(admin: str, capsys: Captured) -> None:
    """For other programs."""
    assert await asyncio.to_thread(show, None, admin, TOKEN, changed=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["settings"][0] == {
        "key": "admin.token", "value": "***", "origin": "file", "where": "c.toml:2"
    }  # fmt: skip


async def test_without_the_token_the_line_says_so(admin: str, capsys: Captured) -> None:
    """The configuration is not for everybody who reaches the listener."""
    assert await asyncio.to_thread(show, None, admin, None) == 2
    assert "--token" in capsys.readouterr().err


def test_a_wrong_file_is_refused_as_by_check(file: Path) -> None:
    """With every problem."""
    file.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="there is no such setting"):
        show(file, "", None)
