"""The page of the command line, made from the commands."""

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import typer

from proxy.audit.verify import Condition
from proxy.cli import audit, commands
from proxy.cli.main import FAILED, MISTAKEN
from tests.reference.markdown import code, page, table

_INTRODUCTION = """\
`backstay` and `python -m proxy` are the same command. An error is one line on standard error, without a traceback. A
value that can come from the environment names its variable: see [environment variables](environment.md). The commands
that read the trail have [a page of their own](command-line-audit.md)."""
_STATUSES = (
    (0, "Done. `backstay run` ends so after a drain, `backstay demo` if the sidecar kept every promise."),
    (FAILED, "Failed: it cannot start, read or write something, or nobody answers."),
    (MISTAKEN, "A mistake on the command line or in the configuration. Each is named, with what to write instead."),
    (130, "`backstay audit` was interrupted, as following a trail is."),
    (141, "The reader of the output went away, as `head` does."),
)
_KINDS = {int: "NUMBER", Path: "FILE", str: "TEXT"}


class Command(NamedTuple):
    """A command: its whole name, such as `backstay audit query`, its help, its parameters and the types of these."""

    name: str
    about: str
    parameters: tuple[Any, ...]
    hints: dict[str, Any]
    hidden: bool

    @property
    def options(self) -> list[Any]:
        """Return the parameters that have a name on the command line."""
        return [each for each in self.parameters if each.opts[0].startswith("-") and each.name != "help"]

    @property
    def usage(self) -> str:
        """Return how it is called."""
        places = [str(each.metavar or each.name.upper()) for each in self.parameters if each.opts[0][0] != "-"]
        return " ".join([self.name, *places, *(["[OPTIONS]"] if self.options else [])])


_AUDIT = "backstay audit"
_OF_AUDIT = """\
These commands read an audit trail: see [audit](../audit.md) and [audit integrity](../audit-integrity.md). The other
commands and the exit statuses are in [command line](command-line.md)."""


def command_line() -> str:
    """Return the page."""
    sections = _sections(of_audit=False)
    return page("Command line", "`proxy/cli/`", _INTRODUCTION, *sections, "## Exit status", _exit_statuses())


def audit_command_line() -> str:
    """Return the page of the commands that read a trail."""
    return page("Command line of the audit trail", "`proxy/cli/audit.py`", _OF_AUDIT, *_sections(of_audit=True))


def _sections(*, of_audit: bool) -> Iterator[str]:
    for command in all_commands():
        if not command.hidden and command.name.startswith(_AUDIT) is of_audit:
            yield from _section(command)


def all_commands() -> Iterator[Command]:
    """Yield every command; those of `backstay audit` stand in its place, those of other groups at the end."""
    for command in _commands_of(commands.app, "backstay"):
        if command.name == "backstay audit":
            yield from _commands_of(audit.app, command.name)
        else:
            yield command
    for group in commands.app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands_of(group.typer_instance, f"backstay {group.name}")


def _commands_of(app: typer.Typer, name: str) -> Iterator[Command]:
    parsed: Any = typer.main.get_command(app)
    for info in app.registered_commands:
        assert info.callback is not None
        command = parsed.commands[info.name or info.callback.__name__.replace("_", "-")]
        hints = get_type_hints(info.callback)
        yield Command(f"{name} {command.name}", _plain(command.help), tuple(command.params), hints, info.hidden)


def _section(command: Command) -> Iterator[str]:
    yield f"## `{command.name}`"
    yield command.about
    yield f"Usage: {code(command.usage)}"
    if command.options:
        rows = [_option(option, command.hints[option.name]) for option in command.options]
        yield table(("option", "value", "default", "meaning"), rows)


def _option(option: Any, hint: Any) -> tuple[str, ...]:
    names = ", ".join(code(name) for name in (*option.opts, *option.secondary_opts))
    value = "" if hint is bool else str(option.metavar or _kind(hint))
    again = " May be repeated." if option.multiple else ""
    variable = f" Environment: `{option.envvar}`." if option.envvar else ""
    return (names, code(value), _default(option.default), f"{option.help or ''}{again}{variable}")


def _kind(hint: Any) -> str:
    """Return what is written for a value, for `int`, `Path | None`, `list[str]` and the like."""
    parts = [part for part in get_args(hint) if part is not NoneType]
    if parts:
        return _kind(parts[0])
    return "|".join(str(word.value) for word in hint) if issubclass(hint, Enum) else _KINDS[hint]


def _default(default: object) -> str:
    return "" if default in (None, False, [], ()) else code(default.value if isinstance(default, Enum) else default)


def _plain(text: str) -> str:
    """Return a help text with its paragraphs, each on one line."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.replace("\b", "")).strip()


def _exit_statuses() -> str:
    conditions = [(str(one.value), f"`backstay audit verify`: {one.about}") for one in Condition if one.value]
    return table(("status", "meaning"), [*((str(status), about) for status, about in _STATUSES), *conditions])
