"""A part of the measurement in its own process on its own core, controlled by commands."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Self

Handle = Callable[..., Awaitable[Any]]  # what is done with one command
Start = Callable[[], Awaitable[Handle]]
_SPAWN = get_context("spawn")
ENDS_WITHIN_S = 10.0


class Remote:
    """A process that runs what `start` returns, once for each command."""

    def __init__(self, start: Start, core: int) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_run, args=(start, theirs, core), daemon=True)

    async def __aenter__(self) -> Self:
        self._process.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._pipe.close()  # it ends with its pipe
        await asyncio.to_thread(self._process.join, ENDS_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()

    async def ask(self, *command: object) -> Any:
        """Have a command carried out; return what came of it."""
        self._pipe.send(command)
        return await asyncio.to_thread(self._pipe.recv)


def _run(start: Start, pipe: Connection, core: int) -> None:
    os.sched_setaffinity(0, {core})
    asyncio.run(_serve(start, pipe))


async def _serve(start: Start, pipe: Connection) -> None:
    handle = await start()
    while True:
        try:
            command = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        pipe.send(await handle(*command))
