"""Write a record's values as text, including the values of a forged line: bound nesting and so recursion."""

from typing import Final

import orjson

MOST_NESTED: Final = 64  # levels kept of a value that is nested too deeply for JSON; the sidecar's records have three


def as_json(value: object) -> bytes:
    """Return JSON, also for values that orjson refuses.

    An integer of more than 64 bits, such as a sum over forged lines, becomes a string. In a value nested more than 254
    levels deep, everything below MOST_NESTED levels becomes "...".
    """
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return orjson.dumps(_writable(value, MOST_NESTED), default=str)


def as_text(value: object) -> str:
    """Return readable text: nested values as JSON, all other values as by `str`."""
    return as_json(value).decode() if isinstance(value, dict | list | tuple) else str(value)


def _writable(value: object, levels: int) -> object:
    match value:
        case dict() | list() | tuple() if not levels:
            return "..."
        case dict():
            return {str(name): _writable(each, levels - 1) for name, each in value.items()}
        case list() | tuple():
            return [_writable(each, levels - 1) for each in value]
        case int() if not -(1 << 63) <= value < 1 << 64:
            return str(value)
        case _:
            return value
