"""The types of settings, and how each is parsed. Every refusal says what to write instead."""

import json
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from string import ascii_letters, ascii_lowercase, digits
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    WrapSerializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from proxy.config import meant
from proxy.config.addresses import is_host, parse_address, parse_upstream
from proxy.config.objections import Objection
from proxy.config.templates import TEMPLATE_PATTERN, parse_request, parse_template
from proxy.config.units import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    TIMEOUT_PATTERN,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    parse_timeout,
)
from proxy.http.credential_names import names_credential
from proxy.http.headers import NOT_FOR_DEADLINE

T = TypeVar("T")
R = TypeVar("R")

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_OPERATION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}", re.ASCII)
_SUBJECT = re.compile(r"body:(/[^/]*)+|path:[A-Za-z0-9_]+|query:.+|header:[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_NOT_FOR_DEADLINE = frozenset(name.decode() for name in NOT_FOR_DEADLINE)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_STORES = '"memory://", "sqlite:///var/lib/backstay" or "redis://host:6379/0"'
_STORE = re.compile(r"memory://|rediss?://.+|sqlite:///[^?#]+", re.ASCII)


class Section(BaseModel):
    """A table of the configuration: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def objecting(read: Callable[[T], R]) -> Callable[[T], R]:
    """Return `read` with each `Objection` as an error of pydantic, which collects all errors."""

    def validated(value: T) -> R:
        try:
            return read(value)
        except Objection as objection:
            context = {"message": objection.message, "cure": objection.cure}
            raise PydanticCustomError("objection", "{message}", context) from None

    return validated


def _none(value: object) -> object:
    return None if value == "none" else value


def _checked(read: Callable[[str], object]) -> Callable[[str], str]:
    """Return a validator that keeps the text and requires that `read` accepts it."""

    def check(text: str) -> str:
        read(text)
        return text

    return objecting(check)


def _matching(
    pattern: re.Pattern[str], what: str, cure: str, mean: Callable[[str], str | None] = lambda text: None
) -> Callable[[str], str]:
    """Return a validator of a text; `mean` returns what an invalid text most likely means, `None` if unknown."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            instead = mean(text)
            fits = instead is not None and pattern.fullmatch(instead) is not None
            raise Objection(f'"{text}" is not {what}', f'"{instead}"' if fits else cure)
        return text

    return objecting(check)


def _redis(text: str) -> str | None:
    """Return the URL of a Redis from its host and port; `None` for a bare word, which may mean anything."""
    whole = meant.url(text, "redis") if ":" in text and "//" not in text else None
    return None if whole is None else f"{whole}/0"


def _urls(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _proxy(value: object) -> IPv4Network | IPv6Network | Literal["unix"]:
    if value == "unix":
        return "unix"
    try:
        return ip_network(str(value), strict=False)
    except ValueError:
        cure = '"10.0.0.0/8" or "192.0.2.1", or "unix" for clients of a Unix socket'
        raise Objection(f'"{value}" is not a network', cure) from None


def _mode(text: str) -> str:
    if not _MODE.fullmatch(text):
        raise Objection(f'"{text}" is not the mode of a file', '"0660" or "0600"')
    return text


def _jsonable(value: object) -> object:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise Objection(
            "it holds a date or a number that JSON cannot represent", "a document that has it as a string"
        ) from None
    return value


def _host(text: str) -> str:
    if not is_host(text):
        raise Objection(f'"{text}" is not a host', '"preserve", "upstream" or a name')
    return text


def _name(text: str) -> str:
    if not is_host(text) or ":" in text:
        raise Objection(f'"{text}" is not a name', '"backstay.internal", without a port')
    return text


def _recordable(example: str) -> Callable[[str], str]:
    """Return a check that refuses names of credentials; `example` is a name that is accepted."""

    def checked(name: str) -> str:
        if names_credential(name):
            raise Objection(f'"{name}" carries a credential, which is never recorded', f'"{example}", or remove it')
        return name

    return checked


def _identifier(subject: str) -> str:
    """Refuse a place whose name says that it has a credential: the subject is recorded and stored unchanged."""
    name = subject.replace("/", ":").rpartition(":")[2]
    if names_credential(name):
        message = f'"{subject}" carries a credential, and a subject is recorded'
        raise Objection(message, '"body:/reportId" or another identifier, and principal = [...] to tell callers apart')
    return subject


def _not_taken(name: str) -> str:
    if name.lower() in _NOT_FOR_DEADLINE:
        raise Objection(f'"{name}" already has another meaning', '"X-Request-Deadline-Ms", or a name of your own')
    return name


def _as_written(kind: str, pattern: str, *types: str) -> WithJsonSchema:
    """Return the JSON Schema of a value whose written form differs from its type. `kind` names it in the reference."""
    return WithJsonSchema({"type": list(types) if types else "string", "format": kind, "pattern": pattern})


def _with_pattern(pattern: str) -> WithJsonSchema:
    """Return the JSON Schema of a text, with what an editor can check of it."""
    return WithJsonSchema({"type": "string", "pattern": pattern})


class _NoneWord:
    """Declare in the JSON Schema that the word "none" switches an optional setting off."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        present = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
        return {"anyOf": [*present, {"const": "none"}]}


def _written(format_: Callable[[T], str]) -> PlainSerializer:
    """Dump a value in the form in which the configuration has it."""
    return PlainSerializer(format_, return_type=str)


def _or_none(value: object, dump: SerializerFunctionWrapHandler) -> object:
    return "none" if value is None else dump(value)


# TOML has no null: with the word "none" a route can switch off a setting of [defaults].
OrNone = Annotated[T | None, BeforeValidator(_none), _NoneWord(), WrapSerializer(_or_none)]
Many = Annotated[tuple[T, ...], BeforeValidator(_tuple)]
Duration = Annotated[
    float,
    BeforeValidator(objecting(parse_duration)),
    _written(format_duration),
    _as_written("duration", DURATION_PATTERN),
]
Timeout = Annotated[
    float,
    BeforeValidator(objecting(parse_timeout)),
    _written(format_duration),
    _as_written("timeout", TIMEOUT_PATTERN),
]
Size = Annotated[
    int,
    BeforeValidator(objecting(parse_size)),
    _written(format_size),
    _as_written("size", SIZE_PATTERN, "string", "integer"),
]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Status = Annotated[int, Field(ge=200, le=599)]
Address = Annotated[str, AfterValidator(_checked(parse_address))]
UpstreamUrl = Annotated[str, AfterValidator(_checked(parse_upstream))]
UpstreamUrls = Annotated[
    tuple[UpstreamUrl, ...],
    Field(min_length=1),
    BeforeValidator(_tuple),
    BeforeValidator(_urls),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1, "format": "URL or list"}),
]
StoreUrl = Annotated[
    str,
    AfterValidator(_matching(_STORE, "the URL of a store", _STORES, _redis)),
]
TrustedProxy = Annotated[
    IPv4Network | IPv6Network | Literal["unix"],
    PlainValidator(objecting(_proxy)),
    WithJsonSchema({"type": "string", "format": "network"}),
]
FileMode = Annotated[str, AfterValidator(objecting(_mode))]
Label = Annotated[
    str,
    AfterValidator(
        _matching(
            _LABEL,
            "a name of letters, digits, _ and -, 64 at most",
            '"sessions"',
            lambda text: meant.name(text, ascii_letters + digits + "_-"),
        )
    ),
]
FieldName = Annotated[str, AfterValidator(_matching(_TOKEN, "a header field's name", '"X-Request-Deadline-Ms"'))]
OwnFieldName = Annotated[FieldName, AfterValidator(objecting(_not_taken))]
RecordedHeader = Annotated[FieldName, AfterValidator(objecting(_recordable("X-View")))]
RecordedParameter = Annotated[str, AfterValidator(objecting(_recordable("page")))]
Operation = Annotated[
    str,
    AfterValidator(
        _matching(
            _OPERATION,
            "a name of a-z, 0-9 and -, 64 at most",
            '"session-create"',
            lambda text: meant.name(text.lower(), ascii_lowercase + digits + "-"),
        )
    ),
    _with_pattern(f"^{_OPERATION.pattern}$"),
]
Subject = Annotated[
    str,
    AfterValidator(
        _matching(
            _SUBJECT,
            "a place",
            '"body:/reportId", "path:report_id", "query:reportId" or "header:X-Report-Id"',
            meant.subject,
        )
    ),
    AfterValidator(objecting(_identifier)),
    _with_pattern(f"^({_SUBJECT.pattern})$"),
]
Match = Annotated[str, AfterValidator(_checked(parse_template)), _with_pattern(TEMPLATE_PATTERN)]
OwnRequest = Annotated[str, AfterValidator(_checked(parse_request))]
OwnName = Annotated[str, AfterValidator(objecting(_name))]
Host = Annotated[str, AfterValidator(objecting(_host))]
JsonBody = Annotated[object, BeforeValidator(objecting(_jsonable)), WithJsonSchema({"title": "document"})]
