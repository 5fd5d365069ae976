"""A sidecar in every pod pays for each module it loads, in memory and in time to ready."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let what is imported inside do without a package that it would use if it were installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = cast(ModuleType, None)  # how the import system is told that there is none
    try:
        yield
    finally:
        del sys.modules[package]
