"""Collect bytes that arrive in pieces. Memory is linear in the bytes, however small the pieces are."""

from typing import Final

_MOST_PIECES: Final = 64  # one object for each byte takes forty times the memory of the byte


class Gathered:
    """Pieces of a body that is needed as a whole; `size` is in bytes."""

    __slots__ = ("_beginning", "_pieces", "size")

    def __init__(self) -> None:
        self._beginning: bytearray | None = None  # the first pieces, merged once there are many
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append a piece. Each byte is copied a bounded number of times, however many pieces there are."""
        self._pieces.append(piece)
        self.size += len(piece)
        if len(self._pieces) > _MOST_PIECES:
            joined = b"".join(self._pieces)
            self._pieces.clear()
            if self._beginning is None:
                self._beginning = bytearray(joined)
            else:
                self._beginning += joined

    def take(self) -> bytes:
        """Return all bytes and release them."""
        pieces, self._pieces = self._pieces, []
        beginning, self._beginning = self._beginning, None
        if beginning is not None:
            return bytes(beginning) + b"".join(pieces)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
