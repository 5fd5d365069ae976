"""Reversible changes: each is recorded in an annotation of the changed object."""

import json
from typing import Any

from proxy.inject.manifests import InjectError, insert
from proxy.inject.objects import INJECTED, SIDECAR, Resource

Path = tuple[str, ...]
_DOES_NOT_FIT = (LookupError, StopIteration, TypeError, ValueError, AttributeError)  # raised by `_undo`


class Edits:
    """The changes to one object. `record` writes them into the annotation; without it they cannot be undone."""

    __slots__ = ("_added", "_created", "_root", "_was")

    def __init__(self, root: Any) -> None:
        self._root = root
        self._was: dict[str, Any] = {}
        self._created: list[str] = []
        self._added: list[str] = []

    def set(self, path: Path, value: object) -> None:
        """Set the value at a path. Replaces an existing value or adds a key."""
        parent = self._table(path[:-1])
        if path[-1] in parent:
            self._was[_joined(path)] = parent[path[-1]]
            parent[path[-1]] = value
        else:
            self._created.append(_joined(path))
            insert(parent, path[-1], value, first=1 if "name" in parent else 0)

    def add(self, path: Path, item: Any) -> None:
        """Insert an item at the start of a list, so that comments after its last item stay in place."""
        parent = self._table(path[:-1])
        if not parent.get(path[-1]):
            self.set(path, [])
        parent[path[-1]].insert(0, item)
        self._added.append(_joined((*path, item["name"])))

    def record(self) -> None:
        """Write the changes into the annotation."""
        annotations = ("metadata", "annotations")
        self._table(annotations)
        changes = {"was": self._was, "created": self._created, "added": self._added}
        record = {key: value for key, value in changes.items() if value}
        table = at(self._root, annotations)
        insert(table, INJECTED, json.dumps(record, separators=(",", ":")))

    def _table(self, path: Path) -> Any:
        """Return the table at a path. Creates it if there is none."""
        for size in range(1, len(path) + 1):
            parent = at(self._root, path[: size - 1])
            if isinstance(parent, dict) and not parent.get(path[size - 1]):
                self.set(path[:size], type(self._root)())
        return at(self._root, path)


def undo(resource: Resource) -> None:
    """Undo every recorded change and remove the annotation. Raise `InjectError` if it does not fit the object."""
    try:
        _undo(resource.root)
    except _DOES_NOT_FIT:
        raise InjectError(
            f"{resource.name}: the annotation {INJECTED} does not fit the object, which was changed by hand since: "
            f"delete the annotation, the container {SIDECAR} and its volumes yourself, or use the manifest from before"
        ) from None


def _undo(root: Any) -> None:
    record = json.loads(root["metadata"]["annotations"].pop(INJECTED))
    for path in map(_split, record.get("added", [])):
        items = at(root, path[:-1])
        del items[next(index for index, item in enumerate(items) if item["name"] == path[-1])]
    for path in map(_split, reversed(record.get("created", []))):
        at(root, path[:-1]).pop(path[-1], None)
    for path, value in ((_split(text), value) for text, value in record.get("was", {}).items()):
        at(root, path[:-1])[path[-1]] = value


def at(node: Any, path: Path) -> Any:
    """Return the node at a path. A list item is found by its name or its index."""
    for key in path:
        if isinstance(node, list):
            node = next((item for item in node if str(item.get("name")) == key), None) or node[int(key)]
        else:
            node = node[key]
    return node


def _joined(path: Path) -> str:
    """Return a JSON pointer, because the names of annotations contain slashes."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _split(pointer: str) -> Path:
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def has_sidecar(resource: Resource) -> bool:
    """Tell whether a container already has the sidecar's name."""
    return any(container.get("name") == SIDECAR for container in resource.all_containers())
