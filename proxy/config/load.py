"""Load the settings: command line over environment over file over defaults. Report every problem at once."""

import os
import sys
import tomllib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError

from proxy.config.contradictions import RuleReader
from proxy.config.document import Document, split_toml_error
from proxy.config.environment import lay_environment
from proxy.config.explain import key_of, problems_of
from proxy.config.objections import ConfigError, ConfigProblem, Keys
from proxy.config.seed import lay_seed
from proxy.config.settings import Admin, Settings
from proxy.regular_file import read_regular, why_unreadable

NOTHING: Mapping[str, object] = MappingProxyType({})
_STAND_INS: Mapping[str | int, object] = MappingProxyType(
    {
        "url": "http://stand-in",
        "operation": "stand-in",
        "match": "GET /",
        "request": "POST /",
        "body": None,
        "allow_origins": [],
        "issuer": "stand-in",
        "audience": "stand-in",
    }
)
STANDARD_INPUT = Path("-")
_MOST_CONFIG = 16 << 20  # bytes; a route takes about 300
_MOST_TOKEN = 65_536  # bytes; a longer one does not fit into a request head
_MOST_PROBLEMS = 100  # reported at most: each is compared with every possible setting
_ROUNDS = 4  # validation rounds; each omits the refused values, because a refused table can hide another invalid value


def load(
    path: Path | None, overrides: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings from a file (or none), the environment and the command line.

    `overrides` maps dotted keys, such as `listen.address`, to values. The key `upstream` sets the URL of the first
    upstream, named `default` if there is none. Raise `ConfigError` with every problem.
    """
    return load_written(path, overrides, environ).settings


class WrittenSettings(NamedTuple):
    """Settings, and their document, which has the origin of each."""

    settings: Settings
    document: Document


def load_written(
    path: Path | None, overrides: Mapping[str, object] = NOTHING, environ: Mapping[str, str] = os.environ
) -> WrittenSettings:
    """Return the settings as `load` does, with their document."""
    document = _read(path)
    problems = list(lay_environment(document, environ))
    _lay_overrides(document, overrides)
    problems += lay_seed(document, environ)
    try:
        settings, refused = Settings.model_validate(document.data), frozenset[Keys]()
    except ValidationError as error:
        problems += islice(problems_of(error, document), _MOST_PROBLEMS + 1)
        settings, refused = _salvaged(document, error)
    problems += islice(RuleReader(settings, document, refused).problems(), _MOST_PROBLEMS + 1)
    if problems:
        raise ConfigError(_first(problems))
    return WrittenSettings(settings.written_in(document), document)


def _first(problems: list[ConfigProblem]) -> list[ConfigProblem]:
    """Return the problems in order of lines, at most `_MOST_PROBLEMS`, then a note if there are more."""
    first = sorted(problems, key=_line)
    if len(first) <= _MOST_PROBLEMS:
        return first
    return [*first[:_MOST_PROBLEMS], ConfigProblem("", "there are more problems", "correct these first")]


def read_token(admin: Admin) -> str:
    """Return the control plane's bearer token, empty if there is none. Raise `ConfigError`."""
    if admin.token_file is None:
        return admin.token.strip()
    try:
        token = read_regular(admin.token_file, _MOST_TOKEN).decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([_unreadable(admin.token_file, error, "admin.token_file")]) from None
    if not token:
        raise ConfigError(
            [ConfigProblem("admin.token_file", "it is empty", "write the token into the file", admin.token_file)]
        )
    return token


def _read(path: Path | None) -> Document:
    if path is None:
        return Document()
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else read_regular(path, _MOST_CONFIG)
        return Document(content.decode("utf-8-sig"), str(path))  # Windows editors begin a file with a byte order mark
    except tomllib.TOMLDecodeError as error:
        complaint, line = split_toml_error(error)
        where = f"{path}:{line}" if line else str(path)
        raise ConfigError([ConfigProblem("", f"not TOML: {complaint}", "", where)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([_unreadable(str(path), error, "")]) from None
    except RecursionError:
        cure = "write fewer tables and lists within each other"
        raise ConfigError([ConfigProblem("", "it is nested too deeply", cure, str(path))]) from None
    except ValueError as error:  # a number longer than Python converts
        raise ConfigError([ConfigProblem("", f"not TOML: {error}", "", str(path))]) from None


def _unreadable(path: str, error: Exception, key: str) -> ConfigProblem:
    if isinstance(error, OSError):
        return ConfigProblem(key, why_unreadable(error), "", path)
    return ConfigProblem(key, "cannot be read: it is not UTF-8", "save it as UTF-8", path)


def _line(problem: ConfigProblem) -> int:
    """Return the line of a problem in the file; 0 for the environment and the command line."""
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _lay_overrides(document: Document, overrides: Mapping[str, object]) -> None:
    for name, value in overrides.items():
        if name == "upstream":
            first = next(iter(document.names("upstreams")), "default")
            document.lay(("upstreams", first, "url"), value, "--upstream")
        else:
            keys = tuple(name.split("."))
            document.lay(keys, value, f"--{keys[0]}")


def _salvaged(document: Document, error: ValidationError) -> tuple[Settings, frozenset[Keys]]:
    """Return the settings without refused values, so that the other settings can be checked for contradictions."""
    refused: set[Keys] = set()
    missing: set[Keys] = set()
    for _ in range(_ROUNDS):
        for details in error.errors(include_url=False):
            (missing if details["type"] == "missing" else refused).add(key_of(details))
        try:
            return Settings.model_validate(_stood_in(document, refused, missing)), frozenset(refused | missing)
        except ValidationError as again:
            error = again
    return Settings(), frozenset({()})


def _stood_in(document: Document, refused: set[Keys], missing: set[Keys]) -> dict[str, Any]:
    """Return the data with a placeholder for every value that is missing or was refused."""
    data = document.without(refused)
    for keys in missing:
        table: Any = data
        for key in keys[:-1]:
            table = table[key] if not isinstance(table, dict) or key in table else {}
        table[keys[-1]] = _STAND_INS[keys[-1]]
    return data
