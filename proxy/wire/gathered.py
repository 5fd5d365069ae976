"""Bytes that come in pieces, in memory that grows with the bytes however small the pieces are."""

from typing import Final

_MOST_PIECES: Final = 64  # an object for each byte takes forty times as much as the byte


class Gathered:
    """Pieces of something that is wanted whole; `size` is their bytes."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Add a piece at the end."""
        self._pieces.append(piece)
        self.size += len(piece)
        if len(self._pieces) > _MOST_PIECES:
            self._pieces = [b"".join(self._pieces)]

    def take(self) -> bytes:
        """Return all of it, and hold nothing more of it."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
