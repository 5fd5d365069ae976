"""The chart, rendered by real Helms and validated against Kubernetes' schemas. Asserts structure, not text."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from proxy.cli import main as command_line
from proxy.config.load import load
from tests.deploy.generate import CHART
from tests.deploy.tools import Document, Helm
from tests.deploy.value_sets import BACKEND, BAD, GOOD, Values

# What is validated against: the first Kubernetes with native sidecars, and the newest that the validator knows.
OLDEST = "1.29.0"
NEWEST = "1.35.0"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
"""
OPERATORS = "monitoring.coreos.com/v1"


def one(rendered: list[Document], kind: str) -> Document:
    """Return the only object of its kind."""
    (found,) = [document for document in rendered if document["kind"] == kind]
    return found


def pod_of(rendered: list[Document]) -> Document:
    """Return the pod template of the Deployment, or of the StatefulSet in its place."""
    (workload,) = [each for each in rendered if each["kind"] in ("Deployment", "StatefulSet")]
    template: Document = workload["spec"]["template"]
    return template


def sidecar_of(rendered: list[Document]) -> Document:
    """Return the sidecar's container, wherever it stands."""
    spec = pod_of(rendered)["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    (found,) = [container for container in containers if container["name"] == "backstay"]
    return dict(found)


def config_of(rendered: list[Document]) -> str:
    """Return the configuration file."""
    maps = [d for d in rendered if d["kind"] == "ConfigMap" and "backstay.toml" in d["data"]]
    return str(maps[0]["data"]["backstay.toml"])


def test_lint_finds_nothing(helm: Helm) -> None:
    """Not even a warning, with and without a backend."""
    for values in ({}, BACKEND):
        done = helm.run("lint", "--strict", str(CHART), values=values)
        assert done.returncode == 0, done.stdout
        assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("name", GOOD)
def test_every_object_is_valid(helm: Helm, name: str) -> None:
    """Each rendered object fits the schemas of the oldest and the newest Kubernetes, without an unknown field."""
    validator: Any = pytest.importorskip("kubernetes_validate")
    newest = ".".join(validator.latest_version().split(".")[:2])
    for kubernetes, schemas in ((OLDEST, "1.29"), (NEWEST, newest)):
        for document in helm.render(CHART, GOOD[name], kubernetes):
            if document["apiVersion"] != OPERATORS:  # the operator's own kinds have schemas of their own
                validator.validate(document, schemas, strict=True)


@pytest.mark.parametrize("name", GOOD)
def test_the_configuration_is_accepted(
    helm: Helm, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`backstay check` takes what the ConfigMap holds, and prints every route of the values."""
    file = tmp_path / "backstay.toml"
    file.write_text(config_of(helm.render(CHART, GOOD[name], NEWEST)), encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["backstay", "check", "--no-files", str(file)])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert left.value.code in (0, None)
    shown = capsys.readouterr().out
    assert all(route["operation"] in shown for route in GOOD[name].get("config", {}).get("routes", []))


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_refused_with_the_reason(helm: Helm, name: str) -> None:
    """Nothing is rendered, and the message names what to change."""
    values, expected = BAD[name]
    done = helm.run("template", "shop", str(CHART), "--kube-version", NEWEST, values=values)
    assert done.returncode != 0
    assert not done.stdout.strip()
    assert expected in done.stderr


def test_an_old_cluster_is_told_what_to_set(helm: Helm) -> None:
    """Native sidecars and the kubelet's sleep each need their Kubernetes."""
    values = {"backend": {"image": "s", "preStop": "sleep"}}
    done = helm.run("template", "shop", str(CHART), "--kube-version", "1.28.0", values=values)
    assert "sidecar.native needs Kubernetes 1.29, and this is v1.28.0: set sidecar.native=false" in done.stderr
    assert "backend.preStop=sleep needs Kubernetes 1.30" in done.stderr


def test_the_service_targets_the_sidecar_and_the_sidecar_the_backend(helm: Helm) -> None:
    """The frontend's URL stays; the backend hears it from the sidecar."""
    rendered = helm.render(CHART, GOOD["own ports"], NEWEST)
    (port,) = one(rendered, "Service")["spec"]["ports"]
    assert port["targetPort"] == 8081
    assert 'address = "0.0.0.0:8081"' in config_of(rendered)
    assert 'url = "http://127.0.0.1:8080"' in config_of(rendered)
    assert one(rendered, "Service")["spec"]["selector"].items() <= pod_of(rendered)["metadata"]["labels"].items()


def test_native_is_an_init_container_that_stays_and_comes_last(helm: Helm) -> None:
    """The user's own init containers come before it; the backend starts after its startup probe."""
    spec = pod_of(helm.render(CHART, GOOD["everything of a pod"], NEWEST))["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["migrate", "backstay"]
    assert spec["initContainers"][-1]["restartPolicy"] == "Always"
    assert [container["name"] for container in spec["containers"]] == ["backend", "shipper"]


def test_not_native_is_an_ordinary_container(helm: Helm) -> None:
    """Beside the backend, without a restart policy of its own."""
    spec = pod_of(helm.render(CHART, GOOD["ordinary container"], NEWEST))["spec"]
    assert "initContainers" not in spec
    assert [container["name"] for container in spec["containers"]] == ["backend", "backstay"]
    assert "restartPolicy" not in spec["containers"][1]


@pytest.mark.parametrize("grace", [8, 9, 30, 61, 300])
def test_the_times_of_a_termination_fit_into_each_other(helm: Helm, grace: int, tmp_path: Path) -> None:
    """The sidecar is done before the backend wakes, and the backend has time left before it is killed."""
    rendered = helm.render(CHART, {**BACKEND, "terminationGracePeriodSeconds": grace}, NEWEST)
    file = tmp_path / "backstay.toml"
    file.write_text(config_of(rendered), encoding="utf-8")
    listen = load(file, environ={}).listen
    spec = pod_of(rendered)["spec"]
    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert listen.drain_delay >= 1
    assert listen.drain_timeout >= 3
    assert listen.drain_delay + listen.drain_timeout + 1 <= sleep < grace == spec["terminationGracePeriodSeconds"]


def test_the_backend_sleeps_as_its_cluster_can(helm: Helm) -> None:
    """The kubelet's own sleep from 1.30 on; before, or where it is wanted, the image's."""
    hooks = [
        pod_of(helm.render(CHART, values, kubernetes))["spec"]["containers"][0]["lifecycle"]["preStop"]
        for values, kubernetes in (
            (BACKEND, "1.29.0"),
            (BACKEND, "1.30.1-gke.1"),
            ({"backend": {"image": "s", "preStop": "exec"}}, "1.33.0"),
        )
    ]
    by_image = {"exec": {"command": ["sleep", "24"]}}
    assert hooks == [by_image, {"sleep": {"seconds": 24}}, by_image]


@pytest.mark.parametrize("name", [name for name in GOOD if "backend" in GOOD[name]])
def test_the_restricted_standard_holds(helm: Helm, name: str) -> None:
    """No privileges to gain, no capability, no root, the runtime's seccomp profile, a bound on every resource."""
    rendered = helm.render(CHART, GOOD[name], NEWEST)
    assert pod_of(rendered)["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod_of(rendered)["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (sidecar_of(rendered), pod_of(rendered)["spec"]["containers"][0]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
    sidecar = sidecar_of(rendered)
    assert sidecar["securityContext"]["readOnlyRootFilesystem"] is True
    assert sidecar["resources"]["requests"].keys() == sidecar["resources"]["limits"].keys() == {"cpu", "memory"}


def test_probes_mean_different_things_and_never_ask_the_backend(helm: Helm) -> None:
    """Startup and readiness ask whether it accepts, liveness whether it turns; all at the control plane."""
    sidecar = sidecar_of(helm.render(CHART, BACKEND, NEWEST))
    asked = {kind: sidecar[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert sidecar["readinessProbe"]["failureThreshold"] == 1
    ports = {sidecar[f"{kind}Probe"]["httpGet"]["port"] for kind in asked}
    assert ports == {9901}


def test_a_changed_configuration_rolls_the_pods(helm: Helm) -> None:
    """The annotation is the configuration's sum: equal values give an equal one, another value another."""
    changed: Values = {**BACKEND, "config": {"log": {"level": "debug"}}}
    sums = [
        pod_of(helm.render(CHART, values, NEWEST))["metadata"]["annotations"]["backstay.dev/config"]
        for values in (BACKEND, BACKEND, changed)
    ]
    assert sums[0] == sums[1] != sums[2]


def test_secrets_stay_in_their_secrets(helm: Helm) -> None:
    """The token and the store's URL come by reference and stand in no ConfigMap."""
    values = {**BACKEND, "store": {"secretName": "redis"}, "sidecar": {"adminToken": {"secretName": "admin"}}}
    rendered = helm.render(CHART, values, NEWEST)
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in sidecar_of(rendered)["env"]
        if "valueFrom" in entry
    }
    assert references == {
        "BACKSTAY_ADMIN__TOKEN": {"name": "admin", "key": "token"},
        "BACKSTAY_STORE__URL": {"name": "redis", "key": "url"},
    }
    assert "redis" not in config_of(rendered)


@pytest.mark.parametrize(
    ("scrape", "kinds"),
    [("podMonitor", {"PodMonitor"}), ("serviceMonitor", {"ServiceMonitor"}), ("annotations", set()), ("none", set())],
)
def test_prometheus_finds_the_pods_in_one_way(helm: Helm, scrape: str, kinds: set[str]) -> None:
    """One of monitor and annotations, never two: each series would count twice."""
    rendered = helm.render(CHART, {**BACKEND, "monitoring": {"scrape": scrape}}, NEWEST)
    assert {document["kind"] for document in rendered if "Monitor" in document["kind"]} == kinds
    annotated = "prometheus.io/scrape" in pod_of(rendered)["metadata"]["annotations"]
    assert annotated is (scrape == "annotations")


def test_only_monitoring_reaches_the_control_plane(helm: Helm) -> None:
    """Clients reach the sidecar's port, the monitoring namespace the other, and nobody the backend's."""
    rendered = helm.render(CHART, GOOD["closed network"], NEWEST)
    policy = one(rendered, "NetworkPolicy")["spec"]
    allowed = {rule["ports"][0]["port"]: rule["from"] for rule in policy["ingress"]}
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    assert allowed == {
        8080: [{"podSelector": {"matchLabels": {"app": "web"}}}],
        9901: [{"namespaceSelector": namespace}],
    }
    assert policy["podSelector"]["matchLabels"].items() <= pod_of(rendered)["metadata"]["labels"].items()


def test_the_autoscaler_owns_the_count(helm: Helm) -> None:
    """It measures the backend's CPU alone, and the Deployment says no number of its own."""
    rendered = helm.render(CHART, GOOD["autoscaled"], NEWEST)
    assert "replicas" not in one(rendered, "Deployment")["spec"]
    (metric,) = one(rendered, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["containerResource"]["container"] == "backend"


def test_rules_and_dashboards_come_from_the_charts_files(helm: Helm, tmp_path: Path) -> None:
    """Every rule file's groups and every dashboard, and an empty list where there is none."""
    chart = tmp_path / "backstay"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("files"))
    values = GOOD["PodMonitor"]
    assert one(helm.render(chart, values, NEWEST), "PrometheusRule")["spec"]["groups"] == []
    for name in ("alerts", "records"):
        (chart / "files/rules").mkdir(parents=True, exist_ok=True)
        (chart / f"files/rules/{name}.yaml").write_text(
            f"groups: [{{name: {name}, rules: [{{record: 'a:b', expr: '{{{{ x }}}}'}}]}}]"
        )
    (chart / "files/dashboards").mkdir()
    (chart / "files/dashboards/sessions.json").write_text('{"title": "{{route}}"}')
    rendered = helm.render(chart, values, NEWEST)
    assert [group["name"] for group in one(rendered, "PrometheusRule")["spec"]["groups"]] == ["alerts", "records"]
    (dashboards,) = [d for d in rendered if d["metadata"]["name"].endswith("-dashboards")]
    assert dashboards["data"] == {"sessions.json": '{"title": "{{route}}"}'}


def test_a_chart_of_ones_own_includes_the_sidecar(helm: Helm, tmp_path: Path) -> None:
    """The templates work from a parent chart, with the values of the dependency, as the README shows."""
    parent = tmp_path / "shop"
    shutil.copytree(CHART, parent / "charts/backstay")
    (parent / "templates").mkdir()
    (parent / "Chart.yaml").write_text(
        "{apiVersion: v2, name: shop, version: 1.0.0, dependencies: [{name: backstay, version: 0.1.0}]}"
    )
    shown = (CHART / "README.md").read_text(encoding="utf-8").split("{{- $backstay :=", 1)[1].split("```", 1)[0]
    template = "{{- $backstay :=" + shown.replace("\n    metadata:", f"\n{DEPLOYMENT}    metadata:", 1)
    (parent / "templates/deployment.yaml").write_text(template)
    rendered = helm.render(parent, {"backstay": {"backend": {"port": 3000}}}, NEWEST)
    spec = one(rendered, "Deployment")["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["name"] == "backstay"
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["volumes"][0]["configMap"]["name"] == one(rendered, "ConfigMap")["metadata"]["name"]
    assert 'url = "http://127.0.0.1:3000"' in config_of(rendered)


def test_what_is_kept_has_a_volume_and_a_key(helm: Helm) -> None:
    """The folder is on a volume of its own, and the key comes from a Secret that only the sidecar mounts."""
    rendered = helm.render(CHART, GOOD["kept over a pod's end"], NEWEST)
    mounts = {mount["name"]: mount for mount in sidecar_of(rendered)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(rendered)["spec"]["volumes"]}
    assert 'url = "sqlite:///var/lib/backstay-store/kept"' in config_of(rendered)
    assert 'key_file = "/etc/backstay-store/one"' in config_of(rendered)
    assert mounts["backstay-store"]["mountPath"] == "/var/lib/backstay-store"
    assert mounts["backstay-store-key"]["readOnly"] is True
    assert volumes["backstay-store-key"]["secret"]["secretName"] == "keys"
    backend = next(each for each in pod_of(rendered)["spec"]["containers"] if each["name"] == "backend")
    assert not any(mount["name"].startswith("backstay") for mount in backend.get("volumeMounts", []))


def test_each_pod_has_a_claim_that_is_deleted_with_it(helm: Helm) -> None:
    """A StatefulSet in place of the Deployment; the autoscaler follows. An `emptyDir` needs neither."""
    rendered = helm.render(CHART, GOOD["kept over a pod's end"], NEWEST)
    spec = one(rendered, "StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert (claim["metadata"]["name"], claim["spec"]["accessModes"]) == ("backstay-store", ["ReadWriteOnce"])
    assert claim["spec"]["resources"]["requests"]["storage"] == "1024Mi"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Delete", "whenScaled": "Delete"}
    assert one(rendered, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    volumes = {
        each["name"]: each
        for each in pod_of(helm.render(CHART, GOOD["kept over a restart"], NEWEST))["spec"]["volumes"]
    }
    assert volumes["backstay-store"]["emptyDir"]["sizeLimit"] == "1024Mi"
