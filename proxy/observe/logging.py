"""Log events as JSON lines on stderr. Requests are not logged: the audit trail is the access log."""

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from proxy.text import escaped_lines

_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure(
    level: str,
    format: str,  # noqa: A002 - the name that logging.basicConfig gave it
    stream: TextIO | None = None,
) -> None:
    """Log every event from `level` up, including those of aiohttp and asyncio, to `stream` (stderr).

    `format` is "json" or "text". Raise ValueError for an unknown level or format.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(format)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _rendering(name: str) -> tuple[Processor, ...]:
    if name == "json":
        return structlog.processors.format_exc_info, structlog.processors.JSONRenderer()
    if name == "text":
        return structlog.dev.ConsoleRenderer(colors=False), _escape
    raise ValueError(f"unknown log format {name!r}: use json or text")


def _escape(logger: object, method: str, event: EventDict | str) -> str:
    """Escape what a terminal would interpret: some values come from clients."""
    return escaped_lines(str(event))


class Throttle:
    """Admit one event of a name every `every_s` seconds, so that an outage cannot fill a disk.

    Names are constants, so the memory is bounded.
    """

    __slots__ = ("_every_s", "_now", "_seen")

    def __init__(self, every_s: float, now: Callable[[], float]) -> None:
        self._every_s = every_s
        self._now = now
        self._seen: dict[str, tuple[float, int]] = {}

    def admit(self, event: str) -> int | None:
        """Return how many events were suppressed since the last one, None if this one is suppressed."""
        now = self._now()
        since, held_back = self._seen.get(event, (now - self._every_s, 0))
        if now - since < self._every_s:
            self._seen[event] = (since, held_back + 1)
            return None
        self._seen[event] = (now, 0)
        return held_back
