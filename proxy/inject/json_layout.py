"""Read and write manifests in JSON. A changed document keeps the layout of its text."""

import json
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

_INDENTS: tuple[int | str | None, ...] = (2, 4, None, "\t", 1, 3, 8)
_SEPARATORS = ((",", ": "), (", ", ": "), (",", ":"))


def read_json(text: str) -> Any:
    """Return the data of a JSON object as the nodes that YAML gives, None for any other text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return _nodes(json.loads(text))
    except (ValueError, RecursionError):  # a flow mapping of YAML, which is read and refused as such
        return None


def write_json(data: Any, like: str) -> str:
    """Return JSON in the layout of the text `like`, or indented by 2 where its layout is no program's."""
    before = json.loads(like)
    wanted = like.strip()
    layout = next((found for found in _layouts() if json.dumps(before, **found) == wanted), {"indent": 2})
    end = len(like.rstrip())
    return like[: len(like) - len(like.lstrip())] + json.dumps(data, **layout) + like[end:]


def _layouts() -> Iterator[dict[str, Any]]:
    for ascii_only in (False, True):
        for indent in _INDENTS:
            for separators in _SEPARATORS:
                yield {"indent": indent, "separators": separators, "ensure_ascii": ascii_only}


def _nodes(value: Any) -> Any:
    if isinstance(value, dict):
        return CommentedMap((key, _nodes(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return CommentedSeq(map(_nodes, value))
    return value
