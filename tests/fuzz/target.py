"""A fuzz target: a check of any bytes, words for its inputs, and first inputs."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """One reader of bytes and what must hold of it.

    `check` raises for a finding, and returns what became of the input in a few words: an input whose outcome is new is
    kept as a beginning of others. `beginnings` are inputs beside those in the corpus.
    """

    name: str
    check: Callable[[bytes], Hashable]
    words: tuple[bytes, ...] = ()
    beginnings: tuple[bytes, ...] = ()

    def inputs(self) -> list[bytes]:
        """Return the corpus and the other beginnings, always in the same order."""
        return [*(file.read_bytes() for file in self.files()), *self.beginnings]

    def files(self) -> Iterable[Path]:
        """Return the files of the corpus by name: `found-*` were findings once."""
        return sorted((CORPUS / self.name).iterdir())
