"""Every generated page and schema by its name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from proxy.audit.record_schema import record_schema
from proxy.config.schema import configuration_schema
from tests.reference.audit_record import audit_record, other_lines
from tests.reference.classes import classes_page
from tests.reference.command_line import audit_command_line, command_line
from tests.reference.configuration import configuration, route_configuration
from tests.reference.control_plane import control_plane
from tests.reference.environment import environment
from tests.reference.metrics import metrics
from tests.reference.problems import problems

FOLDER: Final = Path(__file__).parents[2] / "docs" / "reference"


def pages() -> Mapping[str, str]:
    """Return the text of every generated page by its file's name."""
    return {
        "audit-record.md": audit_record(),
        "audit-lines.md": other_lines(),
        "audit-record.schema.json": _json(record_schema()),
        "classes.md": classes_page(),
        "command-line.md": command_line(),
        "command-line-audit.md": audit_command_line(),
        "configuration-routes.md": route_configuration(),
        "configuration.md": configuration(),
        "configuration.schema.json": _json(configuration_schema()),
        "control-plane.md": control_plane(),
        "environment.md": environment(),
        "metrics.md": metrics(),
        "problems.md": problems(),
    }


def _json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
