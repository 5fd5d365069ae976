"""Problems of a configuration as values: where the setting is, what is wrong, and what to write instead."""

from collections.abc import Iterable
from dataclasses import dataclass

Keys = tuple[str | int, ...]


class Objection(ValueError):  # noqa: N818 - not an error of the program: one value is refused, and parsing continues
    """Refuse one value. `message` says what is wrong, `cure` what to write instead."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem. `where` is a file and line, a variable or an option; empty for the whole configuration."""

    key_path: str
    message: str
    cure: str
    where: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.where, self.key_path, self.message) if part)
        return _on_one_line(f"{text}; {self.cure}" if self.cure else text)


class ConfigError(Exception):
    """Refuse a configuration, with every problem in it."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def _on_one_line(text: str) -> str:
    """Return the text with line breaks and other control characters as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def dotted(keys: Keys) -> str:
    """Return `routes[2].retry.max_delay` for `("routes", 2, "retry", "max_delay")`."""
    path = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return path.removeprefix(".")
