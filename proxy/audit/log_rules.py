"""Settings of the audit log, as the log reads them."""

from dataclasses import dataclass

from proxy.audit.retention import RetentionRules
from proxy.audit.trail_file import RotationRules
from proxy.config.settings import Audit


@dataclass(frozen=True, slots=True)
class LogRules:
    """Settings of the log.

    `batch_s`: how long a record may wait for others. `fsync_s`: longest time between fsyncs. `queue_limit`,
    `queue_size`: how many records and bytes are held while the disk is slow or failing; records beyond that are
    counted and become one gap record. `max_entries`: newest records in memory. `max_wait_s`: longest wait for a durable
    record. `close_s`: longest wait for the disk, or the reader of a pipe, at the end. Times are in seconds.
    """

    queue_limit: int
    queue_size: int
    max_entries: int
    max_wait_s: float
    rotation: RotationRules
    keeping: RetentionRules
    batch_s: float = 0.005
    fsync_s: float = 1.0
    close_s: float = 5.0

    @classmethod
    def of(cls, settings: Audit) -> "LogRules":
        """Return the rules from the `[audit]` table."""
        return cls(
            settings.queue, settings.queue_bytes, settings.max_entries, settings.max_wait,
            RotationRules(settings.rotate_size, settings.rotate_age),
            RetentionRules(settings.compress, settings.keep_files, settings.keep_size),
        )  # fmt: skip
