"""A simulated network: connections between processes, with delay, loss, resets, partitions and slow readers.

A connection is two ends. Bytes that an end writes are cut into segments, which arrive in order after the delay of the
link at that moment. An end holds at most `WINDOW` bytes that its peer has not read; the rest stays in the writer's
buffer, which pauses the writer. A lost segment arrives late, as TCP sends it again.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from random import Random
from typing import Any

from tests.simulation.whole.loop import Life, Process, SimulatedLoop

WINDOW = 65_536  # bytes under way and unread
HIGH, LOW = 65_536, 16_384  # bytes of a writer's buffer, as asyncio has them
RESEND_S = 0.2  # seconds until TCP sends a lost segment again
FAR = 1e9
INSTANT_S = 1e-9  # timers of one instant have no order


class Link:
    """The way between two hosts. `delay_s` and `jitter_s` are of one direction, `loss` of one segment."""

    def __init__(self, delay_s: float, jitter_s: float, loss: float) -> None:
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.loss = loss
        self.cut_until = 0.0  # the loop's time

    def arrival(self, now: float, random: Random) -> float:
        """Return when a segment that leaves now arrives."""
        late_s = self.delay_s + self.jitter_s * random.random()
        while random.random() < self.loss:
            late_s += RESEND_S
        if now < self.cut_until:
            return self.cut_until + late_s + RESEND_S * random.random()
        return now + late_s


class _Socket:
    """What the product asks of a transport's socket."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.lingers = True

    def setsockopt(self, level: int, option: int, value: object = None) -> None:
        """Note SO_LINGER 0, which makes the end a reset."""
        if option == socket.SO_LINGER:
            self.lingers = False

    def fileno(self) -> int:
        return -1


class End(asyncio.Transport):
    """One end of a connection, as the transport of its protocol."""

    def __init__(self, network: "Network", process: Process, link: Link, address: tuple[str, int]) -> None:
        super().__init__()
        self._network = network
        self._loop = network.loop
        self.process = process
        self._link = link
        self._socket = _Socket()
        self._peername = address
        self.peer: End
        self.protocol: Any = None
        self._unsent = bytearray()
        self._room = WINDOW
        self._last_arrival = 0.0
        self._inbox: deque[bytes | None] = deque()  # None is the end of the stream
        self._reading = True
        self._writer_paused = False
        self._ends = False  # FIN follows the unsent bytes
        self.closing = False
        self.closed = False  # the kernel has closed it
        self.last_in = 0.0  # the loop's time of the last bytes that were given to the protocol
        self.first_out = FAR  # and of the first bytes written after them
        self.last_out = 0.0  # and of the newest bytes written

    # asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": self._peername, "socket": self._socket}.get(name, default)

    def is_closing(self) -> bool:
        return self.closing

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Keep the default limits."""

    def can_write_eof(self) -> bool:
        return True

    def write(self, data: Any) -> None:
        if not data or self.closing:
            return
        self.last_out = self._loop.time()
        self.first_out = min(self.first_out, self.last_out)
        self._unsent += data
        self._push()
        if len(self._unsent) > HIGH and not self._writer_paused:
            self._writer_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._ends = True
        self._push()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading and not self.closed:
            self._reading = True
            self._loop.call_soon(self._drain)

    def is_reading(self) -> bool:
        return self._reading

    def close(self) -> None:
        if self.closing:
            return
        self.closing = True
        if any(self._inbox):
            self._reset_peer()
        elif not self._ends:
            self._ends = True
            self._push()
        if not self._unsent:
            self._loop.call_soon(self._lost, None)

    def abort(self) -> None:
        self.closing = True
        self._unsent.clear()
        if self.closed:
            return
        if self._socket.lingers and not any(self._inbox):
            self._ends = True
            self._push()
        else:
            self._reset_peer()
        self._loop.call_soon(self._lost, None)

    # what the kernel does

    def _push(self) -> None:
        """Send what fits into the peer's window, in segments."""
        random = self._network.random
        while self._unsent and self._room > 0 and not self.closed:
            size = min(len(self._unsent), self._room)
            if size > 1 and random.random() < self._network.split:
                size = random.randint(1, size)
            piece = bytes(self._unsent[:size])
            del self._unsent[:size]
            self._room -= size
            self._send(self.peer._arrive, piece)
        if self._ends and not self._unsent and not self.closed:
            self._ends = False
            self._send(self.peer._arrive, None)

    def _send(self, deliver: Callable[..., None], *what: Any) -> None:
        """Let the peer's kernel get something, after all that was sent before."""
        arrival = max(self._link.arrival(self._loop.time(), self._network.random), self._last_arrival + INSTANT_S)
        self._last_arrival = arrival
        self._loop.call_at(arrival, deliver, *what, context=self._network.kernel)

    def _arrive(self, piece: bytes | None) -> None:
        if self.process.life is Life.DEAD or self.closed:
            if not self._network.is_off(self.process):
                self._reset_peer()
            return
        self._inbox.append(piece)
        if self._reading:
            self._loop.call_soon(self._drain, context=self.process.context)

    def _drain(self) -> None:
        """Give the protocol what has arrived, and tell the peer that there is room again."""
        while self._inbox and self._reading and not self.closed:
            piece = self._inbox.popleft()
            if self.closing:  # nobody reads it any more
                self._reset_peer()
                return
            if piece is None:
                self._ended()
                return
            self._network.note(self, piece)
            self.last_in, self.first_out = self._loop.time(), FAR
            self.peer._acknowledge(len(piece))
            self.protocol.data_received(piece)

    def _ended(self) -> None:
        if not self.protocol.eof_received():
            self.close()

    def _acknowledge(self, size: int) -> None:
        self._room += size
        if self._unsent and not self.closed:
            self._loop.call_soon(self._write_on, context=self.process.context)

    def _write_on(self) -> None:
        self._push()
        if self._writer_paused and len(self._unsent) <= LOW:
            self._writer_paused = False
            self.protocol.resume_writing()
        if self.closing and not self._unsent:
            self._lost(None)

    def _reset_peer(self) -> None:
        self._send(self.peer._be_reset)

    def _be_reset(self) -> None:
        """Take a reset of the peer."""
        if self.process.life is not Life.DEAD and not self.closed:
            self._loop.call_soon(self.fail, context=self.process.context)

    def fail(self) -> None:
        """Break: the peer, or something between, has reset the connection."""
        self.closing = True
        self._unsent.clear()
        self._lost(ConnectionResetError(104, "Connection reset by peer"))

    def _lost(self, error: Exception | None) -> None:
        if not self.closed:
            self.closed = True
            self._network.ends.pop(self, None)
            self.protocol.connection_lost(error)

    def vanish(self, *, silently: bool) -> None:
        """Lose the process: its kernel resets the connection, or, without power, says nothing."""
        self.closing = self.closed = True
        self._network.ends.pop(self, None)
        if not silently:
            self._reset_peer()


