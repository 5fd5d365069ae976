"""Block imports of optional packages: each loaded module costs memory and startup time in every pod."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def without(package: str) -> Iterator[None]:
    """Make imports inside the context behave as if `package` were not installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = cast(ModuleType, None)  # the import system then raises ImportError
    try:
        yield
    finally:
        del sys.modules[package]
