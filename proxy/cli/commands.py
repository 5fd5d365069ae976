"""The arguments of the command line. A command imports its dependencies when it is called: `run` must start fast."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from proxy import __version__
from proxy.cli.main import FAILED, MISTAKEN
from proxy.init.profiles import Profile


class _Commands(TyperGroup):
    """The commands. Those of `audit` are loaded only when one is called or completed."""

    def resolve_command(self, context: Any, arguments: list[str]) -> Any:
        name, command, rest = super().resolve_command(context, arguments)
        if name == "audit":
            from proxy.cli.audit import app as audit_app

            command = typer.main.get_command(audit_app)
        return name, command, rest


app = typer.Typer(
    cls=_Commands,
    pretty_exceptions_enable=False,
    help="A sidecar in front of a session backend: it coalesces, retries, recovers and audits every request.",
)

# Newer versions of typer contain their own click. These are its exceptions in every version.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
ClickException: type[Exception] = UsageError.__bases__[0]

Admin = Annotated[str, typer.Option(metavar="HOST:PORT", envvar="BACKSTAY_ADMIN__ADDRESS", help="The admin listener.")]
Token = Annotated[str | None, typer.Option(help="The admin token. Prefer the variable BACKSTAY_ADMIN__TOKEN.")]
DEFAULT_ADMIN = "127.0.0.1:9901"
_COMPLETE = "_BACKSTAY_COMPLETE"  # what typer is asked to do for a shell, instead of running a command


def command() -> int:
    """Run the command line and return the exit status. Raise `ConfigError` and `StartError`."""
    try:
        status = typer.main.get_command(app).main(prog_name="backstay", standalone_mode=False)
    except typer.Abort:
        return _refuse(FAILED, "backstay: aborted")
    except ClickException as error:
        return _refuse(MISTAKEN, _usage_error_line(error))
    return status if isinstance(status, int) else 0


def _usage_error_line(error: Exception) -> str:
    """Return the message of a usage error in one line; empty where rich has printed the help instead."""
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    if text.startswith("Missing argument"):  # with the words that it may be, each on a line of its own
        text = " ".join(text.split())
    text = text.replace(": Value error, ", ": ")  # what a newer typer adds
    return text if not text or "\n" in text else f"backstay: {text.rstrip('.')}; see backstay --help"


def _refuse(status: int, text: str) -> int:
    if text:
        print(text, file=sys.stderr)
    return status


def _print_version(wanted: bool) -> None:
    if wanted:
        from proxy.build import COMPILED

        print(f"backstay {__version__}{' (compiled)' if COMPILED else ''}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> int:
    if context.invoked_subcommand is None and (text := context.get_help()):  # rich prints the help itself
        print(text)
    return 0


@app.command()
def run(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The configuration, in TOML.")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The configuration, as an option.")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The address for clients.")] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The backend's URL. No file is needed with it.")
    ] = None,
    admin: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The admin listener.")] = None,
) -> int:
    """Run the sidecar."""
    if file is not None and config is not None:
        raise typer.BadParameter("give the configuration once: FILE, or --config FILE")
    if file == Path("-") or config == Path("-"):
        raise typer.BadParameter("standard input cannot be read again at a reload: give the configuration as a file")
    from proxy.cli.import_blocker import without

    with without("rich"):  # structlog imports rich for coloured tracebacks, which the log never has: saves 3 MiB
        from proxy.cli.run import run

    return run(file or config, listen, upstream, admin)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration, in TOML; - is standard input.")],
    files: Annotated[
        bool,
        typer.Option("--files/--no-files", help="Also open every file that the configuration names."),
    ] = True,
    request: Annotated[
        str | None,
        typer.Option("--explain", metavar="'METHOD PATH'", help="Print the route of this request, and its settings."),
    ] = None,
) -> int:
    """Print every problem of a configuration, or its routes in matching order."""
    from proxy.cli.check import check

    return check(file, files=files, request=request)


@app.command()
def init(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="Where the configuration is written; - is standard output.")
    ] = Path("backstay.toml"),
    openapi: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Make routes from an OpenAPI document 3.0 or 3.1, in JSON or YAML."),
    ] = None,
    from_trail: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Propose routes from what an audit trail shows as passed through."),
    ] = None,
    profile: Annotated[Profile | None, typer.Option(help="Tune retries, circuit and targets for a deployment.")] = None,
    upstream: Annotated[str | None, typer.Option(metavar="URL", help="The backend's URL.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> int:
    """Write a commented configuration. Each line that is only likely is marked as a guess."""
    from proxy.cli.init import InitSources, init

    return init(file, InitSources(openapi, from_trail, upstream, profile), force=force)


class Described(StrEnum):
    """Name the documents that have a JSON Schema."""

    CONFIGURATION = "configuration"
    AUDIT_RECORD = "audit-record"


@app.command("json-schema", hidden=True)  # the name in 0.1.0
@app.command()
def schema(
    of: Annotated[
        Described, typer.Argument(metavar="[configuration|audit-record]", help="The document to describe.")
    ] = Described.CONFIGURATION,
) -> int:
    """Print a JSON Schema: of the configuration file, or of a line of the audit trail."""
    from proxy.cli.json_schema import schema

    return schema(of.value)


class Shell(StrEnum):
    """Name the shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"
    PWSH = "pwsh"


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish, powershell or pwsh.")],
) -> int:
    """Print the completion script of a shell. `--show-completion` prints that of the shell that it runs in."""
    os.environ[_COMPLETE] = f"source_{shell.value}"
    try:
        return int(typer.main.get_command(app).main([], prog_name="backstay", standalone_mode=False))
    finally:
        del os.environ[_COMPLETE]


