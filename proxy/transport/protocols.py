"""Compiled connection classes as asyncio protocols."""

import asyncio
from collections.abc import Callable
from typing import cast


def as_protocol(make: Callable[[], object]) -> Callable[[], asyncio.Protocol]:
    """Return the factory with asyncio's type: asyncio needs the methods only, its annotations need inheritance."""
    return cast("Callable[[], asyncio.Protocol]", make)
