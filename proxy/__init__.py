"""Backstay: a sidecar that carries session requests to their backend and brings back the best answer there is."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("backstay")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"
