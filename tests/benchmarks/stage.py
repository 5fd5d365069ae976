"""The setup of a measurement: the backend on one core, the peers on the other, and the settings for all."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks.builds import Build
from tests.benchmarks.figures import Results
from tests.benchmarks.load import Load
from tests.benchmarks.machine import Cores
from tests.benchmarks.peers import Peer, Place
from tests.benchmarks.running import Program
from tests.e2e.sidecar import environment
from tests.ports import reserved_port

DIRECT = "no proxy"


class Stage:
    """Starts and ends what a measurement needs."""

    def __init__(
        self,
        folder: Path,
        cores: Cores,
        builds: Sequence[Build],
        *,
        files: int,
        rounds: int,
        seconds: float,
        guests: int,
        results: Results,
    ) -> None:
        self.load = Load(cores.load)
        self.builds = builds
        self.rounds = rounds
        self.seconds = seconds  # of one turn
        self.guests = guests  # idle connections
        self.results = results
        self._folder = folder
        self._cores = cores
        self._files = files

    @contextmanager
    def backend(self) -> Iterator[Program]:
        """Run the backend, which is also the direct path."""
        port, folder = reserved_port(), self._empty(DIRECT)
        command = (sys.executable, "-m", "tests.benchmarks.backend", str(port))
        program = Program.start(
            DIRECT, command, port, core=self._cores.load, folder=folder, environment=environment()
        )  # fmt: skip
        try:
            yield program
        finally:
            program.stop()

    @contextmanager
    def started(self, peer: Peer, backend: Program) -> Iterator[Program]:
        """Run one peer before the backend."""
        place = Place(self._empty(peer.name), reserved_port(), backend.port, self._files)
        program = peer.start(place, self._cores.proxy)
        try:
            yield program
        finally:
            program.stop()

    @contextmanager
    def playing(self, peers: Sequence[Peer]) -> Iterator[list[Program]]:
        """Run the backend, which comes first, and these peers; who does not start is named and left out."""
        with ExitStack() as stack:
            backend = stack.enter_context(self.backend())
            programs = [backend]
            for peer in peers:
                try:
                    programs.append(stack.enter_context(self.started(peer, backend)))
                except RuntimeError as error:
                    self.results.remark(str(error))
            yield programs

    def _empty(self, name: str) -> Path:
        folder = self._folder / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder
