"""Add a request id, which mitmproxy does not do itself."""

from typing import Any
from uuid import uuid4


def request(flow: Any) -> None:
    """Give the request its id before it goes upstream."""
    flow.request.headers["X-Request-ID"] = str(uuid4())
