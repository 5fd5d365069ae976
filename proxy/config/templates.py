"""Parses a route's `"POST /api/sessions/{report_id}"`: methods, and a path whose names fill whole segments."""

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple

from proxy.config.objections import Objection

ANY: Final = "ANY"  # in place of a method: every method that has no route of the same template
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_METHODS = re.compile(r"[^\s,|/]+(\s*[,|]\s*[^\s,|/]+)*(?= )")
_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_REST = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\.\.\.\}", re.ASCII)
_FORM = '"GET /api/sessions/{report_id}"'
# Segments that are a name or a rest in other routers: Express, Flask, FastAPI, Starlette, ASP.NET, Rails.
_FOREIGN_RESTS = re.compile(r":(\w+)[*+]|<path:(\w+)>|\{(\w+):path\}|\{\*{1,2}(\w+)\}|\{(\w+)[*+]\}|\*(\w+)", re.ASCII)
_FOREIGN_NAMES = re.compile(r":(\w+)\??|<(?:\w+:)?(\w+)>|\{(\w+)(?::[^{}]*|\?)\}", re.ASCII)


class Template(NamedTuple):
    """Methods (`GET`, `GET, POST` or `ANY`) and a path template."""

    method: str
    path: str

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods, one by one."""
        return tuple(self.method.split(", "))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names in braces, in order; the name of a rest is the last."""
        rest = self.rest
        return (*_NAME.findall(self.path), *((rest,) if rest else ()))

    @property
    def rest(self) -> str | None:
        """Return the name of the rest of the path, None for a template of a fixed number of segments."""
        found = _REST.search(self.path)
        return found[1] if found else None

    @property
    def shapes(self) -> tuple[str, ...]:
        """Return the template without names, for each method. Two routes of the same shape match the same requests."""
        path = _REST.sub("{...}", _NAME.sub("{}", self.path))
        return tuple(f"{method} {path}" for method in self.methods)


def parse_template(text: object) -> Template:
    """Parse what a route matches. Raise `Objection`."""
    methods, path = _split(text, (*METHODS, ANY))
    template = Template(", ".join(methods), path)
    _refuse_foreign(template)
    _refuse_odd_rest(template)
    _refuse_what_is_no_path(_REST.sub("", path), path)
    _refuse_odd_path(template.method, path)
    return template


def parse_request(text: object) -> Template:
    """Parse a request of the sidecar's own. Names may stand anywhere, also in a query.

    Raise `Objection`.
    """
    methods, path = _split(text, METHODS)
    if len(methods) > 1:
        raise Objection(f'"{text}" names several methods, but a request has one', f'"{methods[0]} {path}"')
    _refuse_what_is_no_path(path, path)
    return Template(methods[0], path)


def _split(text: object, known: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the methods and the path that follows them."""
    written = _METHODS.match(text) if isinstance(text, str) else None
    if written is None or not isinstance(text, str):
        raise Objection(f'"{text}" is not a method and a path', _FORM)
    methods, path = [part.strip() for part in written[0].replace("|", ",").split(",")], text[written.end() + 1 :]
    nearest = [_nearest_method(method, known) for method in methods]
    wrong = next((method for method in methods if method not in known), None)
    if wrong is not None or "|" in written[0]:
        message = f'"{wrong}" is not one of {", ".join(known)}' if wrong else f'"{written[0]}" is not a list of methods'
        raise Objection(message, f'"{", ".join(dict.fromkeys(nearest))} {path}"')
    if (word := path.partition(" ")[0]) in known:
        raise Objection(
            f'"{text}" has no comma between its methods', f'"{written[0]}, {word}{path.removeprefix(word)}"'
        )
    if not path.startswith("/"):
        raise Objection(f'"{path}" does not begin with a slash', f'"{written[0]} /{path}"')
    return list(dict.fromkeys(methods)), path


def _nearest_method(method: str, known: tuple[str, ...]) -> str:
    if method.upper() in ("*", "ALL") and ANY in known:
        return ANY
    return (get_close_matches(method.upper(), known, 1) or ["GET"])[0]


def _refuse_what_is_no_path(text: str, path: str) -> None:
    if "{" in (bare := _NAME.sub("", text)) or "}" in bare:
        raise Objection(f'"{path}" has a brace that is not a name in braces', _FORM)
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise Objection(f'"{path}" is not a plain path', "it with other characters percent-encoded")


def _refuse_foreign(template: Template) -> None:
    """Refuse the name or the rest of another router's syntax, which would be a literal segment here."""
    segments = template.path.partition("?")[0].split("/")
    here = list(_translated(segments))
    if here != segments:
        foreign = next(before for before, after in zip(segments, here, strict=True) if before != after)
        message = f'"{foreign}" would match only itself: here a name is {{name}}, and the rest of a path {{rest...}}'
        raise Objection(message, f'"{template.method} {"/".join(here)}"')


def _translated(segments: list[str]) -> Iterator[str]:
    used = {name for segment in segments for name in (*_NAME.findall(segment), *_REST.findall(segment))}
    for position, segment in enumerate(segments, 1):
        rest = _FOREIGN_RESTS.fullmatch(segment)
        name = None if rest else _FOREIGN_NAMES.fullmatch(segment)
        if rest is None and name is None and "*" not in segment:
            yield segment
            continue
        found = rest or name
        last = position == len(segments) and name is None
        word = next((group for group in found.groups() if group), "") if found else ""
        fresh = _unused(word if word[:1].isalpha() else ("rest" if last else "name"), position - 1, used)
        yield f"{{{fresh}...}}" if last else f"{{{fresh}}}"


def _unused(name: str, position: int, used: set[str]) -> str:
    """Return the name, with the position of its segment if it is in use, and add it to `used`."""
    fresh = name if name not in used else f"{name}{position}"
    used.add(fresh)
    return fresh


def _refuse_odd_rest(template: Template) -> None:
    rest = template.rest
    if rest is not None and not template.path.endswith(f"/{{{rest}...}}"):
        path = template.path.replace("...}", "}")
        message = f"{{{rest}...}} is the rest of a path, so it must be the last segment"
        raise Objection(message, f'"{template.method} {path}"')


def _refuse_odd_path(method: str, path: str) -> None:
    seen: set[str] = set()
    for name in Template(method, path).names:
        if name in seen:
            cure = path.replace(f"{{{name}}}", f"{{other_{name}}}", 1)
            raise Objection(f'"{path}" names {{{name}}} twice', f'"{method} {cure}"')
        seen.add(name)
    for segment in path.split("/"):
        if "{" in segment and not _NAME.fullmatch(segment) and not _REST.fullmatch(segment):
            raise Objection(f'"{segment}" is more than a name in braces, which fills a whole segment', _FORM)
    if "?" in path:
        raise Objection(f'"{path}" has a query, but only paths are matched', f'"{method} {path.partition("?")[0]}"')
