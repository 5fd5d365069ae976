"""Exceptions that more than one room raises or catches. Reasons and refusals are in `http/problems.py`."""

from enum import Enum


class StartError(Exception):
    """Say in one line why the sidecar cannot start, and what to change."""


class BrokenBody(Exception):  # noqa: N818 - named for what it tells: the body ended before it was whole
    """The sender of a streamed body left, or broke the framing, before its end."""


class BadResponse(Exception):  # noqa: N818 - named for what it tells
    """The upstream's head is not acceptable HTTP/1."""


class MalformedFieldLines(Exception):  # noqa: N818 - named for what it tells
    """These are not field lines."""


class IllegalMove(Exception):  # noqa: N818 - named for what it tells
    """A connection was to go from one state to another that cannot follow it: a bug, which ends the connection."""

    def __init__(self, before: Enum, after: Enum) -> None:
        super().__init__(f"{before.name} -> {after.name}")


class TooManyFieldLines(Exception):  # noqa: N818 - named for what it tells
    """There are more field lines than are wanted."""
