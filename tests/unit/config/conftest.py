"""A folder for configurations, and a loader that ignores the real environment."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.objections import ConfigError
from proxy.config.settings import Settings

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as `config.toml`, with exactly these variables and options."""
    monkeypatch.chdir(tmp_path)

    def load_text(
        text: str, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
    ) -> Settings:
        Path("config.toml").write_text(text, encoding="utf-8")
        return load(Path("config.toml"), overrides or {}, environ or {})

    return load_text


@pytest.fixture
def problems(loaded: Load) -> Problems:
    """Load what must be refused; return each problem's line."""

    def lines(*args: object) -> list[str]:
        with pytest.raises(ConfigError) as refused:
            loaded(*args)
        return [str(problem) for problem in refused.value.problems]

    return lines
