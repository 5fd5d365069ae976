"""What is wrong with a configuration is a value: where it stands, what it is, and what to write instead."""

from collections.abc import Iterable
from dataclasses import dataclass

Keys = tuple[str | int, ...]


class Objection(ValueError):  # noqa: N818 - named for what it does: one value is refused, the reading goes on
    """Refuse one value: `message` says what is wrong with it, `cure` which value to write instead."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to change. `where` is a file and line, an environment variable or an option; empty for the whole."""

    key_path: str
    message: str
    cure: str
    where: str = ""

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.where, self.key_path, self.message) if part)
        return _on_one_line(f"{said}; {self.cure}" if self.cure else said)


class ConfigError(Exception):
    """Refuse a configuration, with every problem in it at once."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def _on_one_line(text: str) -> str:
    """Return the text with line breaks, and whatever else a terminal would obey, as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def dotted(keys: Keys) -> str:
    """Return `routes[2].retry.max_delay` for `("routes", 2, "retry", "max_delay")`."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return path.removeprefix(".")
