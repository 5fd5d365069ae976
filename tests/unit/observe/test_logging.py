"""One JSON object a line for every logger; an outage does not fill a disk."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO

import pytest
import structlog

from proxy.observe.logging import Throttle, configure


@pytest.fixture
def stream() -> Iterator[StringIO]:
    """Give a stream for the log, and put the process-wide logging back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield StringIO()
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def events(stream: StringIO) -> list[dict[str, object]]:
    """Return what was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_in_utc(stream: StringIO) -> None:
    """Name, level, logger, details and an instant that says it is UTC."""
    configure("info", "json", stream)
    structlog.get_logger("proxy.app").info("ready", address="127.0.0.1:8080")
    (event,) = events(stream)
    instant = datetime.fromisoformat(str(event.pop("timestamp")))
    assert instant.tzinfo == UTC
    assert event == {"event": "ready", "address": "127.0.0.1:8080", "level": "info", "logger": "proxy.app"}


def test_the_standard_library_speaks_through_the_same(stream: StringIO) -> None:
    """What aiohttp and asyncio log has the same form, arguments filled in and traceback inside the line."""
    configure("warning", "json", stream)
    try:
        raise OSError("disk gone")
    except OSError:
        logging.getLogger("asyncio").exception("lost %d", 3, extra={"task": "writer"})
    (event,) = events(stream)
    assert (event["event"], event["level"], event["logger"], event["task"]) == ("lost 3", "error", "asyncio", "writer")
    assert "OSError: disk gone" in str(event["exception"])


def test_the_level_holds_for_both(stream: StringIO) -> None:
    """What is below the level is not written, whoever says it."""
    configure("WARNING", "json", stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").info("quiet too")
    structlog.get_logger().warning("loud")
    assert [event["event"] for event in events(stream)] == ["loud"]


def test_text_is_for_reading_along(stream: StringIO) -> None:
    """The text form has the event and its details, and a traceback does no harm."""
    configure("info", "text", stream)
    try:
        raise ValueError("odd")
    except ValueError:
        structlog.get_logger().exception("failed", path="/x")
    written = stream.getvalue()
    assert "failed" in written
    assert "path=/x" in written
    assert "ValueError: odd" in written


@pytest.mark.parametrize("form", ["json", "text"])
def test_text_of_strangers_moves_no_cursor(stream: StringIO, form: str) -> None:
    """Control and bidirectional characters are shown by their code in both forms."""
    configure("info", form, stream)
    structlog.get_logger().info("refused", path="/a\x1b[2J\x9b\u202e\u2066b")
    assert not {"\x1b", "\x9b", "\u202e", "\u2066"} & set(stream.getvalue())
    assert "202e" in stream.getvalue()


def test_an_unknown_format_is_refused(stream: StringIO) -> None:
    """The message names the formats there are."""
    with pytest.raises(ValueError, match="use json or text"):
        configure("info", "xml", stream)


def test_one_event_of_a_name_per_interval() -> None:
    """The first passes at once, the next ones are held back, and the one after the interval tells how many."""
    instants = iter([0.0, 1.0, 9.9, 10.0, 11.0, 30.0])
    throttle = Throttle(10.0, lambda: next(instants))
    assert [throttle.admit("upstream failed") for _ in range(6)] == [0, None, None, 2, None, 1]


def test_names_do_not_hold_each_other_back() -> None:
    """A flood of one event hides no other."""
    throttle = Throttle(10.0, lambda: 5.0)
    assert [throttle.admit(event) for event in ("a", "b", "a", "b")] == [0, 0, None, None]
