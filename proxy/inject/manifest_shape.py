"""The shape of a manifest that `inject` and `uninject` require: tables, lists, numbers and names."""

from collections.abc import Iterable, Mapping
from typing import Any

Shape = Mapping[str, Any] | list[Any] | type[int] | type[str]  # the fields of a table; the items of a list; a scalar
NEEDED = "!"  # suffix of a required field; any other field may be missing or null

_TABLE: Shape = {}
_METADATA: Shape = {"annotations": _TABLE, "labels": _TABLE}
_CONTAINERS: Shape = [{"name!": str, "ports": [{"containerPort!": int}], "lifecycle": _TABLE}]
_POD: Mapping[str, Any] = {
    "metadata": _METADATA,
    "spec": {
        "containers": _CONTAINERS,
        "initContainers": _CONTAINERS,
        "volumes": [_TABLE],
        "terminationGracePeriodSeconds": int,
    },
}
POD: Shape = _POD
NAMED: Shape = {"metadata": _METADATA}
MAKES_PODS: Shape = {"metadata": _METADATA, "spec": {"template": _POD}}
SERVICE: Shape = {"metadata": _METADATA, "spec": {"selector": _TABLE, "ports": [_TABLE]}}


def misfit(value: Any, shape: Shape, path: str = "") -> str:
    """Return which part has another shape, and the required one; "" if all parts fit."""
    parts: Iterable[tuple[Any, Shape, str]] = ()
    if isinstance(shape, list):
        fits, wanted = isinstance(value, list), "a list"
        parts = ((item, shape[0], f"{path}[{at}]") for at, item in enumerate(value if fits else ()))
    elif isinstance(shape, Mapping):
        fits, wanted = isinstance(value, dict), "a table"
        parts = (
            (value.get(name.rstrip(NEEDED)), inner, f"{path}.{name.rstrip(NEEDED)}".lstrip("."))
            for name, inner in (shape.items() if fits else ())
            if name.endswith(NEEDED) or value.get(name) is not None
        )
    else:
        fits, wanted = isinstance(value, shape) and value is not True and value is not False, _SCALARS[shape]
    if not fits:
        return f"{path or 'it'} is {_named(value)}, and must be {wanted}"
    return next((found for part in parts if (found := misfit(*part))), "")


_SCALARS = {int: "a whole number", str: "a text"}


def _named(value: Any) -> str:
    match value:
        case dict():
            return "a table"
        case list():
            return "a list"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case _:
            return "missing or null" if value is None else "a text"
