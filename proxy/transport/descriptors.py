"""Resources of the process and the machine that connections need. Their exhaustion is no backend failure."""

import errno
import resource
import socket
import ssl

from proxy.http.message import Failure
from proxy.http.problems import Reason

SPARE = 64  # descriptors for the trail, the log, the store and the system
_LACKING = {
    errno.EMFILE: "the sidecar has no file descriptor left: raise the limit on open files, or lower max_connections",
    errno.ENFILE: "the machine has no file descriptor left: raise fs.file-max, or stop what holds them",
    errno.ENOBUFS: "the machine has no buffer left for another connection: give it more memory",
    errno.ENOMEM: "the machine has no memory left for another connection: give it more",
    errno.EADDRNOTAVAIL: "no local port, or no address of that family, is left to reach the backend from: widen "
    "ip_local_port_range, or raise max_idle",
}


def lacking(error: OSError) -> Failure | None:
    """Return the failure if a local resource prevented the connection, else None."""
    # Name resolution and certificates read files. Their errors do not state why a file could not be opened.
    silent = isinstance(error, socket.gaierror | ssl.SSLError)
    number = _why_no_socket() if silent else error.errno
    detail = None if number is None else _LACKING.get(number)
    return None if detail is None else Failure(Reason.CONNECTION_LIMIT, sent=False, detail=detail, retry_after_s=1.0)


def is_certain(error: OSError) -> bool:
    """Tell whether the error certainly reports a local shortage: EADDRNOTAVAIL may mean a missing address family."""
    return error.errno != errno.EADDRNOTAVAIL and lacking(error) is not None


def _why_no_socket() -> int | None:
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno
    return None


def raise_limit(share: int = 0) -> int:
    """Raise the soft limit on open files to the hard limit, as nginx and HAProxy do; return the effective limit.

    Reserve `share` of those descriptors, at most a quarter, for `accept_from_share`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard == resource.RLIM_INFINITY else hard - min(share, hard // 4)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # an unlimited hard limit exceeds what the kernel grants
        return soft
    return most


def accept_from_share(listening: socket.socket) -> socket.socket:
    """Accept a connection even if the soft limit is reached, so that the control plane responds.

    The kernel checks the limit only when it allocates a descriptor. The limit is raised for this one call, during which
    nothing else on the loop can open a descriptor.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_above(soft, hard), hard))
        return listening.accept()[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _above(soft: int, hard: int) -> int:
    if resource.RLIM_INFINITY in (soft, hard):
        return soft if soft == resource.RLIM_INFINITY else soft + SPARE
    return hard


def too_few(limit: int, max_connections: int) -> str | None:
    """Return why `limit` open files do not suffice for so many clients, each with a backend connection."""
    wanted = 2 * max_connections + SPARE
    if limit >= wanted:
        return None
    need = f"listen.max_connections = {max_connections} can need {wanted} open files, and the limit is {limit}"
    return f"{need}: raise the limit (ulimit -n, LimitNOFILE), or lower max_connections"
