"""Generate the chart's schema and its README's table: `python -m tests.deploy.generate`."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from ruamel.yaml import YAML

from proxy.config.field_types import (
    Duration,
    Section,
    Size,
    Timeout,
)
from proxy.config.settings import Settings

Schema = dict[str, Any]

CHART = Path(__file__).parents[2] / "helm" / "backstay"
TABLE = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end of values -->)", re.DOTALL)

# The chart says these itself; the token would stand readable in a ConfigMap.
CHARTS_OWN = frozenset(
    {
        "listen.address", "listen.drain_delay", "listen.drain_timeout", "audit.path", "store.url", "store.key_file",
        "admin.address", "admin.socket_mode", "admin.token", "admin.token_file",
    }
)  # fmt: skip
_DURATION = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)$"}
_SIZE = {"type": ["integer", "string"], "pattern": r"^[0-9]+(\.[0-9]+)?\s*(B|KiB|MiB|GiB|KB|MB|GB)?$"}
_UNITS = {get_args(kind)[1]: made for kind, made in ((Duration, _DURATION), (Timeout, _DURATION), (Size, _SIZE))}

_PLAIN: Mapping[Any, Schema] = {bool: {"type": "boolean"}, int: {"type": "integer"}}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_NAME = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", "maxLength": 253}
_COUNT = {"type": "integer", "minimum": 1}
_OPEN = {"type": "object"}
_PULL = {"enum": ["IfNotPresent", "Always", "Never"]}
_ENV = {
    "type": "array",
    "items": {"type": "object", "required": ["name"], "properties": {"value": {"type": "string"}}},
}
# What the default alone does not tell.
RULES: Mapping[str, Schema] = {
    "fullnameOverride": _NAME,
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "podLabels": {"type": "object", "additionalProperties": {"type": "string"}},
    "podAnnotations": {"type": "object", "additionalProperties": {"type": "string"}},
    "image.repository": {"type": "string", "minLength": 1},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": _PULL,
    "backend.imagePullPolicy": _PULL,
    "backend.port": _PORT,
    "backend.env": _ENV,
    "backend.securityContext": _OPEN,
    "backend.preStop": {"enum": ["auto", "sleep", "exec"]},
    "sidecar.bind": {"enum": ["0.0.0.0", "[::]"]},
    "sidecar.port": _PORT,
    "sidecar.adminPort": _PORT,
    "sidecar.resources": _OPEN,
    "sidecar.env": _ENV,
    "sidecar.adminToken.secretName": _NAME,
    "audit.to": {"enum": ["emptyDir", "persistentVolumeClaim", "stdout"]},
    "audit.sizeMiB": {"type": "integer", "minimum": 16},
    "audit.claimName": _NAME,
    "store.url": {"type": "string", "pattern": "^(memory://|rediss?://[^@]+)$"},
    "store.secretName": _NAME,
    "store.durable.to": {"enum": ["none", "emptyDir", "claim"]},
    "store.durable.sizeMiB": {"type": "integer", "minimum": 16},
    "store.durable.storageClassName": _NAME,
    "store.durable.secretName": _NAME,
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": _PORT,
    "service.annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    "replicas": {"type": "integer", "minimum": 0},
    "terminationGracePeriodSeconds": {"type": "integer", "minimum": 8, "maximum": 3600},
    "podSecurityContext": _OPEN,
    "topologySpread": {"enum": ["soft", "hard", "none"]},
    "monitoring.scrape": {"enum": ["annotations", "podMonitor", "serviceMonitor", "none"]},
    "monitoring.interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
    "monitoring.labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "monitoring.dashboardLabels": {"type": "object", "additionalProperties": {"type": "string"}},
    "networkPolicy.monitoringNamespace": _NAME,
    "networkPolicy.probeNamespaces": {"type": "array", "items": _NAME},
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]?%$"},
    "autoscaling.minReplicas": _COUNT,
    "autoscaling.maxReplicas": _COUNT,
    "autoscaling.cpuPercent": _COUNT,
}  # fmt: skip


def schema() -> Schema:
    """Return the schema of values.yaml: closed to whatever does not stand there."""
    values = YAML(typ="safe").load(CHART / "values.yaml")
    made = _of_value(values, "")
    made["properties"]["config"] = _of_section(Settings, "")
    made["properties"]["global"] = _OPEN  # Helm's own, in a chart within a chart
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart backstay", **made}


def _of_value(value: object, path: str) -> Schema:
    if path in RULES:
        return RULES[path]
    match value:
        case dict() if value:
            below = {key: _of_value(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()}
            return {"type": "object", "additionalProperties": False, "properties": below}
        case dict():
            return _OPEN
        case list():
            return {"type": "array"}
        case bool():
            return {"type": "boolean"}
        case _:
            return {"type": "string"}


def _of_section(section: type[Section], path: str) -> Schema:
    below = {}
    for name, field in section.model_fields.items():
        key = f"{path}.{name}".lstrip(".")
        if key not in CHARTS_OWN:
            below[name] = _of_type(field.annotation, tuple(field.metadata), key)
    return {"type": "object", "additionalProperties": False, "properties": below}


def _of_type(kind: Any, metadata: tuple[Any, ...], path: str) -> Schema:
    """Return what a setting of this type can be; what only its validator knows stays open: `backstay check` says it."""
    if known := next((_UNITS[item] for item in metadata if item in _UNITS), None):
        return known
    if isinstance(kind, type) and issubclass(kind, Section):
        return _of_section(kind, path)
    arguments = get_args(kind)
    match get_origin(kind):
        case None:
            return dict(_PLAIN.get(kind, {}))
        case origin if origin is Annotated:
            return _of_type(arguments[0], arguments[1:], path)
        case origin if origin is Literal:
            return {"enum": list(arguments)}
        case origin if origin is Union or origin is UnionType:
            one = next(item for item in arguments if item is not NoneType)
            made = _of_type(one, (), path)
            return {"anyOf": [made, {"const": "none"}]} if made else {}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": _of_type(arguments[1], (), path)}
        case origin if origin is tuple and path == "routes":
            return {"type": "array", "items": _of_type(arguments[0], (), path)}
    return {}


class Row(NamedTuple):
    """One value as the README shows it."""

    name: str
    default: str
    description: str

    def __str__(self) -> str:
        return f"| `{self.name}` | `{self.default}` | {self.description.replace('|', chr(92) + '|')} |"


def rows() -> Iterator[Row]:
    """Yield each value with the comment above it; a comment stands for the uncommented values below it, too."""
    values = YAML(typ="safe").load(CHART / "values.yaml")
    parents: list[str] = []
    comment, said_above = "", False
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()[1:]:
        if entry := re.fullmatch(r"( *)([A-Za-z]+):.*", line):
            parents = [*parents[: len(entry[1]) // 2], entry[2]]
            value = _at(values, parents)
            if comment and (said_above or not (isinstance(value, dict) and value)):
                yield Row(".".join(parents), json.dumps(value, ensure_ascii=False), comment)
        is_comment = line.lstrip().startswith("# ")
        if is_comment or not line:
            comment = line.strip()[2:] if is_comment else ""
        said_above = is_comment


def _at(values: Any, path: list[str]) -> Any:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return None
        values = values[key]
    return values


def table() -> str:
    """Return the README's table of values."""
    # Below a default that is a table of its own kind (a security context), keys are no values of the chart.
    named = [row for row in rows() if not any(row.name.startswith(f"{open_}.") for open_ in RULES)]
    return "\n".join(["", "| value | default | what it is |", "| --- | --- | --- |", *map(str, named), "", ""])


def readme() -> str:
    """Return the chart's README with its table renewed."""
    return TABLE.sub(lambda _: table(), (CHART / "README.md").read_text(encoding="utf-8"))


def dumped() -> str:
    """Return values.schema.json."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(dumped(), encoding="utf-8")
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
