"""Mutants that survive, and why: no behaviour differs, or none that is promised, by module and change."""

from typing import Final

EXPLAINED: Final[dict[tuple[str, str], str]] = {}
