"""Find whether any code follows a call: in its caller, in the caller's caller, and so on up to the event loop.

`ImmediateFuture.resolve_now` runs the waiter before it returns. By then the connection may carry the next request, or
be closed, so no caller may touch its state afterwards. This module proves that for each call of a test run: it reads,
in the bytecode of every frame of the product on the stack, what runs once the call has returned. Compiled functions
have no frames: a run with `--compiled` proves nothing here.
"""

import dis
import sys
from collections.abc import Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any

from proxy.runtime.immediate_future import ImmediateFuture

# What a call in tail position is followed by: its result or a constant is returned.
_HARMLESS = frozenset({"POP_TOP", "NOP", "CACHE", "LOAD_CONST", "COPY", "SWAP", "RESUME", "NOT_TAKEN"})
_RETURNS = frozenset({"RETURN_VALUE", "RETURN_CONST"})


@cache
def is_last(code: CodeType, at: int) -> bool:
    """Tell whether nothing but a return follows the call at the offset `at`. Exceptions are not regarded."""
    instructions = {each.offset: each for each in dis.get_instructions(code)}
    offsets = sorted(instructions)
    place = sum(offset <= at for offset in offsets)  # the call may be shown with its caches
    while place < len(offsets):
        each = instructions[offsets[place]]
        if each.opname in _RETURNS:
            return True
        if each.opname == "JUMP_FORWARD":
            place = offsets.index(each.argval)
        elif each.opname in _HARMLESS:
            place += 1
        else:
            return False
    return False


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of the product that led to `frame`, itself first, up to the loop or a test."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("proxy."):
        yield frame
        frame = frame.f_back


def what_follows(frame: FrameType | None) -> str | None:
    """Return the first place in which something follows, innermost first; None where nothing does."""
    for each in callers(frame):
        if not is_last(each.f_code, each.f_lasti):
            return f"{each.f_code.co_qualname} ({each.f_code.co_filename}:{each.f_lineno})"
    return None


def checked(resolve_now: Any) -> Any:
    """Return `ImmediateFuture.resolve_now` with the assertion that nothing follows it."""

    def checking(answer: ImmediateFuture[Any], result: Any) -> None:
        place = what_follows(sys._getframe(1))
        assert place is None, f"something follows in {place}: the waiter has run by then"
        resolve_now(answer, result)

    return checking
