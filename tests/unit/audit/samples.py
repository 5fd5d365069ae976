"""Sample records and trails for the tests."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from proxy.audit.chain import Chain
from proxy.audit.files import TrailLine


def fields(number: int = 1, **changes: object) -> dict[str, object]:
    """Return a typical record's fields, a second later and a millisecond slower for each `number`."""
    return {
        "ts": f"2026-11-23T15:37:{number % 60:02d}.123456Z",
        "id": f"{number:032x}",
        "correlation_id": f"session-create-a7f3e2c1-{number}",
        "operation": "session-create",
        "subject": "val_123",
        "method": "POST",
        "path": "/api/sessions",
        "status": 201,
        "success": True,
        "outcome": "answered",
        "duration_ms": 245.125 + number,
        "upstream": "sessions",
        "attempts": [{"n": 1, "status": 201, "sent": True, "ms": 240.5, "waited_ms": 0, "why": "first"}],
        "flight": {"role": "led", "id": "f-1", "followers": 3},
        "idempotency": {"source": "minted", "key_hash": "0123456789abcdef", "replayed": False},
        "circuit": "CLOSED",
        "target": "ideal",
        "bytes_in": 120,
        "bytes_out": 512,
        "metadata": {"view": "manual"},
    } | changes


def chained(count: int, chain: Chain | None = None) -> list[bytes]:
    """Return the lines of a whole trail, or of its next `count` records."""
    chain = chain or Chain()
    return [chain.append(fields(number)) for number in range(1, count + 1)]


def as_lines(data: bytes) -> Iterator[TrailLine]:
    """Yield the lines that a file with these bytes would have."""
    for number, line in enumerate(BytesIO(data), start=1):
        yield TrailLine(Path("audit.jsonl"), number, line)
