"""With BACKSTAY_COMPILE=1, a wheel whose hot path is machine code; without it, pyproject.toml says everything.

The source stays pure Python, and so does an editable install. In a compiled wheel both stand side by side, and Python
prefers what is compiled. A name of a module that a request looks up is `Final`: compiled code then reads a C variable
instead of the module's dictionary.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

# What a request runs through. The rest starts, shows and exports: compiling it would only take longer.
COMPILED = (
    "proxy/*.py",
    "proxy/exchange/*.py",
    "proxy/http/*.py",
    "proxy/http1/*.py",
    "proxy/policy/*.py",
    "proxy/runtime/*.py",
    "proxy/server/*.py",
    "proxy/transport/*.py",
    "proxy/upstream/*.py",
    "proxy/audit/chain.py",
    "proxy/audit/newest.py",
    "proxy/audit/record.py",
    "proxy/audit/redaction.py",
    "proxy/audit/line_queue.py",
    "proxy/store/shared_invalidations.py",
    "proxy/store/disk/disk_invalidations.py",
    "proxy/observe/instruments.py",
    "proxy/observe/metrics.py",
    "proxy/observe/observer.py",
    "proxy/observe/statistics.py",
)
NOTHING = "there is nothing in it to run"
ONCE = "it starts, once"
LEFT_OUT = {
    "proxy/__init__.py": NOTHING,
    "proxy/__main__.py": ONCE,
    "proxy/app.py": ONCE,
    "proxy/assembly.py": ONCE,
    "proxy/clock.py": "its two functions are C already",
    "proxy/errors.py": "a compiled exception that somebody points to weakly breaks the collector, before Python 3.12",
    "proxy/process.py": ONCE,
    "proxy/regular_file.py": ONCE,
    "proxy/signals.py": ONCE,
    "proxy/exchange/__init__.py": NOTHING,
    "proxy/http/__init__.py": NOTHING,
    "proxy/http/fields.py": "a dict, of which the same is true as of exceptions",
    "proxy/http/problems.py": "an exception is in it",
    "proxy/http1/__init__.py": NOTHING,
    "proxy/policy/__init__.py": NOTHING,
    "proxy/policy/route_compiler.py": ONCE,
    "proxy/runtime/__init__.py": NOTHING,
    "proxy/runtime/immediate_future.py": "a future, of which the same is true as of exceptions",
    "proxy/runtime/threads.py": "a thread is started seldom",
    "proxy/server/__init__.py": NOTHING,
    "proxy/server/acceptor.py": "a connection is made seldom, and sockets are Python's",
    "proxy/server/endpoint.py": ONCE,
    "proxy/server/handshakes.py": "a handshake takes longer than all of this",
    "proxy/server/listener.py": "uvloop gives it a list where typeshed promises a tuple, and compiled code looks",
    "proxy/transport/__init__.py": NOTHING,
    "proxy/transport/certificate_expiry.py": ONCE,
    "proxy/transport/protocols.py": "a connection is made seldom",
    "proxy/transport/tls.py": ONCE,
    "proxy/upstream/__init__.py": NOTHING,
    "proxy/upstream/connector.py": "a connection is made seldom, and tests put their own in its place",
}
COMPILER = "mypy>=2.4,<3"
# What is installed where it is built shall not matter, so that the same source always gives the same code.
OPTIONS = ("--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent")


def modules() -> list[str]:
    """Return the paths of the modules to compile."""
    found = {path.as_posix() for pattern in COMPILED for path in Path().glob(pattern)}
    return sorted(found - LEFT_OUT.keys())


def extensions() -> list[Extension]:
    """Return what is to be compiled: for a wheel only, and by then the compiler is installed."""
    if "bdist_wheel" not in sys.argv:
        return []
    from mypyc.build import mypycify

    return mypycify([*OPTIONS, *modules()], group_name="backstay", debug_level="0")


if __name__ == "__main__":
    if os.environ.get("BACKSTAY_COMPILE") == "1":
        setup(setup_requires=[COMPILER], ext_modules=extensions())
    else:
        setup()
