"""Run one target in this process: with atheris, guided by coverage, or with generated inputs."""

import itertools
import sys
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from tempfile import mkdtemp

from tests.fuzz.mutation import LONGEST, Mutator
from tests.fuzz.target import Target

Note = Callable[[bytes], None]
_SHRINKING = 400  # checks spent on making a finding small, and
_SHRINKING_S = 60.0  # seconds


def mutate(target: Target, seed: str, *, count: int | None = None, seconds: float | None = None, note: Note) -> int:
    """Check inputs of our own making until `count` or `seconds` are over; return how many. Raises what a check does."""
    mutator, check, done = Mutator(target, seed), _noted(target, note), 0
    until = None if seconds is None else time.perf_counter() + seconds
    for data in itertools.islice(mutator.inputs(), count):
        mutator.learn(data, check(data))
        done += 1
        if until is not None and not done % 64 and time.perf_counter() > until:
            break
    return done


def guide(load: Callable[[], Target], seed: str, *, seconds: float, note: Note) -> None:
    """Let atheris make the inputs. It ends the process: with status 0 when the time is over, another for a finding.

    `load` imports the target: only modules imported here are guided by.
    """
    import atheris

    with atheris.instrument_imports(include=["proxy"]):
        target = load()
    check = _noted(target, note)
    atheris.Setup([sys.argv[0], *_options(target, seed, seconds)], lambda data: check(data) and None)
    atheris.Fuzz()


def _options(target: Target, seed: str, seconds: float) -> list[str]:
    """Return libFuzzer's command line: limits, words, and folders to write new inputs to and to begin from."""
    work = Path(mkdtemp(prefix=f"fuzz-{target.name}-"))
    for folder in ("new", "known"):
        (work / folder).mkdir()
    for number, data in enumerate(target.inputs()):
        (work / "known" / str(number)).write_bytes(data)
    spelt = ("".join(f"\\x{byte:02x}" for byte in word) for word in target.words or (b"0",))
    (work / "words").write_text("".join(f'"{word}"\n' for word in spelt))
    number = sum(seed.encode()) * 1_000_003 + len(seed)
    return [
        f"-max_total_time={max(1, int(seconds))}", f"-seed={number}", f"-max_len={LONGEST}", f"-dict={work / 'words'}",
        f"-artifact_prefix={work}/", str(work / "new"), str(work / "known"),
    ]  # fmt: skip


def _noted(target: Target, note: Note) -> Callable[[bytes], Hashable]:
    """Return the check, with each input noted before it, and a finding noted again as small as it was made."""

    def check(data: bytes) -> Hashable:
        note(data)
        try:
            return target.check(data)
        except Exception as error:
            note(_shrunk(target, data, error))
            raise

    return check


def _shrunk(target: Target, data: bytes, error: Exception) -> bytes:
    """Return what is left of an input when everything is taken away without which it still fails in the same place."""
    kind, size, tried, until = _kind(error), len(data) // 2, 0, time.perf_counter() + _SHRINKING_S
    while size and tried < _SHRINKING and time.perf_counter() < until:
        for start in range(0, len(data), size):
            smaller, tried = data[:start] + data[start + size :], tried + 1
            if _fails(target, smaller) == kind:
                data = smaller
                break
        else:
            size //= 2
    return data


def _fails(target: Target, data: bytes) -> tuple[type, str, int] | None:
    try:
        target.check(data)
    except Exception as error:
        return _kind(error)
    return None


def _kind(error: Exception) -> tuple[type, str, int]:
    """Return what an error is and where it was raised."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return (type(error), at.tb_frame.f_code.co_qualname, at.tb_lineno) if at is not None else (type(error), "", 0)
