"""The endpoints of the control plane as data: paths, parameters, responses and access."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_PATTERN = re.compile(r":[^{:}]++\}")
_NOTHING: Mapping[str, str] = MappingProxyType({})
ACTIONS = ("reset", "open", "close", "auto")


class AdminEndpoint(NamedTuple):
    """One method of one path. `guarded`: only the bearer of the admin token may call it."""

    method: str
    path: str
    about: str
    answers: Mapping[int, str]
    guarded: bool = False
    parameters: Mapping[str, str] = _NOTHING

    @property
    def place(self) -> str:
        """Return the path without patterns: `/switches/{name}/{position}`."""
        return _PATTERN.sub("}", self.path)


_TIME = "ISO 8601, in UTC by default."
_SUBJECT = "The `subject` of its records, percent-encoded once"
ENDPOINTS = (
    AdminEndpoint("GET", "/healthz", "Check that the process is alive.", {200: "The event loop runs."}),
    AdminEndpoint(
        "GET",
        "/readyz",
        "Check whether the sidecar accepts requests. A failing backend does not make it unready.",
        {200: "It accepts requests.", 503: "It is starting or draining."},
    ),
    AdminEndpoint(
        "GET",
        "/metrics",
        "Give all metrics, in Prometheus' text format or in OpenMetrics, according to `Accept`.",
        {200: "The metrics."},
    ),
    AdminEndpoint(
        "GET",
        "/stats",
        "Give the session statistics since the start: success rate, mean times in milliseconds, errors, savings.",
        {200: "JSON object; a figure that nothing was counted for is `null`."},
    ),
    AdminEndpoint(
        "GET",
        "/circuits",
        "List the circuit breakers: state, failures, time until the next probe in seconds, mode.",
        {200: "JSON list."},
    ),
    AdminEndpoint("GET", "/switches", "List the switches and whether each is on.", {200: "JSON object."}),
    AdminEndpoint(
        "POST",
        f"/circuits/{{name}}/{{action:{'|'.join(ACTIONS)}}}",
        "Override a circuit: `open` or `close` it until `auto` gives it back; `reset` closes it and forgets failures.",
        {200: "The circuit as it is now.", 404: "There is no circuit of this name."},
        guarded=True,
        parameters={"name": "Name of the circuit.", "action": f"What to do: {', '.join(ACTIONS)}."},
    ),
    AdminEndpoint(
        "POST",
        "/switches/{name}/{position:on|off}",
        "Switch retries or coalescing off and on, until the next restart.",
        {200: "All switches as they are now.", 404: "There is no switch of this name."},
        guarded=True,
        parameters={"name": "`retries` or `coalescing`.", "position": "`on` or `off`."},
    ),
    AdminEndpoint("POST", "/drain", "Begin to drain, as SIGTERM does.", {202: "The drain has begun."}, guarded=True),
    AdminEndpoint(
        "DELETE",
        "/kept",
        "Erase the cached responses, the stored idempotent responses and the restorations of a subject.",
        {
            200: "All are erased. `cached`, `idempotent` and `restorations` are the numbers of erased entries.",
            400: "No subject was given.",
            503: "Redis could not be reached: only what this process holds is erased. Repeat the call.",
        },
        guarded=True,
        parameters={"subject": f"{_SUBJECT} (`curl -X DELETE -G --data-urlencode subject=...`). Required."},
    ),
    AdminEndpoint(
        "GET",
        "/audit",
        "Give the newest audit records that pass every filter, oldest first.",
        {
            200: "JSON list or CSV. The records have no `v`, `seq`, `prev` and `hash`, which only the trail has.",
            400: "A parameter or its value does not exist, or a time is none.",
        },
        guarded=True,
        parameters={
            "report_id": "Only records with this subject.",
            "operation": "Only records of this operation.",
            "correlation_id": "Only records with this correlation id.",
            "failures": "`true`: only requests that failed, and circuits that opened or became half-open.",
            "since": f"Only records from this time on: {_TIME}",
            "until": f"Only records before this time: {_TIME}",
            "format": "`json` or `csv`; the default is `audit.export_format`.",
            "limit": "How many of the newest; 0 (default) is all.",
        },
    ),
    AdminEndpoint(
        "GET",
        "/config",
        "Give the settings in effect, each with its origin. Secrets are shown as `***`.",
        {
            200: "JSON object. `settings` is a list of objects: `key`, `value` in the form of the file, `origin` "
            "(`file`, `environment`, `seed variable`, `option` or `default`), and `where`: the line, the variable or "
            "the option."
        },
        guarded=True,
    ),
    AdminEndpoint(
        "GET",
        "/restorations/{subject:.+}",
        "Give the session restorations of a subject, one for each of its users.",
        {200: "JSON object; without any, its state is `NotRestored`."},
        guarded=True,
        parameters={"subject": f"{_SUBJECT}."},
    ),
)
STATUS_PAGE = (
    AdminEndpoint("GET", "/", "Show the live status page to a browser.", {200: "HTML."}),
    AdminEndpoint(
        "GET",
        "/events",
        "Send the figures of the status page every second.",
        {200: "`text/event-stream`.", 503: "`admin.max_viewers` are watching."},
    ),
)
