"""Read settings, the admin token, certificates and key files for a start or a reload, without side effects."""

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from proxy.config.load import read_token
from proxy.config.settings import Listen, Settings
from proxy.principals.registry import KeyFile, read_key_files
from proxy.regular_file import read_regular
from proxy.transport.certificate_expiry import first_expiry
from proxy.transport.tls import TlsFiles, client_context, server_context

_MOST: Final = 1 << 20  # bytes of a certificate chain


class Loaded(NamedTuple):
    """The loaded settings, the admin token, TLS contexts of the listener and of each upstream, and issuers' key files.

    `certificates` maps `listen` and `upstreams.NAME` to the time at which their certificate expires, in seconds
    since 1970.
    """

    settings: Settings
    token: str
    listen_tls: ssl.SSLContext | None
    upstream_tls: Mapping[str, ssl.SSLContext]
    certificates: Mapping[str, float]
    key_files: Mapping[str, KeyFile]


class Loader:
    """Read everything once; `doing` names the current step. Every step may block: never call it on the loop."""

    def __init__(self, load: Callable[[], Settings], listen: Listen | None = None) -> None:
        """Take the callback that reads the settings; `listen` replaces the settings' own listener table."""
        self.doing = "the configuration"
        self._load = load
        self._listen = listen

    def run(self) -> Loaded:
        """Return everything. Raise ConfigError or StartError for the first invalid item."""
        settings = self._load()
        self.doing = "the admin token (admin.token_file)"
        token = read_token(settings.admin)
        self.doing = "the listener's certificates (listen.tls_certificate, tls_key, tls_client_ca)"
        listen = self._listen or settings.listen
        listen_tls = _listening(listen)
        upstream_tls = self._upstream_tls(settings)
        shown = {f"upstreams.{name}": settings.upstreams[name].tls_certificate for name in upstream_tls}
        expiries = _expiries({"listen": listen.tls_certificate, **shown})
        self.doing = "the keys of issuers (principal.*.jwks_file)"
        return Loaded(settings, token, listen_tls, upstream_tls, expiries, read_key_files(settings.principal))

    def _upstream_tls(self, settings: Settings) -> Mapping[str, ssl.SSLContext]:
        contexts: dict[str, ssl.SSLContext] = {}
        for name, upstream in settings.upstreams.items():
            if upstream.speaks_tls:
                self.doing = f"the certificates of upstreams.{name} (tls_ca, tls_certificate, tls_key)"
                files = TlsFiles(upstream.tls_certificate, upstream.tls_key, upstream.tls_ca)
                contexts[name] = client_context(files)
        return contexts


def _expiries(certificates: Mapping[str, str | None]) -> dict[str, float]:
    """Return when each certificate expires, by the table that names its file. The files were loaded just before."""
    found: dict[str, float] = {}
    for table, file in certificates.items():
        with suppress(OSError):  # it was replaced meanwhile: the metric is left out until the next reload
            expiry = first_expiry(read_regular(file, _MOST).decode("latin-1")) if file else None
            if expiry is not None:
                found[table] = expiry
    return found


def _listening(listen: Listen) -> ssl.SSLContext | None:
    if not listen.tls_certificate:
        return None
    return server_context(TlsFiles(listen.tls_certificate, listen.tls_key, listen.tls_client_ca))
