"""Routes for the operations of an OpenAPI document. What the document does not state is marked as a guess."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from proxy.http.credential_names import names_credential
from proxy.http.message import SAFE_METHODS
from proxy.init.drafts import GUESS, Draft, Drafts, DraftSetting, NameList, kebab, with_timeout, without_repetitions
from proxy.init.operations import Operation, Parameter
from proxy.init.paths import PathTemplate
from proxy.init.secret_parameters import may_be_credential

# Names of what a session backend keeps; a parameter with such a name is most likely the business key.
_SESSIONS = frozenset(
    {"session", "conversation", "chat", "thread", "report", "dialog", "dialogue", "valuation", "room"}
)
_ID = re.compile(r"(?:ids?|uuid|guid|key|ref|number)\Z")
_ODD = re.compile(r"[^a-z0-9]")
_UNSAID = ("", "name", "slug")  # names of parameters that do not say what they name
_PLAIN = re.compile(r"[\w.-]+", re.ASCII)
_LOGOUT = frozenset({"logout", "log-out", "signout", "sign-out", "logoff"})
_SLOW_READS = ("export", "download")
_SLOW_WRITES = (
    "message", "completion", "generate", "export", "import", "upload", "report", "analy", "summar", "transcri", "ask",
    "reply", "answer", "turn",
)  # fmt: skip
_SLOW = "30s"
_STREAM = "text/event-stream"
_KEY_HEADER = "idempotency-key"
_HALVES = {"status": "status", "history": "history", "messages": "history"}


class _Subject(NamedTuple):
    """The place of a business key, such as `path:session_id`, the reason, and the kind of thing that it names."""

    place: str
    why: str
    entity: str
    is_created: bool = False  # by the operation: the client chooses the key of a new thing
    names_item: bool = False  # as the last parameter in the path of one thing does


class _Items(NamedTuple):
    """The path of one item of a collection, and the parameter that names the item."""

    template: PathTemplate
    name: str


class _Name(NamedTuple):
    """A name in a template, the last literal before it, and whether it may be that of a credential."""

    name: str
    literal: str
    suspect: bool


def guessed(operations: Iterable[Operation]) -> Drafts:
    """Return a route for each operation that can have one."""
    found, names = list(operations), NameList()
    items = dict(_items(found))
    drafts = [_draft(each, each.path, names, items) for each in found if each.path is not None]
    missing = [f"{each.place}: {each.left_out}" for each in found if each.path is None]
    return without_repetitions(drafts, missing)


def _draft(operation: Operation, path: PathTemplate, names: NameList, items: Mapping[str, _Items]) -> Draft:
    deprecated = ("the document calls it deprecated",) if operation.deprecated else ()
    notes = (f"from {operation.place}", *deprecated, *path.notes)
    settings = (*_subject_settings(operation, path, items), *_other_settings(operation, path))
    made = "" if operation.name else "made from the path"
    doubt = f"{GUESS}{operation.doubt}" if operation.doubt else ""
    return with_timeout(Draft(names.fresh(_named(operation)), path.template, settings, notes, made, doubt))


def _named(operation: Operation) -> str:
    """Return the operationId, without the path and method that FastAPI appends; method and path without one."""
    path = operation.place.partition(".")[2].rpartition(".")[0]
    if not operation.name:
        return f"{operation.method} {path}"
    suffix = "-".join(["", *filter(None, [kebab(path)]), operation.method.lower()])
    return kebab(operation.name).removesuffix(suffix) or operation.name


def _items(operations: Iterable[Operation]) -> Iterator[tuple[str, _Items]]:
    """Yield the path of each collection whose items can be read one by one, with the path of an item."""
    for each in operations:
        if each.method == "GET" and each.path is not None:
            collection, _, last = each.path.template.path.rstrip("/").rpartition("/")
            if collection and last.startswith("{") and not last.endswith("...}"):
                yield collection, _Items(each.path, last[1:-1])


def _subject_settings(operation: Operation, path: PathTemplate, items: Mapping[str, _Items]) -> Iterator[DraftSetting]:
    in_path = _in_path(path)
    if operation.method == "POST" and (in_path is None or in_path.entity not in _SESSIONS):
        item = items.get(path.template.path.rstrip("/"))
        found = _in_body(operation, path, item)
        if found is not None:
            yield from _create(operation, found, item, path)
            return
    subject = in_path or _in_parameters(operation.parameters)
    if subject is not None:
        yield DraftSetting("subject", subject.place, f"{GUESS}{subject.why}")
    elif suspect := next((each.name for each in _names(path) if each.suspect), None):
        be = "is" if names_credential(suspect) else "may be"
        note = f"off: it {be} a credential, and a subject is recorded"
        yield DraftSetting("subject", f"path:{suspect}", note, off=True)
    if subject is not None and subject is in_path and _creates_by_put(operation, path):
        yield DraftSetting("coalesce", "subject", f"{GUESS}PUT creates it, so equal ones of one caller share one call")


def _create(operation: Operation, found: _Subject, item: _Items | None, path: PathTemplate) -> Iterator[DraftSetting]:
    """Yield the settings of a POST whose body names a business key. Only a create shares a call."""
    yield DraftSetting("subject", found.place, f"{GUESS}{found.why}")
    if not found.is_created:
        return
    yield DraftSetting("coalesce", "subject", f"{GUESS}equal creates of one caller at the same time share one call")
    load = _load(item, path)
    if load is not None and found.names_item:
        conflict = "409" in operation.statuses
        note = "on 409, load what exists" if conflict else "if it answers 409 for one that exists"
        yield DraftSetting("on_conflict", load, f"{GUESS if conflict else ''}{note}", off=not conflict)


def _load(item: _Items | None, path: PathTemplate) -> str | None:
    """Return the request that loads what a create made, if only the subject is new in its path."""
    if item is None or not set(item.template.template.names) - {item.name} <= set(path.template.names):
        return None
    return f"GET {item.template.template.path.replace(f'{{{item.name}}}', '{subject}')}"


def _creates_by_put(operation: Operation, path: PathTemplate) -> bool:
    return operation.method == "PUT" and "201" in operation.statuses and path.segments[-1].startswith("{")


def _in_path(path: PathTemplate) -> _Subject | None:
    """Return the parameter of the path that names a session, else its first parameter."""
    found = list(_path_subjects(path))
    sessions = (each for each in found if each.entity in _SESSIONS)
    return next(sessions, found[0] if found else None)


def _path_subjects(path: PathTemplate) -> Iterator[_Subject]:
    for each in _names(path):
        if not each.suspect:
            entity = _entity(path.names.get(each.name, each.name))
            entity = _singular(kebab(each.literal)) if entity in _UNSAID else entity
            yield _Subject(f"path:{each.name}", f"the path names one {entity or 'thing'}", entity)


def _names(path: PathTemplate) -> Iterator[_Name]:
    """Yield each name in a template, but not that of a rest."""
    literal = before = ""
    for segment in path.segments:
        if segment.startswith("{") and not segment.endswith("...}"):
            name = segment[1:-1]
            yield _Name(name, literal, may_be_credential(path.names.get(name, name), before))
        before = "" if segment.startswith("{") else segment
        literal = before or literal


def _in_parameters(parameters: Iterable[Parameter]) -> _Subject | None:
    """Return a required query parameter or header field that names a session."""
    for each in parameters:
        entity = _entity(each.name.removeprefix("X-").removeprefix("x-"))
        usable = each.required and each.place in ("query", "header") and _is_usable(each.name)
        if usable and entity in _SESSIONS:
            return _Subject(f"{each.place}:{each.name}", f"{each.name} names one {entity}", entity)
    return None


def _in_body(operation: Operation, path: PathTemplate, item: _Items | None) -> _Subject | None:
    """Return the required member of a body that names what is created, or the session that it belongs to."""
    members = [name for name, required in operation.body.items() if required and _is_usable(name)]
    collection = _singular(_last_word(path)) if not path.template.path.endswith("}") else ""
    if item is not None or collection in _SESSIONS:
        item_name = _plain(item.template.names.get(item.name, item.name)) if item is not None else collection
        wanted = (
            lambda name: _plain(name) == item_name,
            lambda name: _ID.search(_plain(name)) is not None and _entity(name) == collection,
            lambda name: _plain(name) in ("id", "uuid"),
        )
        for fits in wanted:
            for name in filter(fits, members):
                return _body_subject(name, "the client chooses", is_created=True, names_item=True)
    of_session = (name for name in members if _ID.search(_plain(name)) and _entity(name) in _SESSIONS)
    own = next(of_session, None)
    if own is None:
        return None
    # 409 says that what exists is found by this member. Without it, the backend may make a new thing for each request.
    is_created = collection in _SESSIONS and "409" in operation.statuses
    found = _body_subject(own, "the body names", is_created=is_created)
    if item is None or is_created:
        return found
    return found._replace(why=f"{found.why}; GET of one {collection} has another subject, {item.name}")


def _body_subject(name: str, why: str, *, is_created: bool, names_item: bool = False) -> _Subject:
    return _Subject(f"body:/{name}", f"{why} {name}", _entity(name), is_created, names_item)


def _other_settings(operation: Operation, path: PathTemplate) -> Iterator[DraftSetting]:
    last = _last_word(path)
    unsafe = operation.method not in SAFE_METHODS
    if slow := _slow(operation, last, unsafe=unsafe):
        yield DraftSetting("total_timeout", _SLOW, f"{GUESS}{slow}; the default is 2s")
    if unsafe and any(each.place == "header" and each.name.lower() == _KEY_HEADER for each in operation.parameters):
        yield DraftSetting("idempotency", "inject", f"{GUESS}the backend takes Idempotency-Key")
        yield DraftSetting(
            "upstream_honours_idempotency", True, "then a POST that was sent may be sent again", off=True
        )
    if unsafe and last in _LOGOUT:
        yield DraftSetting("ends_session", True, f"{GUESS}it ends what is cached for the caller")
    if operation.method == "GET" and last in _HALVES:
        yield DraftSetting("restoration", _HALVES[last], "if a page restores its session with it", off=True)


def _slow(operation: Operation, last: str, *, unsafe: bool) -> str:
    """Return why an operation may take longer than two seconds to answer, "" if nothing says so."""
    if _STREAM in operation.media_types:
        return "a stream may begin late"
    if any(each.startswith("multipart/") for each in operation.takes):
        return "an upload may take long to process"
    said = [*last.split("-"), *kebab(operation.name).split("-")]
    slow = _SLOW_WRITES if unsafe else _SLOW_READS
    word = next((word for word in said if word.startswith(slow)), "")
    return f'"{word}" may take long' if word else ""


def _is_usable(name: str) -> bool:
    """Tell whether a subject may have this name: it is plain, and not that of a credential."""
    return _PLAIN.fullmatch(name) is not None and not may_be_credential(name)


def _last_word(path: PathTemplate) -> str:
    """Return the last segment that is not a name, with hyphens."""
    return next((kebab(each) for each in reversed(path.segments) if each and not each.startswith("{")), "")


def _entity(name: str) -> str:
    """Return `session` for `sessionId`, `session_id` and `SESSION-UUID`; "" for a bare `id`."""
    return _singular(_ID.sub("", _plain(name)))


def _plain(name: str) -> str:
    return _ODD.sub("", name.lower())


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
