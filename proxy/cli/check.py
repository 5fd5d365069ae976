"""`backstay check`: print every problem of a configuration at once, or its routes in matching order."""

import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from proxy.cli.named_files import expired_certificates, unusable_files
from proxy.cli.route_explanation import explain
from proxy.clock import SystemClock
from proxy.config.contradictions import Contradiction
from proxy.config.doubts import doubts
from proxy.config.load import WrittenSettings, load_written
from proxy.config.objections import ConfigError, ConfigProblem, dotted
from proxy.config.routes import Passthrough, RouteTable
from proxy.config.settings import Settings
from proxy.config.templates import ANY
from proxy.config.units import format_duration
from proxy.http.message import SAFE_METHODS

HEADINGS = (
    "#", "operation", "method", "template", "upstream", "circuit", "subject", "coalesce", "idempotency", "timeouts"
)  # fmt: skip


def check(file: Path, *, files: bool = True, request: str | None = None) -> int:
    """Print the routes of a configuration, and on standard error a warning for each setting without effect.

    `files`: open every file that the configuration names. `request`: explain this request, such as `GET /api/x`,
    instead. Raise `ConfigError` with every problem.
    """
    written = load_written(file)
    if files and (problems := list(_problems(written, unusable_files(written.settings)))):
        raise ConfigError(problems)
    expired = list(expired_certificates(written.settings, SystemClock.wall())) if files else []
    for doubt in chain(doubts(*written), _problems(written, expired)):
        print(f"warning: {doubt}", file=sys.stderr)
    if request is not None:
        print(*explain(written, request), sep="\n")
        return 0
    rows = list(routing_table(written.settings))
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        _print_aligned(rows)
    return 0


def _problems(written: WrittenSettings, found: Iterable[Contradiction]) -> Iterator[ConfigProblem]:
    for keys, message, cure in found:
        yield ConfigProblem(dotted(keys), message, cure, written.document.where(keys))


def routing_table(settings: Settings) -> Iterator[tuple[str, ...]]:
    """Yield a row of `HEADINGS` for each route, then one for unmatched requests.

    If two templates match one path, the template whose first differing segment is a literal comes first, as in routing.
    If no segment differs, a route that names the method comes before one for `ANY`.
    """
    for order, route in enumerate(sorted(settings.routes, key=_precedence), 1):
        coalesce = route.coalesce or _default_coalesce(route.template.methods)
        yield (str(order), route.operation, *route.template, *_policies(route, coalesce))
    rest = settings.passthrough
    policies = _policies(rest, rest.coalesce or "identical if safe")
    yield (str(len(settings.routes) + 1), rest.operation, "any", "all others", *policies)


def _precedence(route: RouteTable) -> tuple[tuple[int, ...], bool]:
    """Return that of each segment (0 for a literal, 1 for a name, 2 for a rest), then whether any method matches."""
    segments = route.template.path.split("/")
    placeholders = tuple(2 * segment.endswith("...}") or int(segment.startswith("{")) for segment in segments)
    return placeholders, ANY in route.template.methods


def _default_coalesce(methods: tuple[str, ...]) -> str:
    safe = SAFE_METHODS & set(methods)
    if not safe and ANY not in methods:
        return "off"
    return "identical" if len(safe) == len(methods) else "identical if safe"


def _policies(route: RouteTable | Passthrough, coalesce: str) -> tuple[str, ...]:
    circuit = route.circuit or route.upstream
    return (route.upstream, circuit, route.subject or "-", coalesce, route.idempotency, _timeouts(route))


def _timeouts(route: RouteTable | Passthrough) -> str:
    total = format_duration(route.total_timeout)
    return total if route.attempt_timeout is None else f"{total} (attempt {format_duration(route.attempt_timeout)})"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEADINGS)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: brackets in a value are not markup
    Console().print(table)


def _print_aligned(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
