"""The operations of an OpenAPI document: method, path, parameters, and what is known of body and responses."""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from proxy.config.objections import Objection
from proxy.init.documents import Node
from proxy.init.paths import PathTemplate, path_template

_METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
_WITHOUT_ROUTE = {
    "TRACE": "no route can have the method TRACE",
    "OPTIONS": "CORS preflights need no route",
}
_VARIABLE = re.compile(r"\{([^{}]*)\}")
_DEEPEST = 8  # levels of allOf in a schema


class Parameter(NamedTuple):
    """A parameter: its name, `path`, `query`, `header` or `cookie`, and whether every request has it."""

    name: str
    place: str
    required: bool


class Operation(NamedTuple):
    """One method of one path. `path` is None where it has no template; `left_out` then says why."""

    place: str
    method: str
    path: PathTemplate | None
    name: str  # the operationId, "" without one
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, bool] = {}  # strings and integers in a JSON body, and whether each is required
    statuses: frozenset[str] = frozenset()
    media_types: frozenset[str] = frozenset()  # of its responses
    takes: frozenset[str] = frozenset()  # the media types of its body
    deprecated: bool = False
    left_out: str = ""
    doubt: str = ""  # why its path may be wrong


class Server(NamedTuple):
    """What the servers of a document say: the base path of its paths, why that may be wrong, and an address."""

    base: str = ""
    doubt: str = ""
    address: str = ""


def operations(root: Node) -> Iterator[Operation]:
    """Yield every operation in the order of the document. Raise `DocumentError`."""
    paths = root.get("paths")
    if paths is None or not paths.table():
        raise root.refusal("it has no paths", "write at least one operation below paths")
    server = server_of(root)
    for path in paths.table():
        if path.startswith("x-"):
            continue
        if not path.startswith("/"):
            raise paths.refusal(f'"{path}" does not begin with a slash', f'write "/{path}"')
        item = paths.get(path)
        if item is not None:
            yield from _of_path(item, path, server_of(item) if item.get("servers") else server)


def server_of(node: Node) -> Server:
    """Return what `servers` of a document, a path or an operation says; nothing without it."""
    found = [_server(each) for each in node.all_of("servers")]
    if not found:
        return Server()
    several = len({each.base for each in found}) > 1
    return found[0]._replace(doubt="the base path of the first of several servers") if several else found[0]


def _server(node: Node) -> Server:
    variables = node.get("variables")

    def value(found: re.Match[str]) -> str:
        variable = variables.get(found[1]) if variables is not None else None
        return str(variable.table().get("default", "")) if variable is not None else ""

    written = node.text_at("url")
    url = _VARIABLE.sub(value, written)
    try:
        parts = urlsplit(url)
        path, origin = parts.path.rstrip("/"), f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        raise node.refusal(f'"{url}" is not a URL', 'write url: "https://api.example/v1" or "/v1"') from None
    base = path if path.startswith("/") or not path else f"/{path.lstrip('./')}"
    varies = _VARIABLE.search(written.partition("//")[2].partition("/")[2] if "//" in written else written)
    doubt = "the default of a server variable is in the path" if varies else ""
    if path and not parts.netloc and not path.startswith("/"):
        doubt = "the server's URL is relative to the document"
    return Server(base, doubt, origin if parts.scheme and parts.netloc else "")


def _of_path(item: Node, path: str, server: Server) -> Iterator[Operation]:
    shared = tuple(_parameter(each) for each in item.all_of("parameters"))
    for key in item.table():
        if key.lower() in _METHODS and key not in _METHODS:
            raise item.refusal(f'"{key}" is not a method here', f"write {key.lower()}")
        node = item.get(key) if key in _METHODS else None
        if node is not None:
            yield _operation(node, path, shared, server_of(node) if node.get("servers") else server)


def _operation(node: Node, path: str, shared: tuple[Parameter, ...], server: Server) -> Operation:
    method = node.place.rpartition(".")[2].upper()
    own = {(each.place, each.name): each for each in shared}
    own |= {(each.place, each.name): each for each in map(_parameter, node.all_of("parameters"))}
    body = node.get("requestBody")
    content = body.get("content") if body is not None else None
    made, why = _template(node, method, server.base + path)
    return Operation(
        node.place, method, made, node.text_at("operationId"), tuple(own.values()), _json_body(content),
        _statuses(node), _response_types(node), frozenset(content.table() if content else ()),
        node.table().get("deprecated") is True, why, server.doubt,
    )  # fmt: skip


def _template(node: Node, method: str, path: str) -> tuple[PathTemplate | None, str]:
    if method in _WITHOUT_ROUTE:
        return None, _WITHOUT_ROUTE[method]
    if "?" in path or "#" in path:
        raise node.refusal(f'"{path}" has a query or a fragment', "describe query parameters in parameters")
    try:
        return path_template(method, path), ""
    except Objection as objection:
        return None, objection.message


def _parameter(node: Node) -> Parameter:
    name, place = node.text_at("name"), node.text_at("in")
    if not name or place not in ("path", "query", "header", "cookie"):
        message = f"in is {place!r}, not path, query, header or cookie" if name else "it has no name"
        raise node.refusal(message, "write name and in for each parameter")
    return Parameter(name, place, place == "path" or node.table().get("required") is True)


def _statuses(node: Node) -> frozenset[str]:
    responses = node.get("responses")
    return frozenset(responses.table() if responses is not None else ())


def _response_types(node: Node) -> frozenset[str]:
    responses = node.get("responses")
    found: set[str] = set()
    for status in responses.table() if responses is not None else ():
        response = responses.get(status) if responses is not None and not status.startswith("x-") else None
        content = response.get("content") if response is not None else None
        found.update(content.table() if content is not None else ())
    return frozenset(each.partition(";")[0].strip().lower() for each in found)


def _json_body(content: Node | None) -> Mapping[str, bool]:
    for media_type in content.table() if content is not None else ():
        if media_type.partition(";")[0].strip().lower().endswith(("/json", "+json")):
            form = content.get(media_type) if content is not None else None
            schema = form.get("schema") if form is not None else None
            return _members(schema) if schema is not None else {}
    return {}


def _members(schema: Node) -> Mapping[str, bool]:
    """Return the strings and integers of an object, and whether each is required, in any part of an `allOf`."""
    parts = list(_parts(schema))
    required = {each.text() for part in parts for each in part.all_of("required")}
    return {name: name in required for part in parts for name in _simple_names(part)}


def _parts(schema: Node, depth: int = 0) -> Iterator[Node]:
    """Yield a schema and the parts of its `allOf`; alternatives are not followed. A schema may be `true`."""
    if isinstance(schema.value, dict) and depth < _DEEPEST:
        yield schema
        for part in schema.all_of("allOf"):
            yield from _parts(part, depth + 1)


def _simple_names(schema: Node) -> Iterator[str]:
    properties = schema.get("properties")
    if properties is not None:
        members = ((name, properties.get(name)) for name in properties.table())
        yield from (name for name, member in members if member is not None and _is_simple(member))


def _is_simple(member: Node) -> bool:
    """Tell whether a client sends it as a string or an integer. In 3.1 a type may be a list."""
    if not isinstance(member.value, dict) or member.value.get("readOnly") is True:
        return False
    kind = member.value.get("type")
    kinds = {str(each) for each in kind} if isinstance(kind, list) else {str(kind)}
    return bool(kinds & {"string", "integer"}) and kinds <= {"string", "integer", "null"}
