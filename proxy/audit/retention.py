"""Gzip rotated files of a trail and remove the oldest, in a thread of its own."""

import gzip
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from proxy.audit.chain import ChainLink, parse_link
from proxy.audit.files import TrailError, lines, put_aside
from proxy.regular_file import open_regular

_COPY_BYTES = 1 << 20

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How rotated files are kept; `max_files` and `max_bytes` (gzipped) None keep all of them."""

    compress: bool
    max_files: int | None
    max_bytes: int | None


class Retention:
    """Maintain the files of the sidecar's own rotation, not those of other tools.

    Before the oldest files are removed, `announce` writes the number of their last record to the trail, and returns
    whether that note is durable and covered by a checkpoint. So the verifier can distinguish a retired file from one
    that somebody else removed, even after a crash at any moment.
    """

    def __init__(self, path: Path, rules: RetentionRules, announce: Callable[[dict[str, object]], bool]) -> None:
        self._path = path
        self._rules = rules
        self._announce = announce
        self._work = threading.Semaphore(0)
        self._stopped = False

    def start(self) -> None:
        """Start with an earlier process's work; the thread is a daemon, and a partial gzip file is written again."""
        threading.Thread(target=self._run, name="audit-retention", daemon=True).start()
        self.wake()

    def wake(self) -> None:
        """Check again: a file was rotated."""
        self._work.release()

    def stop(self) -> None:
        """Start no more work; do not wait for running work."""
        self._stopped = True
        self._work.release()

    def _run(self) -> None:
        while self._work.acquire() and not self._stopped:
            try:
                self.tidy()
            except (OSError, TrailError) as error:  # the next call retries; the disk is probably full
                log.error("audit_keeping_failed", path=str(self._path), error=str(error))

    def tidy(self) -> None:
        """Gzip plain files, then remove the excess."""
        if self._rules.compress:
            for file in put_aside(self._path):
                if file.suffix != ".gz":
                    _zip(file)
        self._retire(put_aside(self._path))

    def _retire(self, files: list[Path]) -> None:
        """Remove the oldest files beyond the limits, after recording the removal in the trail."""
        count = _kept_count(files, self._rules)
        gone = files[: len(files) - count]
        if not gone:
            return
        last = _before((*files[len(gone) :], self._path))
        if last is None or not self._announce(_retired(last, len(gone))):
            return
        for file in gone:
            file.unlink()
        log.info("audit_files_retired", files=[file.name for file in gone], through=last.seq)


def _retired(last: ChainLink, files: int) -> dict[str, object]:
    return {"note": "retired", "files": files, "through": last.seq, "head": last.hash.decode()}


def _kept_count(files: list[Path], rules: RetentionRules) -> int:
    """Return how many of the newest files are kept."""
    count, size = 0, 0
    for file in reversed(files):
        size += file.stat().st_size
        too_many = rules.max_files is not None and count >= rules.max_files
        too_big = rules.max_bytes is not None and size > rules.max_bytes
        if too_many or too_big:
            break
        count += 1
    return count


def _before(files: tuple[Path, ...]) -> ChainLink | None:
    """Return the link before the first record in these files."""
    first = next((link for line in lines(files) if (link := parse_link(line.data))), None)
    return None if first is None else ChainLink(first.seq - 1, b"", first.prev)


def _zip(file: Path) -> None:
    """Replace a file by its gzipped copy; one of the two is complete on disk at any time."""
    zipped, part = file.with_name(f"{file.name}.gz"), file.with_name(f"{file.name}.gz.part")
    with suppress(FileNotFoundError):
        part.unlink()
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(open_regular(file, os.O_NOFOLLOW), "rb") as plain, os.fdopen(fd, "wb") as out:
        with gzip.GzipFile(filename=file.name, mode="wb", compresslevel=6, fileobj=out) as packed:
            shutil.copyfileobj(plain, packed, _COPY_BYTES)
        out.flush()
        os.fsync(out.fileno())
    part.rename(zipped)
    file.unlink()
