"""`backstay config show`: print the settings in effect and the origin of each, of a sidecar or of a file."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proxy.cli.circuits import call
from proxy.text import escaped

_WIDEST = 60  # characters that a column is padded to; a document in one setting does not widen every line
_HEADINGS = ("setting", "value", "from")


def show(file: Path | None, admin: str, token: str | None, *, changed: bool = False, as_json: bool = False) -> int:
    """Print the settings of a file or, without one, of the sidecar whose admin listener is at `admin`.

    Return the exit status. Raise `ConfigError` if the file is not a valid configuration.
    """

    def print_(found: Mapping[str, Any]) -> None:
        rows = [row for row in found["settings"] if not changed or row["origin"] != "default"]
        _print_json(rows) if as_json else _print_columns(rows)

    if file is None:
        return call(admin, "GET", "/config", token, show=print_)
    from proxy.config.effective import effective
    from proxy.config.load import load

    print_({"settings": [each.described() for each in effective(load(file))]})
    return 0


def _print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    print(json.dumps({"settings": list(rows)}, indent=2, ensure_ascii=False))


def _print_columns(rows: Iterable[Mapping[str, Any]]) -> None:
    lines = [
        _HEADINGS,
        *((row["key"], _value(row["key"], row["value"]), row["where"] or row["origin"]) for row in rows),
    ]
    widths = [min(max(map(len, column)), _WIDEST) for column in zip(*lines, strict=True)]
    for line in lines:
        print(escaped("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()))


def _value(key: str, value: object) -> str:
    """Return a value as in TOML. `coalesce` alone has a default without a word of its own."""
    if value is None and key.endswith("coalesce"):
        return "by method"
    return json.dumps("none" if value is None else value, ensure_ascii=False)
