"""The current input in a file, which survives a crash or a hang of the process."""

import mmap
import struct
from pathlib import Path

_HEADER = struct.Struct("<QI")  # how many inputs were noted, and the size of the last one
_SIZE = 1 << 20


class LastInput:
    """A file that one process writes and another reads."""

    def __init__(self, path: Path) -> None:
        """Open the file, and make it where there is none."""
        if not path.exists():
            path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)

    def note(self, data: bytes) -> None:
        """Write down an input, at most a mebibyte of it."""
        data = data[: _SIZE - _HEADER.size]
        self._map[_HEADER.size : _HEADER.size + len(data)] = data
        _HEADER.pack_into(self._map, 0, self.count + 1, len(data))

    @property
    def count(self) -> int:
        """Return how many inputs were noted."""
        return int(_HEADER.unpack_from(self._map)[0])

    @property
    def data(self) -> bytes:
        """Return the last one."""
        size = _HEADER.unpack_from(self._map)[1]
        return self._map[_HEADER.size : _HEADER.size + size]