class Network:
    """Hosts, links and connections. `split` is the chance that a write is cut in two."""

    def __init__(self, loop: SimulatedLoop, random: Random, split: float) -> None:
        self.loop = loop
        self.random = random
        self.split = split
        self.kernel = Process("kernel", random).context
        self.ends: dict[End, None] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._listening: dict[tuple[str, int], tuple[Process, Callable[[], Any]]] = {}
        self._hosts: dict[str, str] = {}  # names by address
        self._off: dict[Process, None] = {}
        self._vanished: list[End] = []  # of dead processes, kept as these are
        self._ports = 40_000
        self._hash = blake2b()

    def note(self, end: End, piece: bytes) -> None:
        """Add a delivery to the digest, by which two runs are compared."""
        said = f"{self.loop.time():.9f} {end.process.name} {end._peername} "
        self._hash.update(said.encode() + piece)

    @property
    def digest(self) -> str:
        """Return the digest of everything that was delivered."""
        return self._hash.hexdigest()[:16]

    def name(self, address: str, host: str) -> None:
        """Give a host an address."""
        self._hosts[address] = host

    def link(self, one: str, other: str) -> Link:
        """Return the link between two hosts."""
        pair = (one, other) if one < other else (other, one)
        if pair not in self._links:
            random = Random(f"{pair}{self.random.random()}")
            delay_s = random.choice([0.0001, 0.0005, 0.002])
            self._links[pair] = Link(delay_s, delay_s * random.choice([0.0, 0.5, 3.0]), 0.0)
        return self._links[pair]

    def links_of(self, host: str) -> list[Link]:
        """Return every link of a host."""
        return [link for pair, link in self._links.items() if host in pair]

    def listen(self, address: str, port: int, process: Process, make: Callable[[], Any]) -> None:
        """Accept connections at an address, in a process."""
        self._listening[address, port] = process, make

    def close(self, address: str, port: int) -> None:
        """Refuse further connections."""
        self._listening.pop((address, port), None)

    def is_off(self, process: Process) -> bool:
        """Tell whether its machine has no power: then nothing answers."""
        return process in self._off

    def power_on(self, process: Process) -> None:
        """Let the machine of a dead process answer again: what is sent to that process is reset."""
        self._off.pop(process, None)

    async def connect(self, source: Process, make: Callable[[], Any], address: str, port: int) -> tuple[End, Any]:
        """Connect a process. Raise ConnectionRefusedError; wait for ever where nothing answers."""
        link = self.link(source.name.partition(".")[0], self._hosts[address])
        await self._trip(link)
        found = self._listening.get((address, port))
        if found is None:
            await self._trip(link)
            raise ConnectionRefusedError(111, "Connection refused")
        process, make_other = found
        if process.life is Life.DEAD:
            await self.loop.create_future()
        self._ports += 1
        here, there = End(self, source, link, (address, port)), End(self, process, link, ("10.9.0.1", self._ports))
        here.peer, there.peer = there, here
        self.ends[here] = self.ends[there] = None
        here.protocol = make()
        here.protocol.connection_made(here)
        self.loop.call_soon(_accept, there, make_other, context=process.context)
        try:
            await self._trip(link)
        except asyncio.CancelledError:
            here.abort()
            raise
        if here.closed:
            raise ConnectionResetError(104, "Connection reset by peer")
        return here, here.protocol

    async def _trip(self, link: Link) -> None:
        await asyncio.sleep(link.arrival(self.loop.time(), self.random) - self.loop.time())  # noqa: TID251 - virtual

    def drop(self, process: Process, *, silently: bool) -> None:
        """End every connection of a dead process."""
        for end in [end for end in self.ends if end.process is process]:
            end.vanish(silently=silently)
            self._vanished.append(end)
        if silently:
            self._off[process] = None
        for where in [where for where, (owner, _) in self._listening.items() if owner is process]:
            if not silently:
                del self._listening[where]

    def reset_between(self, one: str, other: str) -> int:
        """Reset every connection between two hosts, as a device between them may; return how many."""
        hit = [end for end in self.ends if (_host(end), _host(end.peer)) in ((one, other), (other, one))]
        for end in hit:
            self.loop.call_soon(end._be_reset, context=self.kernel)
        return len(hit) // 2


def _host(end: End) -> str:
    return end.process.name.partition(".")[0]


def _accept(end: End, make: Callable[[], Any]) -> None:
    end.protocol = make()
    end.protocol.connection_made(end)
