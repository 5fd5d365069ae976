"""`backstay init`: write a first configuration to a file or to standard output."""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from proxy.audit.files import NoTrailError, TrailError, trails
from proxy.audit.reader import Query, records
from proxy.cli.json_schema import schema_text
from proxy.cli.main import FAILED, MISTAKEN
from proxy.config.addresses import parse_upstream
from proxy.config.objections import ConfigError, ConfigProblem, Objection
from proxy.config.schema import configuration_schema
from proxy.config.shape import without_credentials
from proxy.init.configuration_text import UpstreamLine, configuration, guesses
from proxy.init.documents import Node, read_openapi
from proxy.init.drafts import Drafts, NameList, without_repetitions
from proxy.init.guesses import guessed
from proxy.init.operations import operations, server_of
from proxy.init.profiles import Profile
from proxy.init.trail_routes import PASSTHROUGH, proposed
from proxy.regular_file import read_regular, why_unreadable
from proxy.text import escaped

_STANDARD_OUTPUT = Path("-")
_SCHEMA = "backstay.schema.json"
_MOST = 16 << 20  # bytes of a document
_URL_AS_PATH = re.compile(r"(https?):/++(.+)", re.IGNORECASE)  # a path has single slashes
_URL = "http://127.0.0.1:8000"


class InitSources(NamedTuple):
    """What a configuration is made from; everything may be absent."""

    openapi: Path | None = None
    trail: Path | None = None
    upstream: str | None = None
    profile: Profile | None = None


def init(file: Path, sources: InitSources, *, force: bool = False) -> int:
    """Write a configuration and return the exit status. Raise `ConfigError` for a wrong document or URL.

    An existing file is replaced only with `force`. `-` is standard output, without the schema for editors. Raise
    `StartError` for YAML without ruamel.yaml.
    """
    upstream = sources.upstream or _URL
    _refuse_no_url(upstream)
    root = None if sources.openapi is None else read_openapi(_read(sources.openapi), str(sources.openapi))
    try:
        drafts = _drafts(root, sources.trail)
    except TrailError as error:
        return _refuse(str(error), MISTAKEN if isinstance(error, NoTrailError) else FAILED)
    documented = "" if root is None or sources.upstream else server_of(root).address
    text = configuration(UpstreamLine(upstream, documented), drafts, sources.profile)
    if file == _STANDARD_OUTPUT:
        sys.stdout.write(text)
        return 0
    return _written(file, text, len(drafts.routes), force=force)


def _drafts(root: Node | None, trail: Path | None) -> Drafts:
    """Return the routes of a document, then those of a trail that the document does not have."""
    documented = Drafts() if root is None else guessed(operations(root))
    if trail is None:
        return documented
    seen = proposed(_passed_through(trail))
    names = NameList()
    both = [each._replace(operation=names.fresh(each.operation)) for each in (*documented.routes, *seen.routes)]
    return without_repetitions(both, (*documented.left_out, *seen.left_out))


def _passed_through(path: Path) -> Iterator[Mapping[str, object]]:
    damaged = 0

    def count(_: object) -> None:
        nonlocal damaged
        damaged += 1

    found = trails(path)
    for trail in found:
        for record in records(trail, count, Query(operation=PASSTHROUGH)):
            yield record.fields
    if not any(True for trail in found for _ in records(trail, lambda _: None, Query())):
        raise NoTrailError(f"{path}: no line is a record of a trail: name the file of [audit] path")
    if damaged:
        print(f"backstay: {damaged} lines of {path} are not complete records", file=sys.stderr)


def _read(file: Path) -> bytes:
    if (url := _URL_AS_PATH.fullmatch(str(file))) is not None:
        address = f"{url[1]}://{url[2].rpartition('@')[2]}"
        cure = f"write curl -s {shlex.quote(address)} | backstay init - --openapi -"
        message = "a document is read from a file or from standard input"
        raise ConfigError([ConfigProblem("", message, cure, f"--openapi {address}")])
    try:
        return sys.stdin.buffer.read(_MOST) if file == _STANDARD_OUTPUT else read_regular(str(file), _MOST)
    except OSError as error:
        reason = why_unreadable(error)
        raise ConfigError([ConfigProblem("", reason, "name an OpenAPI document", str(file))]) from None


def _refuse_no_url(url: str) -> None:
    try:
        parse_upstream(url)
    except Objection as objection:
        message, cure = (
            without_credentials(objection.message),
            f"write --upstream {without_credentials(objection.cure)}",
        )
        problem = ConfigProblem("", message, cure, "--upstream")
        raise ConfigError([problem]) from None


def _written(file: Path, text: str, routes: int, *, force: bool) -> int:
    """Write the configuration, and beside it the schema that its first line names to editors."""
    schema = file.with_name(_SCHEMA)
    if not force and _is_foreign(schema):
        return _refuse(f"{schema} exists and is another document: move it, or add --force", MISTAKEN)
    try:
        _write(file, f"#:schema ./{_SCHEMA}\n{text}", os.O_TRUNC if force else os.O_EXCL)
        _write(schema, schema_text("configuration"), os.O_TRUNC)
    except FileExistsError:
        return _refuse(f"{file} exists: name another file, - for standard output, or add --force", MISTAKEN)
    except OSError as error:
        return _refuse(f"{error.filename} cannot be written: {(error.strerror or str(error)).lower()}", FAILED)
    marked = guesses(text)
    marks = f', {marked} marked with "guess:"' if marked else ""
    print(escaped(f"{file}: {routes} routes{marks}. Next: backstay check {file}"))
    return 0


def _is_foreign(schema: Path) -> bool:
    """Tell whether a file is there that no version of this program wrote: its schemas have one title."""
    try:
        found = json.loads(read_regular(str(schema), _MOST))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(found, dict) or found.get("title") != configuration_schema()["title"]


def _write(file: Path, text: str, flag: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | flag, 0o644), "w", encoding="utf-8") as out:
        out.write(text)


def _refuse(sentence: str, status: int) -> int:
    print(escaped(f"backstay: {sentence}"), file=sys.stderr)
    return status
