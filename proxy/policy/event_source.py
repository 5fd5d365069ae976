"""Recognise an EventSource, which ends for ever after any status but 200, and connects again after a network error.

So the sidecar closes the connection where its own response to it would be a 5xx (HTML Standard, section 9.2.3).
"""

from typing import Final

from proxy.http.fields import Fields
from proxy.http.message import Request

_EVENT_STREAM: Final = b"text/event-stream"
_SERVER_ERROR: Final = 500


def is_event_source(method: str, fields: Fields) -> bool:
    """Tell whether a request reads events and nothing else.

    A client that accepts another media type too can read a problem document or a fallback, and gets it.
    """
    accept = fields.get(b"accept")
    if accept is None or method != "GET" or accept.find(b",") >= 0:
        return False
    return accept.partition(b";")[0].strip().lower() == _EVENT_STREAM


def hangs_up(request: Request, status: int) -> bool:
    """Tell whether the connection is closed instead of a response of the sidecar's own with this status."""
    return status >= _SERVER_ERROR and is_event_source(request.method, request.fields)
