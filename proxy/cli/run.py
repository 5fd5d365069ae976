"""`backstay run`: read the settings from the file, the environment and the options, and run the sidecar."""

from pathlib import Path

import structlog

from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.observe.queued_output import queue_standard_streams
from proxy.process import serve
from proxy.signals import SIGNALS


def run(config: Path | None, listen: str | None, upstream: str | None, admin: str | None) -> int:
    """Serve until stopped; return the exit status. Raise `ConfigError` or `StartError` before anything is served."""
    given = {"listen.address": listen, "upstream": upstream, "admin.address": admin}
    overrides = {key: value for key, value in given.items() if value is not None}

    def load_again() -> Settings:
        return load(config, overrides)

    error = queue_standard_streams(_log_dropped)
    return serve(load_again(), load_again, SIGNALS, lambda: error.dropped)


def _log_dropped(lines: int) -> None:
    structlog.get_logger("backstay").warning("log_lines_dropped", lines=lines, detail="standard error was blocked")
