"""Parses a route's `"POST /api/sessions/{report_id}"`: methods, and a path whose names fill whole segments."""

import json
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from proxy.config.foreign_templates import NAME, REST, translated, with_plain_names, with_whole_names
from proxy.config.objections import Objection

ANY: Final = "ANY"  # in place of a method: every method that has no route of the same template
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_METHODS = re.compile(r"[^\s,|/]+(\s*[,|]\s*[^\s,|/]+)*(?= )")
_METHOD = f"({'|'.join((*METHODS, ANY))})"
# A segment without "*" and braces, which does not begin with a colon and a name; no look-ahead, which editors lack.
_LITERAL = r"[!\"$-)+-.0->@-z|~]"
_SEGMENT = rf"([!\"$-)+-.0-9;->@-z|~]{_LITERAL}*|:([!\"$-)+-.:->@\[-^`|~]{_LITERAL}*)?|\{{[A-Za-z_][A-Za-z0-9_]*\}})?"
TEMPLATE_PATTERN: Final = (
    rf"^{_METHOD}(\s*,\s*{_METHOD})* (/{_SEGMENT})+$"
    rf"|^{_METHOD}(\s*,\s*{_METHOD})* (/{_SEGMENT})*/\{{[A-Za-z_][A-Za-z0-9_]*\.\.\.\}}$"
)
"""What every accepted template has, for editors; `parse_template` refuses more."""
_SWAPPED = re.compile(r"(/\S*) ([A-Za-z]+)", re.ASCII)  # `/a GET`
_JOINED = re.compile(r"([A-Z]+)(/\S*)", re.ASCII)  # `GET/a`
_FORM = "GET /api/sessions/{report_id}"
_PLAIN = "/%{}!$&'()*+,;=:@~-._?\"<>[]\\^`|"  # what stays as it is when a path is percent-encoded
_MOST_STEPS = 8  # mistakes in one template that are corrected one after another


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
        return (*NAME.findall(self.path), *((rest,) if rest else ()))

    @property
    def rest(self) -> str | None:
        """Return the name of the rest of the path, None for a template of a fixed number of segments."""
        found = REST.search(self.path)
        return found[1] if found else None

    @property
    def shapes(self) -> tuple[str, ...]:
        """Return the template without names, for each method. Two routes of the same shape match the same requests."""
        path = REST.sub("{...}", NAME.sub("{}", self.path))
        return tuple(f"{method} {path}" for method in self.methods)


def parse_template(text: object) -> Template:
    """Parse what a route matches. Raise `Objection`, whose cure is accepted."""
    return _with_accepted_cure(text, _template)


def parse_request(text: object) -> Template:
    """Parse a request of the sidecar's own. Names may stand anywhere, also in a query.

    Raise `Objection`, whose cure is accepted.
    """
    return _with_accepted_cure(text, _request)


def joined_templates(texts: Sequence[object]) -> str:
    """Return one template with the methods of several that have one path; the first with a path of its own."""
    found = [_template(_accepted(str(text), _template)) for text in texts]
    methods = dict.fromkeys(method for each in found if each.path == found[0].path for method in each.methods)
    return f"{', '.join(methods)} {found[0].path}"


def _with_accepted_cure(text: object, parse: Callable[[str], Template]) -> Template:
    """Parse a text. One cure may need another: `GET  /a/:id` has two mistakes."""
    if not isinstance(text, str):
        raise Objection(f'"{text}" is not a method and a path', json.dumps(_FORM))
    try:
        return parse(text)
    except Objection as refused:
        cure = json.dumps(_accepted(refused.cure, parse), ensure_ascii=False)
        raise Objection(refused.message, cure) from None


def _accepted(text: str, parse: Callable[[str], Template]) -> str:
    """Return the text with every mistake corrected."""
    for _ in range(_MOST_STEPS):
        try:
            parse(text)
        except Objection as refused:
            text = refused.cure
        else:
            return text
    return _FORM


# Below, the cure of an `Objection` is the corrected text, without quotes; it may have another mistake.


def _template(text: str) -> Template:
    methods, path = _split(text, (*METHODS, ANY))
    template = Template(", ".join(methods), path)
    _refuse_foreign(template)
    _refuse_odd_rest(template)
    _refuse_what_is_no_path(template, REST.sub("", path), with_whole_names(path))
    _refuse_odd_path(template)
    return template


def _request(text: str) -> Template:
    methods, path = _split(text, METHODS)
    if len(methods) > 1:
        raise Objection(f'"{text}" names several methods, but a request has one', f"{methods[0]} {path}")
    template = Template(methods[0], path)
    _refuse_what_is_no_path(template, path, with_plain_names(path))
    return template


