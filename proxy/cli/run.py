"""`backstay run`: settings from the file, the environment and these options, and the sidecar under them."""

from pathlib import Path

from proxy.app import serve
from proxy.config.load import load
from proxy.config.settings import Settings


def run(config: Path | None, listen: str | None, upstream: str | None, admin: str | None) -> int:
    """Serve until stopped; return the exit status. Raises `ConfigError` or `StartError` before anything is served."""
    said = {"listen.address": listen, "upstream": upstream, "admin.address": admin}
    overrides = {key: value for key, value in said.items() if value is not None}

    def load_again() -> Settings:
        return load(config, overrides)

    return serve(load_again(), load_again)
