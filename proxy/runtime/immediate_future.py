"""A future that hands its result over without a turn of the loop in between."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class ImmediateFuture(asyncio.Future[T]):
    """An asyncio future for whoever awaits it as such; an eager task leaves in `then` how it goes on."""

    then: Callable[[], None] | None = None

    def resolve_now(self, result: T) -> None:
        """Set the result and run the waiter before this returns. The tests assert that no caller does anything more."""
        super().set_result(result)
        then, self.then = self.then, None
        if then is not None:
            then()

    def set_result(self, result: T, /) -> None:
        """Set the result; who waits goes on in the loop's next turn."""
        super().set_result(result)
        self._wake()

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it; who waits goes on in the loop's next turn."""
        cancelled = super().cancel(msg)
        self._wake()
        return cancelled

    def _wake(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            self.get_loop().call_soon(then)
