"""Exceptions of more than one package. Reasons and refusals are in `http/problems.py`."""

from enum import Enum


class StartError(Exception):
    """Report in one line why the sidecar cannot start, and what to change."""


class BrokenBody(Exception):  # noqa: N818 - named for the event: the body ended early
    """The sender of a streamed body closed or violated the framing before its end."""


class BadResponse(Exception):  # noqa: N818 - named for the fact that it states
    """The upstream's response is not valid HTTP/1."""


class MalformedFieldLines(Exception):  # noqa: N818 - named for the fact that it states
    """The bytes are not valid field lines."""


class IllegalMove(Exception):  # noqa: N818 - named for the fact that it states
    """A connection attempted a transition that is not allowed: a bug, which closes the connection."""

    def __init__(self, before: Enum, after: Enum) -> None:
        super().__init__(f"{before.name} -> {after.name}")


class TooManyFieldLines(Exception):  # noqa: N818 - named for the fact that it states
    """There are too many field lines."""
