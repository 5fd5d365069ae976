"""Parses addresses to listen on and to connect to, so that a wrong one is found before anything is opened."""

import re
from typing import NamedTuple

from proxy.config import meant
from proxy.config.objections import Objection
from proxy.http.authority import names_host

_HOST_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})", re.ASCII)
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<rest>[/?#].*)?", re.ASCII)
_EXAMPLE = "0.0.0.0:8080"  # shown in messages
_NAME = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>\d{1,5}))?", re.ASCII)


class Tcp(NamedTuple):
    """A host, without the brackets of IPv6, and a port. Port 0 means any free port."""

    host: str
    port: int


class Unix(NamedTuple):
    """A socket in the file system."""

    path: str


Address = Tcp | Unix


def parse_address(text: object) -> Address:
    """Parse `"0.0.0.0:8080"`, `"[::1]:8080"` or `"unix:/run/backstay.sock"`. Raise `Objection`."""
    if isinstance(text, str) and text.startswith("unix:/"):
        return Unix(text.removeprefix("unix:"))
    match = _HOST_PORT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not names_host(match[0].encode()):
        whole = completed(text, _EXAMPLE) if isinstance(text, str) else None
        cure = f'"{_EXAMPLE}" or "unix:/run/backstay.sock"' if whole is None else f'"{whole}"'
        raise Objection(f'"{text}" is not an address', cure)
    return Tcp(match["host"].strip("[]"), int(match["port"]))


def completed(text: str, usual: str) -> str | None:
    """Return the address that a text most likely means; what the text lacks is as in `usual`. `None` if unknown."""
    whole = meant.address(text, usual)
    fits = whole is not None and _HOST_PORT.fullmatch(whole) is not None and names_host(whole.encode())
    return whole if fits else None


def parse_upstream(url: str) -> Address:
    """Parse `"https://b:8000"` or `"unix:/run/app.sock"`; the default port is 80 or 443. Raise `Objection`."""
    if url.startswith("unix:/"):
        return parse_address(url)
    match = _URL.fullmatch(url)
    name = _NAME.fullmatch(match["authority"]) if match is not None and is_host(match["authority"]) else None
    if match is None or name is None:
        whole = meant.url(url)
        fits = whole is not None and is_host(whole.partition("://")[2])
        cure = f'"{whole}"' if fits else '"http://127.0.0.1:8000" or "unix:/run/app.sock"'
        raise Objection(f'"{url}" is not the URL of an upstream', cure)
    scheme = match["scheme"]
    if match["rest"] not in (None, "/"):
        raise Objection(
            f'"{url}" has a path, but request targets are forwarded unchanged', f'"{scheme}://{match["authority"]}"'
        )
    return Tcp(name["host"].strip("[]"), int(name["port"] or (443 if scheme == "https" else 80)))


def accepted_url(text: str) -> str | None:
    """Return the URL of an upstream that a text most likely means; `None` if unknown."""
    for url in (text, meant.url(text)):
        try:
            if url is not None and parse_upstream(url):
                return url
        except Objection:
            continue
    return None


def is_host(text: str) -> bool:
    """Tell whether `text` is valid in a `Host` field: a name or an address, optionally with a port."""
    return _NAME.fullmatch(text) is not None and names_host(text.encode("ascii"))
