"""Opens every file that a configuration names, so that `check` finds the errors of a start."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from proxy.audit.checkpoint import read_key
from proxy.audit.files import TrailError
from proxy.config.contradictions import Contradiction
from proxy.config.load import read_token
from proxy.config.objections import ConfigError, Keys
from proxy.config.settings import Audit, Listen, Settings, StoreTable, UpstreamTable
from proxy.errors import StartError
from proxy.principals.registry import EXTRA, read_key_files
from proxy.regular_file import open_regular, read_regular, why_unreadable
from proxy.store.bundle import SQLITE
from proxy.store.disk.sealing import seal_of
from proxy.transport.certificate_expiry import first_expiry
from proxy.transport.tls import MOST_BYTES, TlsFiles, client_context, server_context


def unusable_files(settings: Settings) -> Iterator[Contradiction]:
    """Yield the key of each file or folder that cannot be used, and why. Nothing is created or changed."""
    try:
        read_token(settings.admin)
    except ConfigError as error:
        for problem in error.problems:
            said = problem.message.removeprefix("it ")
            cure = problem.cure or "name a file that this user can read"
            yield Contradiction(("admin", "token_file"), f"{settings.admin.token_file} {said}", cure)
    yield from _certificates(("listen",), settings.listen)
    for name, upstream in settings.upstreams.items():
        if upstream.speaks_tls:
            yield from _certificates(("upstreams", name), upstream)
    yield from _keys(settings)
    yield from _trail(settings.audit)
    yield from _store(settings.store)
    yield from _sockets(settings)


def _certificates(at: Keys, named: Listen | UpstreamTable) -> Iterator[Contradiction]:
    authorities = "tls_client_ca" if isinstance(named, Listen) else "tls_ca"
    unreadable = [
        Contradiction((*at, key), problem, "name a PEM file that this user can read")
        for key in ("tls_certificate", "tls_key", authorities)
        if (path := getattr(named, key)) is not None and (problem := _unreadable(path))
    ]
    if unreadable:
        yield from unreadable
        return
    make = server_context if isinstance(named, Listen) else client_context
    try:
        make(TlsFiles(named.tls_certificate, named.tls_key, getattr(named, authorities)))
    except StartError as error:
        yield Contradiction((*at, "tls_certificate"), str(error), "name a certificate and its key, both in PEM")


def _keys(settings: Settings) -> Iterator[Contradiction]:
    for name, table in settings.principal.items():
        at: Keys = ("principal", name)
        try:
            read_key_files({name: table})
        except StartError as error:
            installed = isinstance(error.__cause__, OSError | ValueError)
            key = (*at, "jwks_file") if installed else at
            yield Contradiction(key, str(error), "name a JWK Set with public keys" if installed else EXTRA)
        if table.tls_ca is not None and (problem := _unreadable(table.tls_ca)):
            yield Contradiction((*at, "tls_ca"), problem, "name a PEM file that this user can read")


def expired_certificates(settings: Settings, wall: float) -> Iterator[Contradiction]:
    """Yield the key of each certificate that the sidecar shows and that expired before `wall` (Unix seconds)."""
    shown: list[tuple[Keys, str | None]] = [(("listen", "tls_certificate"), settings.listen.tls_certificate)]
    for name, upstream in settings.upstreams.items():
        if upstream.speaks_tls:
            shown.append((("upstreams", name, "tls_certificate"), upstream.tls_certificate))
    for keys, file in shown:
        expiry = None if file is None else first_expiry(read_regular(file, MOST_BYTES).decode("latin-1"))
        if expiry is not None and expiry < wall:
            ended = datetime.fromtimestamp(expiry, UTC).isoformat(" ").removesuffix("+00:00")
            message = f"a certificate in {file} expired on {ended} UTC, so peers refuse it"
            yield Contradiction(keys, message, "renew it, and send SIGHUP to a sidecar that runs")


def _trail(audit: Audit) -> Iterator[Contradiction]:
    if audit.checkpoint_key_file is not None:
        try:
            read_key(Path(audit.checkpoint_key_file)).sign(b"")  # a public key cannot
        except TrailError as error:
            yield Contradiction(("audit", "checkpoint_key_file"), str(error), "name the file of a key that signs")
    reported: set[str] = set()
    for key, file in _written_files(audit):
        if (problem := _unwritable(file)) and problem not in reported:  # the three mostly share one folder
            reported.add(problem)
            yield Contradiction(("audit", key), problem, f"correct that, or write another {key}")


def _written_files(audit: Audit) -> Iterator[tuple[str, Path]]:
    """Yield the files of the trail. A trail on standard output has none beside it."""
    for key, file in (("path", audit.path), ("checkpoints", audit.checkpoints), ("salt_file", audit.salt_file)):
        if file is not None and not (audit.path == "-" and (key == "path" or "{path}" in file)):
            yield key, Path(file.replace("{path}", audit.path))


def _store(store: StoreTable) -> Iterator[Contradiction]:
    try:
        seal_of(store.key_file)
    except StartError as error:
        message = str(error).removeprefix("store.key_file: ")
        yield Contradiction(("store", "key_file"), message, "name a file of keys that this user can read")
    path = Path(store.url.removeprefix(SQLITE))
    if store.url.startswith(SQLITE) and (problem := "" if path.is_dir() else _no_folder(path.parent)):
        yield Contradiction(("store", "url"), problem, "create the folder, or name another one")


def _sockets(settings: Settings) -> Iterator[Contradiction]:
    for table, address in (("listen", settings.listen.address), ("admin", settings.admin.address)):
        path = Path(address.removeprefix("unix:"))
        if address.startswith("unix:") and (problem := _no_folder(path.parent)):
            yield Contradiction((table, "address"), problem, "create the folder, or write another address")


def _unreadable(path: str) -> str:
    """Return why a file cannot be read, "" if it can."""
    try:
        os.close(open_regular(path))
    except OSError as error:
        return f"{path} {why_unreadable(error)}"
    return ""


def _unwritable(path: Path) -> str:
    """Return why a file cannot be written, "" if it can; a file that does not exist yet is not created."""
    if path.is_symlink():
        return f"{path} is a symbolic link: name the file itself"
    if not path.exists():
        return _no_folder(path.parent)
    if path.is_char_device():
        return ""
    if not path.is_file():
        return f"{path} is not a regular file"
    return "" if os.access(path, os.R_OK | os.W_OK) else f"{path} cannot be written by this user"


def _no_folder(folder: Path) -> str:
    """Return why no file can be created in a folder, "" if one can."""
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"the folder {folder} cannot be written by this user"
