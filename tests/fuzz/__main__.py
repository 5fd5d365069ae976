"""`python -m tests.fuzz [--seconds 300] [--seed N] [target ...]`: run targets, and save what fails."""

import argparse
import secrets
import subprocess
import sys
import tempfile
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz.last_input import LastInput
from tests.fuzz.target import CORPUS
from tests.fuzz.worker import find, tell, use_installed

STUCK_S = 120.0  # one input for so long is a finding
NAMES = sorted(folder.name for folder in CORPUS.iterdir())


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"one of {', '.join(NAMES)}; all without one")
    parser.add_argument("--seconds", type=float, default=300.0, help="for each target (default: %(default)s)")
    parser.add_argument("--seed", default=secrets.token_hex(4), help="repeats a run of the mutator exactly")
    parser.add_argument(
        "--engine", choices=("atheris", "mutator"), default="atheris" if find_spec("atheris") else "mutator"
    )
    parser.add_argument("--installed", action="store_true", help="the installed sidecar, which may be compiled")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="where failing inputs are saved")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="check this input alone")
    said = parser.parse_args()
    if unknown := set(said.target) - set(NAMES):
        parser.error(f"there is no target {min(unknown)!r}: {', '.join(NAMES)}")
    if said.replay and len(said.target) != 1:
        parser.error("--replay needs the one target that the input is for")
    return said


def run(name: str, said: argparse.Namespace) -> bool:
    """Run one target in a process of its own; tell whether it found nothing."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        last, log = LastInput(Path(folder, "last")), Path(folder, "log")
        command = [sys.executable, "-m", "tests.fuzz.worker", name, said.engine, said.seed, str(said.seconds)]
        command += [str(Path(folder, "last")), *(["--installed"] if said.installed else [])]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
            why = wait(process, last)
        text = log.read_text(errors="replace")
        about = f"seed {said.seed}, {said.engine}, {text.partition(chr(10))[0]}"
        print(f"{name}: {last.count:,} inputs, {why or 'nothing found'}; {about}", flush=True)
        if why:
            print("\n".join(text.splitlines()[-30:]))
            print(f"repeat it with: {saved(name, last.data, said)}")
        return not why


def wait(process: "subprocess.Popen[bytes]", last: LastInput) -> str:
    """Wait for the end; return why it is a finding, or nothing."""
    while True:
        before = last.count
        try:
            status = process.wait(STUCK_S)
        except subprocess.TimeoutExpired:
            if last.count == before:
                process.kill()
                process.wait()
                return f"STUCK for {STUCK_S:.0f} s in one input"
        else:
            return f"FAILED with status {status}" if status else ""


def saved(name: str, data: bytes, said: argparse.Namespace) -> str:
    """Save a failing input; return the command that checks it again."""
    said.findings.mkdir(exist_ok=True)
    file = said.findings / f"{name}-{sha256(data).hexdigest()[:12]}"
    file.write_bytes(data)
    print(f"input: {data!r}")
    return f"python -m tests.fuzz {'--installed ' if said.installed else ''}--replay {file} {name}"


def main() -> int:
    """Run; return the exit status: 1 for a finding."""
    said = arguments()
    if said.replay:
        if said.installed:
            use_installed()
        tell()
        print(f"outcome: {find(said.target[0]).check(said.replay.read_bytes())}")
        return 0
    results = [run(name, said) for name in said.target or NAMES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
