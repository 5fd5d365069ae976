"""The tour's output on a terminal. This module prints results and measures nothing."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.demo.stage import FailureMode, Promise, Side

TRY = """\
  curl -i {sidecar}/api/sessions -H 'Content-Type: application/json' -d '{{"reportId": "val_1", "view": "manual"}}'
  curl -i {sidecar}/api/conversations/val_1/history
  curl {backend}/_demo/faults -d '{{"kind": "drop", "times": 2}}'      # slow | fail | rate_limit | hang | drop | reset
  curl {backend}/_demo/calls
  curl {admin}/stats
  curl {admin}/circuits
  curl -H 'Authorization: Bearer {token}' '{admin}/audit?limit=5'"""


def show_comparison(console: Console, modes: Sequence[FailureMode]) -> None:
    """Print the comparison table: each failure mode without and with the sidecar."""
    table = Table(box=box.ROUNDED, title="The same failures, without and with the sidecar")
    table.add_column("failure mode", style="bold")
    table.add_column("")
    table.add_column("without", style="red")
    table.add_column("with", style="green")
    for mode in modes:
        for row in _rows(mode):
            table.add_row(*(Text(cell) for cell in row), end_section=row[1] == "time")
    console.print()
    console.print(table)


def _rows(mode: FailureMode) -> tuple[tuple[str, str, str, str], ...]:
    without, through = mode.without, mode.through
    return (
        (mode.title, "user saw", without.saw, through.saw),
        ("", "backend calls", str(without.calls), str(through.calls)),
        ("", "time", _time(without), _time(through)),
    )


def _time(side: Side) -> str:
    return f"{side.ms:.0f} ms" if side.ms < 1000 else f"{side.ms / 1000:.2f} s"


def show_promises(console: Console, promises: Iterable[Promise], title: str = "") -> None:
    """Print each promise with its measured figure, under `title`."""
    if title:
        console.print(f"\n{title}", style="bold", highlight=False)
    for promise in promises:
        mark = Text("  kept    ", "green") if promise.held else Text("  BROKEN  ", "bold red")
        console.print(mark + Text(f"{promise.name}: ") + Text(promise.measured, "bold"))


def show_watch(console: Console, admin: str, token: str) -> None:
    """Print the address of the status page for watching the tour."""
    console.print(f"Watch it in a browser: {admin}/ (token {token})", highlight=False, markup=False, soft_wrap=True)


def show_urls(console: Console, backend: str, sidecar: str, admin: str, token: str, audit: Path) -> None:
    """Print every address, and commands to try."""
    places = (
        ("frontend", f"{sidecar}/"),
        ("sidecar", sidecar),
        ("admin", admin),
        ("token", token),
        ("backend", backend),
        ("audit", str(audit)),
    )
    console.print("\nBoth run until Ctrl-C.", style="bold")
    for name, place in places:
        console.print(f"  {name:<9} {place}", highlight=False, markup=False, soft_wrap=True)
    console.print("\nTry:", style="bold")
    # Lines to copy: never wrapped, never styled.
    console.print(
        Text(TRY.format(sidecar=sidecar, admin=admin, backend=backend, token=token)), soft_wrap=True, highlight=False
    )
