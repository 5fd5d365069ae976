"""A future whose waiter can run without another loop iteration."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class ImmediateFuture(asyncio.Future[T]):
    """An asyncio future; an eager task registers its continuation in `then`."""

    then: Callable[[], None] | None = None

    def resolve_now(self, result: T) -> None:
        """Set the result and run the waiter synchronously. The caller must do nothing afterwards (tested)."""
        super().set_result(result)
        then, self.then = self.then, None
        if then is not None:
            then()

    def set_result(self, result: T, /) -> None:
        """Set the result; the waiter runs in the next loop iteration."""
        super().set_result(result)
        self._wake()

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future; the waiter runs in the next loop iteration."""
        cancelled = super().cancel(msg)
        self._wake()
        return cancelled

    def _wake(self) -> None:
        then, self.then = self.then, None
        if then is not None:
            self.get_loop().call_soon(then)
