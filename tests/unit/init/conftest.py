"""Make a configuration from a document, and check it as `backstay check` does."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.cli.check import check
from proxy.cli.init import InitSources, init

DOCUMENTS = Path(__file__).parent / "documents"
Made = Callable[..., dict[str, Any]]


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Made:
    """Write `backstay.toml` from these sources, check it, and return its data. A warning is an error."""
    monkeypatch.chdir(tmp_path)

    def make(**sources: Any) -> dict[str, Any]:
        assert init(Path("backstay.toml"), InitSources(**sources), force=True) == 0
        assert check(Path("backstay.toml")) == 0
        assert capsys.readouterr().err == ""
        return tomllib.loads(Path("backstay.toml").read_text(encoding="utf-8"))

    return make
