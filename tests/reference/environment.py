"""The page of the environment variables, made from the seed document's table and the command line."""

from collections.abc import Iterator

from proxy.config.seed import SEED, SWITCH
from tests.reference.command_line import all_commands
from tests.reference.markdown import code, page, table

_INTRODUCTION = """\
A value on the command line wins over a variable, a variable over the file. `backstay config show` prints each setting
in effect and the variable that set it."""
_SETTINGS = """\
## Every setting

`BACKSTAY_` and the path of a setting, with two underscores between its parts: `BACKSTAY_LISTEN__ADDRESS` is
`listen.address`. Case does not matter, and `_` also matches `-`: `BACKSTAY_ROUTES__SESSION_LOAD__REUSE` sets `reuse` of
the route whose `operation` is `session-load`, `BACKSTAY_ROUTES__0__REUSE` that of the first. A value is written as in
TOML, without quotes around a string. A list or a table is JSON: `BACKSTAY_LISTEN__TRUSTED_PROXIES='["10.0.0.0/8"]'`.

A variable that names no setting is an error, except for those that Kubernetes sets for a Service called `backstay`."""
_SEED = f"""\
## Variables of the seed document

These eleven names come from the document that Backstay was made after. They win over the file, and yield to `BACKSTAY_`
variables and to options. Each that took effect is named in the log with what it set: `seed_variable`. A bare number
is in the unit of the table; a duration with a unit, such as `2s`, is possible too.

`{SWITCH}=0` ignores all of them: another program in the same container may use such a name."""
_OTHERS = (
    (SWITCH, "`0` ignores the variables of the seed document. Default: `1`."),
    ("AUDIT_TRAIL_EXPORT_FORMAT", "Also the default of `backstay audit export --format`."),
    ("BACKSTAY_COMPILE", "For `pip install`: `1` compiles the hot path. The sidecar ignores it."),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Switches traces on: see [tracing](../tracing.md), also for the other `OTEL_` names.",
    ),
)


def environment() -> str:
    """Return the page."""
    seed = ((code(name), each.sets, each.unit) for name, each in SEED.items())
    return page(
        "Environment variables",
        "`proxy/config/seed.py` and `proxy/cli/commands.py`",
        _INTRODUCTION,
        _SETTINGS,
        _SEED,
        table(("variable", "sets", "unit"), seed),
        "## Others",
        table(("variable", "meaning"), (*((code(name), about) for name, about in _OTHERS), *_of_options())),
    )


def _of_options() -> Iterator[tuple[str, str]]:
    """Yield the variables that stand for an option of some commands, each once."""
    users: dict[str, list[str]] = {}
    for command in all_commands():
        for option in command.options:
            if option.envvar:
                users.setdefault(f"{option.envvar} {option.opts[0]}", []).append(code(command.name))
    for key, commands in users.items():
        variable, option = key.split()
        yield code(variable), f"Also the default of {code(option)} of {', '.join(commands)}."
