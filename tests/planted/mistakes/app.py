"""Mistakes outside of these rooms: the listener, reload, metrics, the injected container."""

from typing import Final

from tests.planted.mistake import Mistake

MISTAKES: Final = (
    Mistake(
        "readiness-asks-healthz",
        "The injected readiness probe asks /healthz, so a draining pod gets requests.",
        "proxy/inject/container.py",
        "readinessProbe:\n  httpGet: {{path: /readyz,",
        "readinessProbe:\n  httpGet: {{path: /healthz,",
        "unit/inject/test_transform.py",
    ),
    Mistake(
        "startup-asks-healthz",
        "The injected startup probe asks /healthz, so a pod counts as started too early.",
        "proxy/inject/container.py",
        "startupProbe:\n  httpGet: {{path: /readyz,",
        "startupProbe:\n  httpGet: {{path: /healthz,",
        "unit/inject/test_transform.py",
    ),
    Mistake(
        "body-of-exactly-the-limit",
        "A body of exactly max_body bytes is refused.",
        "proxy/server/request_body.py",
        "size > most:",
        "size >= most:",
        "wire/test_limits.py",
    ),
    Mistake(
        "upstream-seconds-in-ms",
        "The histogram of attempts counts milliseconds.",
        "proxy/observe/metrics.py",
        "self._upstream_seconds.series[upstream].observe(seconds)",
        "self._upstream_seconds.series[upstream].observe(seconds * 1000)",
        "unit/observe/test_metrics.py",
    ),
    Mistake(
        "forced-circuit-not-in-gauge",
        "The gauge shows a circuit's own state while an operator forces another.",
        "proxy/app.py",
        "breaker.shown.value for name, breaker in circuits",
        "breaker.state.value for name, breaker in circuits",
        "wire/test_gauges.py",
    ),
    Mistake(
        "reload-with-broken-tls",
        "A reload with TLS files that cannot be read goes on with the old ones.",
        "proxy/loaded.py",
        "        listen_tls = _listening(listen)\n",
        "        try:\n            listen_tls = _listening(listen)\n"
        "        except Exception:\n            listen_tls = None\n",
        "wire/test_trust.py wire/test_tls.py wire/test_reload.py",
    ),
    Mistake(
        "reload-with-broken-upstream-tls",
        "A reload with an upstream's broken TLS files goes on without them.",
        "proxy/loaded.py",
        "                contexts[name] = client_context(files)\n",
        "                try:\n                    contexts[name] = client_context(files)\n"
        "                except Exception:\n                    contexts[name] = client_context(TlsFiles())\n",
        "wire/test_trust.py wire/test_tls.py wire/test_reload.py",
    ),
)
