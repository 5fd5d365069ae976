"""Translates a path of OpenAPI into a path template of a route."""

import re
from typing import NamedTuple
from urllib.parse import quote

from proxy.config.objections import Objection
from proxy.config.templates import Template, parse_template

_PARAMETER = re.compile(r"\{([^{}]*)\}")
# A name of several segments in other templates: of API Gateway, Starlette, Go, ASP.NET and RFC 6570.
_GREEDY = tuple(re.compile(form) for form in (r"([\w.-]+)(?:[*+]|:path|\.\.\.)", r"(?:\*{1,2}|\+|/)([\w.-]+)"))
_RENAMED = re.compile(r"[^\w. -]")
_ODD = re.compile(r"\W", re.ASCII)
_LITERALS = "%!$&'()*+,;=:@~-._"  # what a segment may contain besides letters and digits (RFC 3986), and a percent sign


class PathTemplate(NamedTuple):
    """A template, the name in the document of each name in it, and what a reader must know of the translation."""

    template: Template
    names: dict[str, str]  # from a name in the template to the parameter of the document
    notes: tuple[str, ...] = ()

    @property
    def segments(self) -> list[str]:
        """Return the segments after the first slash."""
        return self.template.path.split("/")[1:]


def path_template(method: str, path: str) -> PathTemplate:
    """Translate a path. Raise `Objection` if no template can match it."""
    names: dict[str, str] = {}
    notes: list[str] = []
    segments = path.split("/")
    made = [_segment(each, names, notes, last=n == len(segments) - 1) for n, each in enumerate(segments)]
    if len(made) > 2 and not made[-1]:
        notes.append("the path ends with a slash: without it, a request does not match")
    return PathTemplate(parse_template(f"{method} {'/'.join(made)}"), names, tuple(notes))


def _segment(segment: str, names: dict[str, str], notes: list[str], *, last: bool) -> str:
    found = _PARAMETER.findall(segment)
    if not found:
        return _literal(segment)
    if segment != f"{{{found[0]}}}":
        notes.append(f'guess: "{segment}" is a whole segment here, so more requests match')
    plain = next((greedy[1] for form in _GREEDY if (greedy := form.fullmatch(found[0]))), None)
    own = _name(found[0].partition(":")[0] if plain is None else plain, names)
    if plain is not None and last:
        notes.append(f"guess: {{{own}...}} matches the rest of the path")
        return f"{{{own}...}}"
    if plain is not None:
        notes.append(f'guess: "{segment}" may be several segments, and {{{own}}} is one')
    elif _RENAMED.search(found[0]):
        notes.append(f'guess: "{segment}" has the form of a name with a rule, which {{{own}}} does not have')
    return f"{{{own}}}"


def _literal(segment: str) -> str:
    if "{" in segment or "}" in segment:
        raise Objection(f'"{segment}" has a brace without its other half', "write each parameter as {name}")
    try:
        return quote(segment, safe=_LITERALS)
    except UnicodeEncodeError:  # JSON can write half of a surrogate pair
        raise Objection("the path has a character that no request can have", "correct it") from None


def _name(name: str, names: dict[str, str]) -> str:
    """Return a name that a template may have and that it does not have yet, and remember it."""
    plain = _ODD.sub("_", name) or "name"
    plain = f"_{plain}" if plain[0].isdigit() else plain
    own = plain
    while own in names:
        own = f"{plain}_{len(names) + 1}"
    names[own] = name
    return own
