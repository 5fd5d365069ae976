"""Build the objects of the audit trail from the settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.checkpoint import CheckpointRules, Checkpoints, NoKey, read_key
from proxy.audit.durability_gate import DurabilityGate
from proxy.audit.files import TrailError
from proxy.audit.log import AuditLog
from proxy.audit.log_rules import LogRules
from proxy.audit.record import Ledger
from proxy.audit.redaction import Redaction
from proxy.clock import Clock
from proxy.config.settings import Audit, Settings
from proxy.errors import StartError


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """The log, the ledger that writes to it, and in `blocking` and `strict` the durability gate."""

    log: AuditLog
    ledger: Ledger
    durability_gate: DurabilityGate | None


def audit_trail(settings: Settings, name: str, clock: Clock, on_write: Callable[[float], None]) -> AuditTrail:
    """Build the trail. Raise StartError for a key that cannot sign."""
    audit = settings.audit
    path = None if audit.path == "-" else Path(audit.path)
    log = AuditLog(
        path, clock=clock, rules=LogRules.of(audit), checkpoints=_checkpoints(audit, clock), on_write=on_write
    )
    ledger = Ledger(log, name, Redaction.of(audit), _beside(audit.salt_file, audit.path))
    covered = audit.durability != "batch"
    durability_gate = DurabilityGate(ledger, log, clock, strict=audit.durability == "strict") if covered else None
    return AuditTrail(log, ledger, durability_gate)


def _checkpoints(audit: Audit, clock: Clock) -> Checkpoints | None:
    file = _beside(audit.checkpoints, audit.path)
    if file is None:
        return None
    try:
        key = NoKey() if audit.checkpoint_key_file is None else read_key(Path(audit.checkpoint_key_file))
        key.sign(b"")  # a public key cannot
    except TrailError as error:
        raise StartError(f"audit.checkpoint_key_file: {error}") from error
    return Checkpoints(CheckpointRules(file, key, audit.checkpoint_every), clock.wall)


def _beside(template: str | None, path: str) -> Path | None:
    """Return the file that a setting names; None for standard output or a device."""
    if template is None or ("{path}" in template and (path == "-" or Path(path).is_char_device())):
        return None
    return Path(template.replace("{path}", path))
