"""Exhausted local resources are distinguished from backend failures, and limits are raised as far as possible."""

import errno
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from proxy.http.problems import Reason
from proxy.policy.classify import Verdict, classify
from proxy.transport import descriptors
from proxy.transport.descriptors import (
    SPARE,
    accept_from_share,
    is_certain,
    lacking,
    raise_limit,
    too_few,
)

OURS = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL]
THEIRS = [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET, errno.ENOENT, errno.EAGAIN]


@pytest.mark.parametrize("number", OURS)
def test_what_is_ours_is_a_refusal_with_a_cure(number: int) -> None:
    """503 with Retry-After, which no circuit and no balancer counts; each says what to raise."""
    failure = lacking(OSError(number, "no more"))
    assert failure is not None
    assert (failure.reason, failure.sent, failure.retry_after_s) == (Reason.CONNECTION_LIMIT, False, 1.0)
    assert classify(failure) is Verdict.REFUSED
    assert ":" in failure.detail


@pytest.mark.parametrize("error", [*(OSError(number, "no") for number in THEIRS), OSError("several"), TimeoutError()])
def test_what_is_the_backends_is_not_ours(error: OSError) -> None:
    """Nobody listens, no way there, no answer in time: that is no want of ours."""
    assert lacking(error) is None


@pytest.mark.parametrize("error", [socket.gaierror(socket.EAI_NONAME, "unknown"), ssl.SSLCertVerificationError("no")])
@pytest.mark.parametrize("out", [False, True])
def test_errors_that_do_not_tell_are_looked_into(error: OSError, out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a descriptor no name resolves and no authority is read: the error is the same as for a wrong name."""

    def no_more(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    if out:
        monkeypatch.setattr(descriptors.socket, "socket", no_more)  # type: ignore[attr-defined]  # the module's own
    assert (lacking(error) is not None) is out


def test_no_address_may_be_no_address_of_that_family() -> None:
    """All other wants are for sure; this one is also what a machine without IPv6 says of `::1`."""
    assert [is_certain(OSError(number, "no more")) for number in OURS] == [True] * 4 + [False]


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """Return the soft and hard limit on open files, and put them back."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield limits
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_soft_limit_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    """What the process may have it takes: a shell's 1024 are meant for programs that use select."""
    hard = limits[1]
    wanted = hard if hard != resource.RLIM_INFINITY else 4096
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, wanted), hard))
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(1024, wanted)
    assert hard == resource.RLIM_INFINITY or resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.parametrize(("share", "left"), [(100, 100), (100_000, 128)])
def test_a_share_is_left_free(share: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a quarter of all: a process with few descriptors needs them for its requests."""
    said: list[tuple[int, int]] = []
    limits = descriptors.resource  # type: ignore[attr-defined]  # the module's own
    monkeypatch.setattr(limits, "getrlimit", lambda _: (64, 512))
    monkeypatch.setattr(limits, "setrlimit", lambda _, both: said.append(both))
    assert raise_limit(share) == 512 - left
    assert said == [(512 - left, 512)]


def test_the_share_answers_when_all_others_are_used_up(limits: tuple[int, int]) -> None:
    """A connection is accepted beyond the soft limit, which is as before afterwards; nothing else gets past it."""
    hard = limits[1]
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as opened:
        asking = [opened.enter_context(socket.create_connection(listening.getsockname())) for _ in range(2)]
        soft = max(each.fileno() for each in asking) + 4
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with suppress(OSError):
            while True:
                opened.enter_context(socket.socket())
        with pytest.raises(OSError, match="Too many open files"):
            listening.accept()
        with accept_from_share(listening) as accepted:
            assert accepted.fileno() >= soft
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
            with pytest.raises(OSError, match="Too many open files"):
                socket.socket()
        listening.setblocking(False)
        with accept_from_share(listening), pytest.raises(BlockingIOError):
            accept_from_share(listening)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel grants no more than fs.nr_open, whatever the hard limit says: the sidecar starts all the same."""

    def refused(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(descriptors.resource, "setrlimit", refused)  # type: ignore[attr-defined]  # the module's own
    assert raise_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_too_few_open_files_are_told() -> None:
    """Each client may want a connection of ours as well."""
    assert too_few(2 * 100 + SPARE, 100) is None
    told = too_few(2 * 100 + SPARE - 1, 100)
    assert told is not None
    assert told.startswith(
        "listen.max_connections = 100 can need 264 open files, and the limit is 263: raise the limit"
    )
