"""`python -m tests.reference` writes docs/reference; with `--check` it names what is stale instead, and exits 1."""

import sys
from pathlib import Path

from tests.reference.pages import FOLDER, pages


def main(arguments: list[str]) -> int:
    """Write every page, or check that each is as it would be written."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tests.reference [--check]", file=sys.stderr)
        return 2
    stale = [FOLDER / name for name, text in pages().items() if _text_of(FOLDER / name) != text]
    if arguments:
        for path in stale:
            print(f"{path}: stale; run scripts/docs", file=sys.stderr)
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