def _split(text: str, known: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the methods and the path that follows them."""
    written = _METHODS.match(text)
    if written is None:
        raise Objection(f'"{text}" is not a method and a path', _with_method(text, known))
    methods, path = [part.strip() for part in written[0].replace("|", ",").split(",")], text[written.end() + 1 :]
    if path != path.strip():
        raise Objection(f'"{text}" has spaces besides that between method and path', f"{written[0]} {path.strip()}")
    nearest = [_nearest_method(method, known) for method in methods]
    wrong = next((method for method in methods if method not in known), None)
    if wrong is not None or "|" in written[0]:
        message = f'"{wrong}" is not one of {", ".join(known)}' if wrong else f'"{written[0]}" is not a list of methods'
        raise Objection(message, f"{', '.join(dict.fromkeys(nearest))} {path}")
    if (word := path.partition(" ")[0]) in known:
        raise Objection(f'"{text}" has no comma between its methods', f"{written[0]}, {word}{path.removeprefix(word)}")
    if not path.startswith("/"):
        raise Objection(f'"{path}" does not begin with a slash', f"{written[0]} {_with_slash(path)}")
    return list(dict.fromkeys(methods)), path


def _with_method(text: str, known: tuple[str, ...]) -> str:
    """Return a text that does not begin with a method and a space as one that does, or the form of one."""
    plain = " ".join(text.split())
    if plain != text:
        return plain
    if (swapped := _SWAPPED.fullmatch(text)) is not None and swapped[2].upper() in known:
        return f"{swapped[2]} {swapped[1]}"
    if (joined := _JOINED.fullmatch(text)) is not None and joined[1] in known:
        return f"{joined[1]} {joined[2]}"
    return f"GET {_with_slash(text)}" if "/" in text else _FORM


def _with_slash(path: str) -> str:
    """Return the path of a URL, of a regular expression between `^` and `$`, or of a text without its first slash."""
    try:
        own = urlsplit(path).path if "://" in path else path
    except ValueError:
        own = ""
    own = own.removeprefix("^").removesuffix("$") if own.startswith("^") else own
    return own if own.startswith("/") else f"/{own}"


def _nearest_method(method: str, known: tuple[str, ...]) -> str:
    if method.upper() in ("*", "ALL") and ANY in known:
        return ANY
    return (get_close_matches(method.upper(), known, 1) or ["GET"])[0]


def _refuse_what_is_no_path(template: Template, text: str, whole: str) -> None:
    """Refuse braces in `text` that are no name, and what no path has. `whole` is the path with names in braces."""
    path = template.path
    if "{" in (bare := NAME.sub("", text)) or "}" in bare:
        raise Objection(f'"{path}" has a brace that is not a name in braces', f"{template.method} {whole}")
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        encoded = quote(path, safe=_PLAIN, errors="replace")
        raise Objection(f'"{path}" is not a plain path', f"{template.method} {encoded}")


def _refuse_foreign(template: Template) -> None:
    """Refuse the name or the rest of another router's syntax, which would be a literal segment here."""
    found = translated(template.path)
    if found is not None:
        foreign, here = found
        message = f'"{foreign}" would match only itself: here a name is {{name}}, and the rest of a path {{rest...}}'
        raise Objection(message, f"{template.method} {here}")


def _refuse_odd_rest(template: Template) -> None:
    rest = template.rest
    if rest is not None and not template.path.endswith(f"/{{{rest}...}}"):
        before, _, last = template.path.rpartition("/")
        path = f"{before.replace('...}', '}')}/{last}"
        path = with_whole_names(path)
        message = f"{{{rest}...}} is the rest of a path, so it must be the last segment"
        raise Objection(message, f"{template.method} {path}")


def _refuse_odd_path(template: Template) -> None:
    path, method, seen = template.path, template.method, set[str]()
    for name in template.names:
        if name in seen:
            cure = path.replace(f"{{{name}}}", f"{{other_{name}}}", 1)
            raise Objection(f'"{path}" names {{{name}}} twice', f"{method} {cure}")
        seen.add(name)
    for segment in path.split("/"):
        if "{" in segment and not NAME.fullmatch(segment) and not REST.fullmatch(segment):
            message = f'"{segment}" is more than a name in braces, which fills a whole segment'
            raise Objection(message, f"{method} {with_whole_names(path)}")
    if "?" in path:
        raise Objection(f'"{path}" has a query, but only paths are matched', f"{method} {path.partition('?')[0]}")
