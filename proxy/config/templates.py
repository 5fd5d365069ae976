"""Parses a route's `"POST /api/sessions/{report_id}"`: a method, and a path whose names fill whole segments."""

import re
from difflib import get_close_matches
from typing import NamedTuple

from proxy.config.objections import Objection

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_FORM = '"GET /api/sessions/{report_id}"'


class Template(NamedTuple):
    """A method and a path template, as written."""

    method: str
    path: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names in braces, in order."""
        return tuple(_NAME.findall(self.path))

    @property
    def shape(self) -> str:
        """Return the template without names. Two routes of the same shape match the same requests."""
        return f"{self.method} {_NAME.sub('{}', self.path)}"


def parse_template(text: object) -> Template:
    """Parse what a route matches. Raises `Objection`."""
    template = parse_request(text)
    _refuse_odd_path(template.method, template.path)
    return template


def parse_request(text: object) -> Template:
    """Parse a request of the sidecar's own. Names may stand anywhere, also in a query.

    Raises `Objection`.
    """
    method, space, path = text.partition(" ") if isinstance(text, str) else ("", "", "")
    if not space:
        raise Objection(f'"{text}" is not a method and a path', _FORM)
    if method not in METHODS:
        near = get_close_matches(method.upper(), METHODS, 1) or ["GET"]
        raise Objection(f'"{method}" is not one of {", ".join(METHODS)}', f'"{near[0]} {path}"')
    if not path.startswith("/"):
        raise Objection(f'"{path}" does not begin with a slash', f'"{method} /{path}"')
    if "{" in (bare := _NAME.sub("", path)) or "}" in bare:
        raise Objection(f'"{path}" has a brace that is not a name in braces', _FORM)
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise Objection(f'"{path}" is not a plain path', "it with other characters percent-encoded")
    return Template(method, path)


def _refuse_odd_path(method: str, path: str) -> None:
    seen: set[str] = set()
    for name in _NAME.findall(path):
        if name in seen:
            before, after = path.split(f"{{{name}}}", 1)
            raise Objection(f'"{path}" names {{{name}}} twice', f'"{method} {before}{{other_{name}}}{after}"')
        seen.add(name)
    for segment in path.split("/"):
        if "{" in segment and not _NAME.fullmatch(segment):
            raise Objection(f'"{segment}" is more than a name in braces, which fills a whole segment', _FORM)
    if "?" in path:
        raise Objection(f'"{path}" has a query, but only paths are matched', f'"{method} {path.partition("?")[0]}"')
