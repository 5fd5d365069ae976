"""Compiled connection classes as asyncio protocols."""

import asyncio
from collections.abc import Callable
from typing import cast


def as_protocol(make: Callable[[], object]) -> Callable[[], asyncio.Protocol]:
    """Return what makes a protocol as asyncio's annotations want it: they ask for descent, asyncio for methods."""
    return cast("Callable[[], asyncio.Protocol]", make)
