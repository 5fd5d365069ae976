"""TLS contexts of both legs, made from files and made again on SIGHUP.

A context is never changed: authorities cannot be removed from it, and its session tickets live as long as it does.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from proxy.errors import StartError
from proxy.regular_file import check_regular

MOST_BYTES: Final = 64 << 20  # bytes of a file; all public authorities take 250 KiB
_INCOMING: Final = "incoming"  # the attribute that holds the BIO


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the sidecar's certificate chain and key, and the authorities that the peer's certificate must have."""

    certificate: str | None = None
    key: str | None = None  # None: the key is in `certificate`
    authorities: str | None = None


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a listener's context; with authorities, client certificates are required. Raise StartError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    if files.authorities is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context for backend connections; without authorities, the system's are used. Raise StartError."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.wrap_bio = partial(_wrapped, context.wrap_bio)  # type: ignore[method-assign]  # asyncio and uvloop call it
    _load(context, files)
    return context


def _wrapped(
    wrap: Callable[..., ssl.SSLObject], incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: object
) -> ssl.SSLObject:
    """Attach the incoming BIO to a connection's TLS object: neither event loop exposes it."""
    tls = wrap(incoming, outgoing, **options)
    setattr(tls, _INCOMING, incoming)
    return tls


def incoming_of(tls: ssl.SSLObject) -> ssl.MemoryBIO | None:
    """Return the BIO that receives the ciphertext of a backend connection."""
    found = getattr(tls, _INCOMING, None)
    return found if isinstance(found, ssl.MemoryBIO) else None


def trusts_all(new: ssl.SSLContext, old: ssl.SSLContext) -> bool:
    """Tell whether `new` trusts every client authority that `old` trusts."""
    return set(old.get_ca_certs(binary_form=True)) <= set(new.get_ca_certs(binary_form=True))


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        for name in (files.certificate, files.key, files.authorities):
            if name is not None:
                check_regular(name, MOST_BYTES)
        if files.certificate is not None:
            context.load_cert_chain(files.certificate, files.key)
        if files.authorities is not None:
            context.load_verify_locations(files.authorities)
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(name for name in (files.certificate, files.key, files.authorities) if name is not None)
        raise StartError(f"cannot use the TLS files {names}: {error.strerror or error}") from error
