"""One planted mistake as data, and how it is applied to a source tree."""

from pathlib import Path
from typing import NamedTuple

from tests.e2e.sidecar import ROOT


class OutOfStepError(Exception):
    """Report that an entry does not fit the source: it must be changed with the code."""


class Mistake(NamedTuple):
    """A change of one file. `says` is the effect in one sentence.

    `tests` are the test files that must find it, relative to `tests/` and separated by spaces, the likeliest first.
    `equivalent`: why no test can find it; such an entry is not run.
    """

    name: str
    says: str
    file: str
    old: str
    new: str
    tests: str = ""
    equivalent: str = ""

    @property
    def test_files(self) -> list[str]:
        """Return the paths of the test files, relative to the root."""
        return [f"tests/{name}" for name in self.tests.split()]

    def mutated(self, root: Path = ROOT) -> str:
        """Return the file's text with the mistake.

        Raise OutOfStepError unless the old text occurs exactly once and the new text compiles.
        """
        text = (root / self.file).read_text(encoding="utf-8")
        if (count := text.count(self.old)) != 1:
            raise OutOfStepError(f"{self.name}: {self.file} has its old text {count} times, which must be once")
        changed = text.replace(self.old, self.new)
        if changed == text:
            raise OutOfStepError(f"{self.name}: old and new text are equal")
        if self.file.endswith(".py"):
            try:
                compile(changed, self.file, "exec")
            except SyntaxError as error:
                raise OutOfStepError(f"{self.name}: {self.file} does not compile with the mistake: {error}") from None
        return changed
