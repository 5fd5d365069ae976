"""Check shell blocks against the existing commands, modules and files."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import typer

from proxy.admin.endpoints import ENDPOINTS, STATUS_PAGE
from proxy.cli import audit, commands
from proxy.config.environment import lay_environment
from tests.unit.docs.pages import ROOT

_ADMIN_PORT = 9901
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", "done", "do", "then", "fi"})
_REPOSITORY = re.compile(r"(?:\.ci|docs|examples|helm|proxy|scripts|tests)/[\w./-]+|config\.example\.toml")
_EXTRAS = re.compile(r"(?:\.|backstay)\[([\w,]+)\]")
_NOT_SETTINGS = frozenset({"BACKSTAY_COMPILE", "BACKSTAY_SEED_ENV"})
_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)


def check_shell(text: str) -> None:
    """Check every command of a block. Raises AssertionError that names the first one that cannot be right."""
    for line in _lines(text):
        for words in _commands(line):
            _check(words)
        for path in _REPOSITORY.findall(" ".join(shlex.split(line, comments=True))):
            assert (ROOT / path).exists() or _is_made(path, text), f"{path} is not in the repository"


def _is_made(path: str, text: str) -> bool:
    """Tell whether a command of the block writes the file."""
    return re.search(rf"(?:-o|--output|--plot|--report|>)\s*{re.escape(path)}", text) is not None


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.removeprefix("$ ")


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without variables that are set for it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in _OPERATORS:
            if words:
                yield words
            words = []
        else:
            words.append(word)


def _check(words: list[str]) -> None:
    words = list(_without_assignments(words))
    if not words:
        return
    program, arguments = words[0].rpartition("/")[2], words[1:]
    if program == "backstay" or arguments[:2] == ["-m", "proxy"]:
        parse(arguments if program == "backstay" else arguments[2:])
    elif program.startswith("python") and arguments[:1] == ["-m"] and arguments[1].startswith("tests"):
        _check_module(arguments[1], arguments[2:])
    elif program in ("docker", "podman") and arguments[:1] == ["run"]:
        image = next(n for n, word in enumerate(arguments) if word.startswith(("backstay:", "backstay@")))
        parse(arguments[image + 1 :] or ["run"])
    elif program == "curl":
        _check_target([word for word in arguments if "://" in word])
    for extras in _EXTRAS.findall(" ".join(arguments)):
        known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
        assert set(extras.split(",")) <= known.keys(), f"there is no extra {extras}"


def _without_assignments(words: list[str]) -> Iterator[str]:
    """Yield the words behind variables that are set; one of ours must name a setting."""
    for n, word in enumerate(words):
        found = _ASSIGNMENT.fullmatch(word)
        if found is None and word != "export":
            yield from words[n:]
            return
        if found is not None and found[1].startswith("BACKSTAY_") and found[1] not in _NOT_SETTINGS:
            check_variable(found[1], found[2])


def check_variable(name: str, value: str) -> None:
    """Refuse a variable that sets nothing."""
    document: Any = _Taken()
    problems = [str(problem) for problem in lay_environment(document, {name: value})]
    assert not problems, problems


class _Taken:
    """Stands for a configuration that takes every setting."""

    def has(self, _: object) -> bool:
        return False

    def get(self, *_: object) -> None:
        return None

    def names(self, *_: object) -> tuple[str, ...]:
        return ()

    def items(self, *_: object) -> list[object]:
        return []

    def lay(self, *_: object) -> None:
        """Take it."""


def parse(arguments: list[str]) -> None:
    """Let the real command line parse the words, without running a command. Raises AssertionError in its words."""
    group: Any = typer.main.get_command(commands.app)
    if arguments[:1] == ["audit"]:
        group, arguments = typer.main.get_command(audit.app), arguments[1:]
    if arguments[:1] == ["config"]:
        group, arguments = group.commands["config"], arguments[1:]
    if not arguments or arguments[0] in ("--help", "--version"):
        return
    command = group.commands.get(arguments[0])
    assert command is not None, f"there is no command {arguments[0]}"
    try:
        command.make_context(arguments[0], [word for word in arguments[1:] if word != "--help"])
    except commands.ClickException as error:
        raise AssertionError(f"{' '.join(arguments)}: {error}") from None


def _check_module(name: str, arguments: list[str]) -> None:
    """Tell that a module of the tests is there, and that its source names every option."""
    folder = ROOT.joinpath(*name.split("."))
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert all(file.is_file() for file in files), f"there is no module {name}"
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    unknown = [word for word in arguments if word.startswith("--") and f'"{word.partition("=")[0]}"' not in source]
    assert not unknown, f"{name} has no option {unknown}"


def _check_target(urls: list[str]) -> None:
    """Tell that what is asked of the control plane is there."""
    places = [re.sub(r"\{\w+\}", "[^/]+", endpoint.place) for endpoint in (*ENDPOINTS, *STATUS_PAGE)]
    for url in map(urlsplit, urls):
        if url.port == _ADMIN_PORT:
            assert any(re.fullmatch(place, url.path or "/") for place in places), f"nothing is at {url.path}"
