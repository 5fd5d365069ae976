"""`backstay schema`: print the JSON Schema of the configuration or of the audit trail."""

import json

from proxy.audit.record_schema import record_schema
from proxy.config.schema import configuration_schema


def schema(of: str) -> int:
    """Print the schema of the `configuration`, or of one line of the audit trail."""
    print(schema_text(of), end="")
    return 0


def schema_text(of: str) -> str:
    """Return the schema as a file has it."""
    found = configuration_schema() if of == "configuration" else record_schema()
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
