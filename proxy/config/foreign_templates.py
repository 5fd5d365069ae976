"""Translates the path templates of other routers, and names in braces that are written wrong."""

import re
from collections.abc import Iterator

NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
REST = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\.\.\.\}", re.ASCII)
# Segments that are a name or a rest in other routers: Express, Flask, FastAPI, Starlette, ASP.NET, Rails, Next, Remix.
_RESTS = re.compile(
    r":(\w+)[*+]|<path:(\w+)>|\{(\w+):path\}|\{\*{1,2}(\w+)\}|\{(\w+)[*+]\}|\*(\w+)|\[{1,2}\.\.\.(\w+)\]{1,2}", re.ASCII
)
_NAMES = re.compile(
    r":(\w+)\??|<(?:\w+:)?(\w+)>|\{(\w+)(?::[^{}]*|\?)\}|\[([A-Za-z_]\w*)\](?:\.\w+)?"
    # Operations of OData and FHIR begin with "$" too, so only what is named as an identifier is a name.
    r"|\$(id|key|name|slug|uuid|\w++(?:(?<=Id)|(?<=_id)))",
    re.ASCII,
)
_SEVERAL = re.compile(r":(\w+)", re.ASCII)  # `:id(\d+)`, `:from-:to`: a segment that begins with a colon
_GROUP = re.compile(
    r"\(\?P?<(\w++)>[^()]*+(?:\([^()]*+\)[^()]*+)?+\)", re.ASCII
)  # of a regular expression, as in Django
_OPTIONAL = re.compile(r"(/:[^/?]*)\?(?=/|\Z)")  # `:id?` is no query
_INNER = re.compile(r"\{([^{}]*+)")  # of several braces the last one
_BRACES = re.compile(r"\{{1,8}+([^{}]*+)\}*+")
_ODD = re.compile(r"\W+", re.ASCII)


def translated(path: str) -> tuple[str, str] | None:
    """Return the first segment in another router's syntax, and the path as it is written here; None without one."""
    if (group := _GROUP.search(path)) is not None:
        return group[0], _GROUP.sub(r"{\1}", path).removesuffix("$")
    segments = _OPTIONAL.sub(r"\1", path).partition("?")[0].split("/")
    here = list(_translated(segments))
    changed = (before for before, after in zip(segments, here, strict=True) if before != after)
    foreign = next(changed, None)
    return None if foreign is None else (foreign, "/".join(here))


def _translated(segments: list[str]) -> Iterator[str]:
    used = {name for segment in segments for name in (*NAME.findall(segment), *REST.findall(segment))}
    for position, segment in enumerate(segments, 1):
        rest = _RESTS.fullmatch(segment)
        word = _word(rest) if rest else _name(segment)
        if rest is None and not word and "*" not in segment:
            yield segment
            continue
        last = position == len(segments) and (rest is not None or not word)
        fresh = _unused(word if word[:1].isalpha() else ("rest" if last else "name"), position - 1, used)
        yield f"{{{fresh}...}}" if last else f"{{{fresh}}}"


def _name(segment: str) -> str:
    """Return the name in a segment that is one in another syntax, "" if it is a literal."""
    if (found := _NAMES.fullmatch(segment)) is not None:
        return _word(found)
    return "_".join(_SEVERAL.findall(segment)) if _SEVERAL.match(segment) else ""


def _word(found: re.Match[str]) -> str:
    return next((group for group in found.groups() if group), "")


def _unused(name: str, position: int, used: set[str]) -> str:
    """Return the name, with the position of its segment if it is in use, and add it to `used`."""
    fresh = name if name not in used else f"{name}{position}"
    used.add(fresh)
    return fresh


def with_whole_names(path: str) -> str:
    """Return a path in which each segment with a brace is one name: `{report-id}`, `v{x}` and `{id}.json` are not."""
    segments = path.split("/")
    return "/".join(_whole(each, last=at == len(segments)) for at, each in enumerate(segments, 1))


def _whole(segment: str, *, last: bool) -> str:
    if not ("{" in segment or "}" in segment) or NAME.fullmatch(segment) or REST.fullmatch(segment):
        return segment
    words = [each.partition(":")[0] for each in _INNER.findall(segment) if each]
    name = _plain("_".join(words) or segment)
    return f"{{{name}...}}" if last and "..." in segment else f"{{{name}}}"


def with_plain_names(path: str) -> str:
    """Return a path with a possible name in each pair of braces, which may stand anywhere."""
    return _BRACES.sub(lambda found: f"{{{_plain(found[1])}}}", path)


def _plain(text: str) -> str:
    """Return a text as a name: letters, digits and underscores."""
    name = _ODD.sub("_", text).strip("_") or "name"
    return f"_{name}" if name[0].isdigit() else name
