"""Commands that call the admin API. They use only the standard library: a health check starts every few seconds."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote

TOKEN_VARIABLE = "BACKSTAY_ADMIN__TOKEN"  # noqa: S105 - the variable's name
ACTIONS = ("reset", "open", "close", "auto")
TIMEOUT_S = 5.0

FAILED = 1  # the request could not be carried out
WRONG = 2  # an error in the arguments or in the configuration

_COLUMNS = {"name": "CIRCUIT", "state": "STATE", "failures": "FAILURES", "mode": "MODE", "probes_in_s": "PROBES IN"}


class _Response(NamedTuple):
    status: int
    document: object

    @property
    def detail(self) -> str:
        """Return the `detail` of a problem document, or a sentence with the status."""
        if isinstance(self.document, Mapping) and "detail" in self.document:
            return str(self.document["detail"])
        return f"the admin listener responded with status {self.status}"


class _NoResponse(Exception):  # noqa: N818 - the name states the fact; its text is printed unchanged
    """There is no response, or not the response of a sidecar, from the admin address."""


def circuits(action: str | None, name: str | None, admin: str, token: str | None) -> int:
    """Print the circuits as a table, or apply `action` (reset, open, close, auto) to the circuit `name`."""
    if action is None:
        return call(admin, "GET", "/circuits", show=_print_table)
    if action not in ACTIONS:
        return _refuse(f"there is no action {action!r}: use {', '.join(ACTIONS)}", WRONG)
    if name is None:
        return _refuse(f"{action} which circuit? `backstay circuits` lists them", WRONG)
    path = f"/circuits/{quote(name, safe='')}/{action}"
    return call(admin, "POST", path, token, show=lambda circuit: _print_table([circuit]))


def drain(admin: str, token: str | None, pid: int | None = None) -> int:
    """Drain the sidecar: it completes the requests under way. With `pid`, send SIGTERM, which needs no token."""
    if pid is not None:
        return _signalled(pid)
    return call(admin, "POST", "/drain", token, show=lambda _: print("draining"))


def _signalled(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError as error:
        return _refuse(f"process {pid} cannot be signalled: {(error.strerror or str(error)).lower()}", FAILED)
    print("draining")
    return 0


def health(admin: str, ready: bool = False) -> int:
    """Return 0 if the sidecar is alive or, with `ready`, if it accepts requests."""
    return call(admin, "GET", "/readyz" if ready else "/healthz", show=lambda _: None)


def call(admin: str, method: str, path: str, token: str | None = None, *, show: Callable[[Any], None]) -> int:
    """Send a request, print its response with `show`, and return the exit status."""
    try:
        response = _send(admin, method, path, (token or os.environ.get(TOKEN_VARIABLE, "")).strip())
    except _NoResponse as error:
        return _refuse(str(error), FAILED)
    if response.status == 401:
        return _refuse(f"{response.detail} Give --token, or set {TOKEN_VARIABLE}.", WRONG)
    if response.status >= 400:
        return _refuse(response.detail, FAILED if response.status >= 500 else WRONG)
    show(response.document)
    return 0


def _send(admin: str, method: str, path: str, token: str | None) -> _Response:
    """Send one request. `http.client` is lighter than urllib's opener, and ignores HTTP_PROXY."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with closing(_connection(admin)) as connection:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return _Response(response.status, json.loads(response.read()))
    except (OSError, HTTPException) as error:
        raise _NoResponse(f"the admin listener at {admin} does not answer: {error or type(error).__name__}") from error
    except (ValueError, RecursionError) as error:
        raise _NoResponse(f"the server at {admin} is not a Backstay admin listener") from error


def _connection(admin: str) -> HTTPConnection:
    if admin.startswith("unix:"):
        return _UnixConnection(admin.removeprefix("unix:"))
    return HTTPConnection(admin.removeprefix("http://").rstrip("/"), timeout=TIMEOUT_S)


class _UnixConnection(HTTPConnection):
    """Connect `http.client` to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _refuse(sentence: str, status: int) -> int:
    print(f"backstay: {sentence}", file=sys.stderr)
    return status


def _print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print aligned plain columns, which `awk` can read too."""
    cells = [list(_COLUMNS.values()), *([_cell(name, row[name]) for name in _COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(name: str, value: object) -> str:
    if name != "probes_in_s":
        return str(value)
    return f"{value:.1f}s" if isinstance(value, float) and value else "-"
