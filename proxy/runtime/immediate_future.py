"""A future whose waiter can run without another loop iteration."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")
_set_result: Final = asyncio.Future.set_result  # `super()` takes longer than setting a result


class ImmediateFuture(asyncio.Future[T]):
    """An asyncio future, made by `immediate_future`; an eager task registers its continuation in `then`.

    The slot saves a dictionary for each future: 0.3 µs of 0.7 µs.
    """

    __slots__ = ("then",)

    then: Callable[[], None] | None

    def resolve_now(self, result: T) -> None:
        """Set the result and run the waiter synchronously. The caller must do nothing afterwards (tested)."""
        _set_result(self, result)
        then, self.then = self.then, None
        if then is not None:
            then()

    def set_result(self, result: T, /) -> None:
        """Set the result; the waiter runs in the next loop iteration."""
        _set_result(self, result)
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


def immediate_future(loop: asyncio.AbstractEventLoop) -> ImmediateFuture[Any]:
    """Return a future without a waiter. A constructor of its own would take 0.2 µs more."""
    future: ImmediateFuture[Any] = ImmediateFuture(loop=loop)
    future.then = None
    return future
