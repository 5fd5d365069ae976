"""The sidecar's container in an injected pod: the chart's container, configured by environment variables only."""

from dataclasses import dataclass
from typing import Any

from proxy import __version__
from proxy.inject.manifests import snippet

GRACE_S = 30  # Kubernetes' own default
LEAST_GRACE_S = 8


@dataclass(frozen=True, slots=True)
class Options:
    """The options of an injection. Without `names`: the annotated workloads, or the only one."""

    names: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    image: str = f"backstay:{__version__}"
    port: int = 8080
    admin_port: int = 9901
    upstream_port: int | None = None
    config_map: str | None = None
    token_secret: str | None = None
    native: bool = True
    kubelet_sleeps: bool = True  # Kubernetes 1.30; otherwise the backend's image must have a `sleep` command


@dataclass(frozen=True, slots=True)
class Times:
    """The phases of a pod's termination, as in the chart, in seconds."""

    grace: int

    @property
    def drain_delay(self) -> int:
        """Return how long the sidecar accepts new connections."""
        return self.grace // 6

    @property
    def drain_timeout(self) -> int:
        """Return how long requests under way may take."""
        return self.grace - 2 * self.drain_delay - 2

    @property
    def backend_sleep(self) -> int:
        """Return how long the backend waits, which is until the sidecar has stopped."""
        return self.grace - self.drain_delay - 1


def container(options: Options, upstream_port: int, times: Times) -> Any:
    """Return the sidecar's container."""
    made = snippet(
        _CONTAINER.format(
            image=options.image,
            port=options.port,
            admin=options.admin_port,
            upstream=upstream_port,
            delay=times.drain_delay,
            timeout=times.drain_timeout,
        )
    )
    if options.native:
        made.insert(2, "restartPolicy", "Always")
    if options.config_map:
        made["args"] = snippet("[run, --config, /etc/backstay/backstay.toml]")
        made["volumeMounts"].append(snippet("{name: backstay-config, mountPath: /etc/backstay, readOnly: true}"))
    if options.token_secret:
        reference = f"{{secretKeyRef: {{name: {options.token_secret}, key: token}}}}"
        made["env"].append(snippet(f"{{name: BACKSTAY_ADMIN__TOKEN, valueFrom: {reference}}}"))
    return made


def volumes(options: Options) -> list[Any]:
    """Return the volumes that the container mounts."""
    made = [
        snippet("{name: backstay-audit, emptyDir: {sizeLimit: 1Gi}}"),
        snippet("{name: backstay-no-token, emptyDir: {sizeLimit: 1Mi}}"),
    ]
    if options.config_map:
        made.append(snippet(f"{{name: backstay-config, configMap: {{name: {options.config_map}}}}}"))
    return made


def sleep(options: Options, times: Times) -> Any:
    """Return the backend's preStop hook."""
    if options.kubelet_sleeps:
        return snippet(f"{{sleep: {{seconds: {times.backend_sleep}}}}}")
    return snippet(f'{{exec: {{command: [sleep, "{times.backend_sleep}"]}}}}')


# The sidecar calls no API server. The empty mount keeps Kubernetes from mounting a service account token there.
# The trail rotates at an eighth of its volume and keeps half: the kubelet evicts a pod that exceeds the limit.
_CONTAINER = """\
name: backstay
image: {image}
args: [run, --upstream, "http://127.0.0.1:{upstream}"]
env:
  - {{name: BACKSTAY_LISTEN__ADDRESS, value: "0.0.0.0:{port}"}}
  - {{name: BACKSTAY_LISTEN__DRAIN_DELAY, value: {delay}s}}
  - {{name: BACKSTAY_LISTEN__DRAIN_TIMEOUT, value: {timeout}s}}
  - {{name: BACKSTAY_ADMIN__ADDRESS, value: "0.0.0.0:{admin}"}}
  - {{name: BACKSTAY_AUDIT__PATH, value: /var/lib/backstay/audit.jsonl}}
  - {{name: BACKSTAY_AUDIT__ROTATE_SIZE, value: 128MiB}}
  - {{name: BACKSTAY_AUDIT__KEEP_SIZE, value: 512MiB}}
ports:
  - {{name: backstay, containerPort: {port}}}
  - {{name: backstay-admin, containerPort: {admin}}}
startupProbe:
  httpGet: {{path: /readyz, port: {admin}}}
  periodSeconds: 1
  failureThreshold: 30
readinessProbe:
  httpGet: {{path: /readyz, port: {admin}}}
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  httpGet: {{path: /healthz, port: {admin}}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
lifecycle:
  preStop:
    exec:
      command: [backstay, drain, --pid, "1"]
resources:
  requests: {{cpu: 100m, memory: 96Mi}}
  limits: {{cpu: "1", memory: 256Mi}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {{drop: [ALL]}}
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: {{type: RuntimeDefault}}
volumeMounts:
  - {{name: backstay-audit, mountPath: /var/lib/backstay}}
  - {{name: backstay-no-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}}
"""
