"""`backstay inject` and `uninject`: read manifests from a file or standard input, write them to standard output."""

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from proxy.regular_file import read_regular, why_unreadable

FAILED = 1
MISTAKEN = 2
_MOST = 64 << 20  # bytes of manifests


def inject(
    file: str, names: Sequence[str] | None, services: Sequence[str] | None, image: str | None, **options: Any
) -> int:
    """Print manifests with the sidecar, and hints on standard error. `options` are the other fields of `Options`."""

    def transform(text: str) -> str:
        from proxy.inject.container import Options
        from proxy.inject.transform import inject

        chosen = {**options, "image": image} if image else options
        made = inject(text, Options(tuple(names or ()), tuple(services or ()), **chosen))
        for note in made.notes:
            print(f"backstay: {note}", file=sys.stderr)
        return made.text

    return _transformed(file, transform)


def uninject(file: str, names: Sequence[str] | None) -> int:
    """Print the manifests without the sidecar."""

    def transform(text: str) -> str:
        from proxy.inject.transform import uninject

        return uninject(text, names or ())

    return _transformed(file, transform)


def _transformed(file: str, transform: Callable[[str], str]) -> int:
    if find_spec("ruamel") is None:
        return _refuse("this needs ruamel.yaml: pip install 'backstay[inject]'", FAILED)
    from proxy.inject.manifests import InjectError

    try:
        text = sys.stdin.read() if file == "-" else read_regular(file, _MOST).decode("utf-8")
        made = transform(text)
    except InjectError as error:
        return _refuse(str(error), MISTAKEN)
    except UnicodeDecodeError:
        return _refuse(f"{file} is not UTF-8", MISTAKEN)
    except OSError as error:
        return _refuse(f"{file} {why_unreadable(error).lower()}", MISTAKEN)
    sys.stdout.write(made)
    return 0


def _refuse(sentence: str, status: int) -> int:
    print(f"backstay: {sentence}", file=sys.stderr)
    return status
