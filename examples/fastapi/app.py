"""A session backend: sessions with a conversation, live events, a chat over WebSocket, and uploads.

Everything is in SQLite, so that a restart loses nothing. Run it with `uvicorn app:app --port 8000`.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import uuid4

from fastapi import Cookie, FastAPI, Header, HTTPException, Request, WebSocket
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel

PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (report_id TEXT PRIMARY KEY, visitor TEXT);
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, report_id TEXT, text TEXT, key TEXT UNIQUE);
"""
HEARTBEAT_S = 15  # shorter than the sidecar's idle_timeout

app = FastAPI()
db = sqlite3.connect(os.environ.get("DATABASE", "sessions.db"), isolation_level=None)
db.row_factory = sqlite3.Row
db.executescript(SCHEMA)
changed = asyncio.Condition()  # notified after each new message

Visitor = Annotated[str, Cookie()]


class Session(BaseModel):
    reportId: str  # noqa: N815 - the frontend's spelling


class Message(BaseModel):
    text: str


class StoredMessage(Message):
    id: int


@app.get("/")
async def page(visitor: Annotated[str | None, Cookie()] = None) -> HTMLResponse:
    response = HTMLResponse(PAGE)
    if visitor is None:
        response.set_cookie("visitor", uuid4().hex, httponly=True, samesite="lax")
    return response


@app.post("/api/sessions", status_code=201)
async def create(session: Session, visitor: Visitor) -> Session:
    try:
        db.execute("INSERT INTO sessions VALUES (?, ?)", (session.reportId, visitor))
    except sqlite3.IntegrityError:
        raise HTTPException(409, "this session exists") from None
    return session


@app.get("/api/sessions/{report_id}")
async def load(report_id: str, visitor: Visitor) -> Session:
    if not db.execute("SELECT 1 FROM sessions WHERE (report_id, visitor) = (?, ?)", (report_id, visitor)).fetchone():
        raise HTTPException(404, "no such session")
    return Session(reportId=report_id)


@app.get("/api/sessions/{report_id}/messages")
async def conversation(report_id: str, visitor: Visitor) -> list[StoredMessage]:
    await load(report_id, visitor)
    return messages(report_id)


@app.post("/api/sessions/{report_id}/messages", status_code=201)
async def say(
    report_id: str, message: Message, visitor: Visitor, idempotency_key: Annotated[str | None, Header()] = None
) -> Message:
    await load(report_id, visitor)
    await add(report_id, message.text, idempotency_key)
    return message


@app.get("/api/sessions/{report_id}/events")
async def events(report_id: str, visitor: Visitor, last_event_id: Annotated[int, Header()] = 0) -> StreamingResponse:
    await load(report_id, visitor)
    return StreamingResponse(follow(report_id, last_event_id), media_type="text/event-stream")


@app.websocket("/api/sessions/{report_id}/chat")
async def chat(socket: WebSocket, report_id: str, visitor: Visitor) -> None:
    await load(report_id, visitor)
    await socket.accept()
    async for text in socket.iter_text():
        await add(report_id, text)
        await socket.send_text(f"taken: {text}")


@app.put("/api/files/{name}")
async def upload(name: str, request: Request) -> dict[str, int]:
    return {"bytes": sum([len(chunk) async for chunk in request.stream()])}


async def add(report_id: str, text: str, key: str | None = None) -> None:
    """Store a message, once for each idempotency key, and tell everybody who follows."""
    db.execute("INSERT OR IGNORE INTO messages (report_id, text, key) VALUES (?, ?, ?)", (report_id, text, key))
    async with changed:
        changed.notify_all()


def messages(report_id: str, after: int = 0) -> list[StoredMessage]:
    rows = db.execute("SELECT id, text FROM messages WHERE report_id = ? AND id > ? ORDER BY id", (report_id, after))
    return [StoredMessage(**row) for row in rows]


async def follow(report_id: str, last: int) -> AsyncIterator[str]:
    """Yield each message after `last` as an event. Its id is what the browser sends back as `Last-Event-ID`."""
    yield "retry: 1000\n\n"
    while True:
        for message in messages(report_id, last):
            last = message.id
            yield f"id: {last}\ndata: {message.text}\n\n"
        async with changed:
            try:
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            except TimeoutError:
                yield ": still here\n\n"
