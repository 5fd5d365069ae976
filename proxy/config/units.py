"""Numbers with units: converts `"500ms"` to seconds and `"64KiB"` to bytes."""

import json
import math
import re

from proxy.config.meant import parts_of_duration
from proxy.config.meant import size as meant_size
from proxy.config.objections import Objection

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_DURATIONS = '"2s" (or "500ms", "10m", "24h")'
_SIZES = '"64KiB" (or "1MiB", "1GiB", a number of bytes)'
DURATION_PATTERN = rf"^\d+(\.\d+)?\s*({'|'.join(_SECONDS)})$"
TIMEOUT_PATTERN = rf"^(\d*[1-9]\d*(\.\d+)?|\d+\.\d*[1-9]\d*)\s*({'|'.join(_SECONDS)})$"  # more than 0
SIZE_PATTERN = rf"^\d+(\.\d+)?\s*({'|'.join(_BYTES)})?$"
_QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]*)", re.ASCII)


def parse_duration(value: object) -> float:
    """Return the seconds of `"500ms"`, `"2s"`, `"10m"`, `"24h"` or `"7d"`. Raise `Objection`."""
    if _is_number(value) or (isinstance(value, str) and value.strip().isdecimal()):
        bare = str(value).strip()
        raise Objection(f"{bare} has no unit", f'"{bare}ms" or "{bare}s"')
    cure = _meant_duration(value) or _DURATIONS
    number, unit = _split(value, "a duration", cure)
    if unit not in _SECONDS:
        raise Objection(f'"{value}" is not a duration', cure)
    # Division keeps 300 ms at 0.3; multiplication by 0.001 would give 0.30000000000000004.
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def parse_timeout(value: object) -> float:
    """Return the seconds of a duration above 0. Raise `Objection`."""
    seconds = parse_duration(value)
    if seconds <= 0:
        raise Objection("it must be more than 0", _DURATIONS)
    return seconds


def parse_milliseconds(text: str) -> str:
    """Return a duration with a unit: a bare number is milliseconds, as in the seed document's variables."""
    return f"{text.strip()}ms" if text.strip().isdecimal() else text


def parse_size(value: object) -> int:
    """Return the bytes of `"64KiB"`, `"1MiB"`, `"1GiB"` or a plain integer. Raise `Objection`."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    meant = meant_size(value) if isinstance(value, str) else None
    cure = f'"{meant}"' if meant else _SIZES
    number, unit = _split(value, "a size", cure)
    size = number * _BYTES.get(unit or "B", math.nan)
    if not size.is_integer():
        raise Objection(f'"{value}" is not a size', cure)
    return int(size)


def format_duration(seconds: float) -> str:
    """Return the shortest integer form that parses to the same duration, such as `"500ms"` or `"10m"`."""
    for unit in ("d", "h", "m", "s"):
        count = float(seconds / _SECONDS[unit])
        if count >= 1 and count.is_integer() and count * _SECONDS[unit] == seconds:
            return f"{count:.0f}{unit}"
    milliseconds = round(float(seconds) * 1000, 6)
    return f"{milliseconds:.0f}ms" if milliseconds.is_integer() else f"{milliseconds}ms"


def format_size(size: int) -> str:
    """Return the shortest integer form that parses to the same size, such as `"64KiB"` or `"1GiB"`."""
    unit = next((unit for unit in ("GiB", "MiB", "KiB") if size and not size % _BYTES[unit]), "B")
    return f"{size // _BYTES[unit]}{unit}"


def _meant_duration(value: object) -> str | None:
    parts = parts_of_duration(value) if isinstance(value, str) else []
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    return f'"{format_duration(round(seconds, 6))}"' if parts and math.isfinite(seconds) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _split(value: object, kind: str, cure: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Objection(f"{json.dumps(value, default=str, ensure_ascii=False)} is not {kind}", cure)
    return float(match["number"]), match["unit"]
