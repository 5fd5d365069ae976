"""Make a configuration from a document, and check it as `backstay check` does."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from proxy.cli.check import check
from proxy.cli.init import InitSources, init
from proxy.config.schema import configuration_schema

DOCUMENTS = Path(__file__).parent / "documents"
_VALIDATOR = Draft202012Validator(configuration_schema())
Made = Callable[..., dict[str, Any]]


@pytest.fixture
def made(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Made:
    """Write `backstay.toml` from these sources, check it, and return its data. A warning is an error."""
    monkeypatch.chdir(tmp_path)

    def make(**sources: Any) -> dict[str, Any]:
        assert init(Path("backstay.toml"), InitSources(**sources), force=True) == 0
        assert check(Path("backstay.toml")) == 0
        assert capsys.readouterr().err == ""
        data = tomllib.loads(Path("backstay.toml").read_text(encoding="utf-8"))
        assert [error.message for error in _VALIDATOR.iter_errors(data)] == []
        return data

    return make
