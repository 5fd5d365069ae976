"""The requests of one user of a durable store."""

from tests.e2e.raw import request

ADA = {"Authorization": "Bearer ada-0123456789"}
LOAD = request("GET", "/api/sessions/r-1", None, **ADA)
UPDATE = request("PATCH", "/api/sessions/r-1", b"{}", **ADA)


def create(report: str, key: str = "k-1") -> bytes:
    """Return a create with a key of the client's own."""
    fields = {"Content_Type": "application/json", "Idempotency_Key": key, **ADA}
    return request("POST", "/api/sessions", b'{"reportId":"%b"}' % report.encode(), **fields)