@app.command()
def demo(
    serve: Annotated[bool, typer.Option("--serve", help="Leave backend and sidecar running, and print URLs.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The sidecar's port; 0 is any free one.")] = 0,
) -> int:
    """Play six failure modes without and with the sidecar, and compare the results."""
    from proxy.cli.demo import demo

    return demo(serve, port)


@app.command()
def audit() -> None:
    """Read the audit trail: query, stats, export, verify, tail, sql."""
    raise AssertionError("`_Commands` replaces this command with the group in proxy/cli/audit.py")


@app.command()
def circuits(
    action: Annotated[str | None, typer.Argument(metavar="[reset|open|close|auto]")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None,
    admin: Admin = DEFAULT_ADMIN,
    token: Token = None,
) -> int:
    """Show the circuits, or override one."""
    from proxy.cli.circuits import circuits

    return circuits(action, name, admin, token)


@app.command()
def drain(
    admin: Admin = DEFAULT_ADMIN,
    token: Token = None,
    pid: Annotated[
        int | None, typer.Option(min=1, help="Send SIGTERM to this process instead; 1 in its container.")
    ] = None,
) -> int:
    """Drain the sidecar. For a container's preStop hook."""
    from proxy.cli.circuits import drain

    return drain(admin, token, pid)


config_app = typer.Typer(no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.callback()
def _config() -> None:
    """Show the configuration in effect."""


@config_app.command()
def show(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]", help="A configuration, read as `run` reads it. Default: ask the running sidecar."
        ),
    ] = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that do not have their default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as `GET /config` of the control plane.")] = False,
    admin: Admin = DEFAULT_ADMIN,
    token: Token = None,
) -> int:
    """Print every setting in effect, and from where its value is: file, environment, option or default."""
    from proxy.cli.configuration import show

    return show(file, admin, token, changed=changed, as_json=as_json)


@app.command()
def inject(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Kubernetes manifests; - is standard input.")],
    name: Annotated[
        list[str] | None, typer.Option(help="A workload; repeatable. Default: the annotated ones, or the only one.")
    ] = None,
    service: Annotated[list[str] | None, typer.Option(help="A Service that must exist and be redirected.")] = None,
    image: Annotated[str | None, typer.Option(help="The sidecar's image.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The sidecar's port.")] = 8080,
    admin_port: Annotated[int, typer.Option(min=1, max=65535, help="The control plane's port.")] = 9901,
    upstream_port: Annotated[int | None, typer.Option(min=1, max=65535, help="The backend's port.")] = None,
    config_map: Annotated[str | None, typer.Option(help="A ConfigMap that contains backstay.toml.")] = None,
    token_secret: Annotated[str | None, typer.Option(help="A Secret whose key `token` holds the admin token.")] = None,
    native: Annotated[bool, typer.Option(help="Use a native sidecar (Kubernetes 1.29).")] = True,
    kubelet_sleeps: Annotated[bool, typer.Option(help="The kubelet's sleep as the backend's preStop (1.30).")] = True,
) -> int:
    """Add the sidecar to Kubernetes manifests, and print the result."""
    from proxy.cli.inject import inject

    return inject(
        file, name, service, image, port=port, admin_port=admin_port, upstream_port=upstream_port,
        config_map=config_map, token_secret=token_secret, native=native, kubelet_sleeps=kubelet_sleeps,
    )  # fmt: skip


@app.command()
def uninject(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Kubernetes manifests; - is standard input.")],
    name: Annotated[list[str] | None, typer.Option(help="A workload; repeatable. Default: all.")] = None,
) -> int:
    """Remove the sidecar from Kubernetes manifests, and print the result."""
    from proxy.cli.inject import uninject

    return uninject(file, name)


@app.command()
def health(
    admin: Admin = DEFAULT_ADMIN,
    ready: Annotated[
        bool, typer.Option("--ready", help="Check that it accepts requests, not only that it is alive.")
    ] = False,
) -> int:
    """Check that the sidecar is healthy. For a container's health check."""
    from proxy.cli.circuits import health

    return health(admin, ready)
