"""All `[principal.NAME]` tables of the running configuration: their keys and memories, kept across reloads.

The library that verifies is imported only where a table needs it.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.config.principal_table import PrincipalTable
from proxy.errors import StartError
from proxy.policy.principals import PrincipalObserver, RoutePrincipals, TokenJudge
from proxy.policy.token_rules import PrincipalRules

if TYPE_CHECKING:
    from proxy.principals.key_source import KeysObserver, KeySource
    from proxy.principals.keys import KeySet

    class Observer(PrincipalObserver, KeysObserver, Protocol): ...


FIRST_WITHIN_S = 2.0  # a start waits so long for the issuers
EXTRA = "pip install 'backstay[principals]'"


class KeyFile(NamedTuple):
    """The content of a `jwks_file`, and its keys."""

    document: bytes
    keys: "KeySet"


class PrincipalView(NamedTuple):
    """What an operator may see of a table. It names no subject and has nothing of a token but names of claims."""

    name: str
    keys: int
    keys_age_s: float | None  # since the issuer last confirmed them; None: never read
    failure: str  # why the last read failed
    tokens: int  # remembered
    splits: int
    by: Mapping[str, int]  # claims by which tokens of one subject differed


class Principals:
    """Build the judges of routes, and read keys in the background."""

    def __init__(self, observer: "Observer") -> None:
        self._observer = observer
        self._judges: dict[str, TokenJudge] = {}
        self._sources: dict[str, KeySource] = {}

    def use(self, tables: Mapping[str, PrincipalTable], files: Mapping[str, KeyFile]) -> None:
        """Use these tables from now on. Keys stay where their place is the same, memories where the table is."""
        sources, judges = self._sources, self._judges
        self._sources = {name: self._source(name, table, sources.get(name)) for name, table in tables.items()}
        for name, file in files.items():
            self._sources[name].use(*file)
        self._judges = {name: self._judge(name, table, judges.get(name)) for name, table in tables.items()}
        for name, source in sources.items():
            if self._sources.get(name) is not source:
                source.close()

    def _source(self, name: str, table: PrincipalTable, before: "KeySource | None") -> "KeySource":
        from proxy.principals.key_source import KeySource, KeysPlace

        place = KeysPlace.of(table)
        if before is not None and before.place == place:
            return before
        source = KeySource(name, place, self._observer)
        if before is not None:
            source.inherit(before)
        return source

    def _judge(self, name: str, table: PrincipalTable, before: TokenJudge | None) -> TokenJudge:
        rules, keys = PrincipalRules.of(name, table), self._sources[name].keys
        same = before is not None and before.rules == rules and before.keys is keys
        return before if before is not None and same else TokenJudge(rules, keys, self._observer)

    def of(self, rules: Iterable[PrincipalRules]) -> RoutePrincipals | None:
        """Return what judges the tokens of a route; None if its `principal` names no table."""
        judges = [self._judges[each.name] for each in rules]
        return RoutePrincipals(judges) if judges else None

    async def start(self, now: float) -> None:
        """Read the keys, and wait for them at most `FIRST_WITHIN_S`: without them no token is verified."""
        self.sweep(now)
        first = [asyncio.ensure_future(source.first_read()) for source in self._sources.values()]
        if first:
            _, late = await asyncio.wait(first, timeout=FIRST_WITHIN_S)
            for waiting in late:
                waiting.cancel()

    def sweep(self, now: float) -> None:
        """Start the reads that are due; `now` is in seconds of the loop's time."""
        for source in self._sources.values():
            source.sweep(now)

    def views(self, now: float) -> list[PrincipalView]:
        """Return what an operator may see of each table."""
        return [self._view(name, judge, now) for name, judge in self._judges.items()]

    def _view(self, name: str, judge: TokenJudge, now: float) -> PrincipalView:
        source, splits = self._sources[name], judge.splits
        age_s = None if source.read_at < 0 else round(now - source.read_at, 1)
        return PrincipalView(
            name, judge.keys.count, age_s, source.failure, judge.remembered, splits.count, dict(splits.by)
        )  # fmt: skip

    def close(self) -> None:
        """Stop reading keys."""
        for source in self._sources.values():
            source.close()


def read_key_files(tables: Mapping[str, PrincipalTable]) -> Mapping[str, KeyFile]:
    """Return the keys of every `jwks_file`. It blocks. Raise StartError, also if the library is not installed."""
    if not tables:
        return {}
    try:
        from proxy.principals.key_source import read_key_file
    except ImportError as error:
        raise StartError(f"principal: tokens cannot be verified: {EXTRA}") from error
    found: dict[str, KeyFile] = {}
    for name, table in tables.items():
        if table.jwks_file is not None:
            try:
                found[name] = KeyFile(*read_key_file(table))
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise StartError(f"principal.{name}.jwks_file: {table.jwks_file}: {reason}") from error
    return found
