"""A file that hangs, as on a server that is gone: opening FILE waits while there is a named pipe FILE.pipe.

What is written to the pipe, if anything, is the content of the file. A pipe itself is refused and hangs nobody.
"""

import os
from pathlib import Path

SUFFIX = ".pipe"
_open = os.open


def open_slowly(path: str | os.PathLike[str], flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Stand in for `os.open`: wait for the end of the pipe beside the path, if there is one."""
    pipe = Path(f"{os.fspath(path)}{SUFFIX}") if isinstance(path, str | os.PathLike) else None
    if pipe is None or not pipe.is_fifo():
        return _open(path, flags, mode, dir_fd=dir_fd)
    waiting = _open(pipe, os.O_RDONLY)
    said = bytearray()
    while piece := os.read(waiting, 65_536):
        said += piece
    os.close(waiting)
    if not said:
        return _open(path, flags, mode, dir_fd=dir_fd)
    held = os.memfd_create("held")
    os.write(held, said)
    os.lseek(held, 0, os.SEEK_SET)
    return held


def hang_in(folder: Path) -> str:
    """Make a folder for PYTHONPATH with which a Python process hangs at such files; return its path."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"{Path(__file__).read_text()}\n\nos.open = open_slowly\n")
    return str(folder)
