"""Backstay: a sidecar reverse proxy that forwards session requests to their backend and recovers from failures."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("backstay")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"
