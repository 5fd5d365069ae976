"""`backstay demo`: run the guided tour on free ports. With `--serve`, leave the backend and the sidecar running."""

import asyncio

import uvloop
from rich.console import Console

from proxy.demo.sidecar_process import SidecarError
from proxy.demo.tour import tour


def demo(serve: bool = False, port: int = 0) -> int:
    """Play the six failure modes and return the exit status: 0 only if every promise was kept."""
    try:
        return uvloop.run(tour(Console(), serve, port))
    except SidecarError as error:
        Console(stderr=True).print(f"backstay demo: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130  # 128 + SIGINT, as in a shell
