"""Sets of chart values that must render, and mistakes with a part of the expected error."""

from typing import Any

Values = dict[str, Any]

BACKEND: Values = {"backend": {"image": "sessions:1.4"}}
MEASURED: Values = {"backend": {"image": "sessions:1.4", "resources": {"requests": {"cpu": "500m"}}}}

GOOD: dict[str, Values] = {
    "nothing": {},
    "backend": BACKEND,
    "ordinary container": {**BACKEND, "sidecar": {"native": False}},
    "own ports": {"backend": {"image": "s", "port": 8080}, "sidecar": {"port": 8081, "adminPort": 9902}},
    "IPv6": {**BACKEND, "sidecar": {"bind": "[::]"}},
    "token": {**BACKEND, "sidecar": {"adminToken": {"secretName": "admin"}, "env": [{"name": "TZ", "value": "UTC"}]}},
    "a name of the control plane": {**BACKEND, "config": {"admin": {"allowed_hosts": ["backstay.internal"]}}},
    "standard output": {**BACKEND, "audit": {"to": "stdout"}},
    "claim": {**BACKEND, "audit": {"to": "persistentVolumeClaim", "claimName": "trails"}},
    "small trail": {**BACKEND, "audit": {"sizeMiB": 64}, "config": {"audit": {"durability": "blocking"}}},
    "Redis": {**BACKEND, "store": {"url": "redis://redis:6379/0"}, "config": {"store": {"max_entries": 500}}},
    "Redis with a password": {**BACKEND, "store": {"secretName": "redis"}},
    "kept over a restart": {**BACKEND, "store": {"durable": {"to": "emptyDir"}}},
    "kept over a restart, encrypted": {
        "store": {"durable": {"to": "emptyDir", "sizeMiB": 256, "secretName": "keys"}},
        "config": {"store": {"max_bytes": "64MiB"}},
    },
    "kept over a pod's end": {
        **MEASURED,
        "autoscaling": {"enabled": True},
        "store": {"durable": {"to": "claim", "storageClassName": "local", "secretName": "keys", "key": "one"}},
    },
    "ServiceMonitor": {**BACKEND, "monitoring": {"scrape": "serviceMonitor", "labels": {"release": "prometheus"}}},
    "PodMonitor": {**BACKEND, "monitoring": {"scrape": "podMonitor", "rules": True, "dashboards": True}},
    "closed network": {
        **BACKEND,
        "networkPolicy": {"enabled": True, "clients": [{"podSelector": {"matchLabels": {"app": "web"}}}]},
    },
    "autoscaled": {
        **MEASURED,
        "autoscaling": {"enabled": True},
        "podDisruptionBudget": {"maxUnavailable": "25%"},
    },
    "one pod": {**BACKEND, "replicas": 1, "topologySpread": "none"},
    "long requests": {**BACKEND, "terminationGracePeriodSeconds": 300},
    "by digest": {**BACKEND, "image": {"repository": "backstay", "digest": f"sha256:{'0' * 64}"}},
    "everything of a pod": {
        "backend": {
            "image": "sessions:1.4",
            "args": ["serve"],
            "env": [{"name": "MODE", "value": "fast"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "securityContext": {"runAsUser": 1000},
        },
        "labels": {"team": "sessions"},
        "podAnnotations": {"note": "yes"},
        "podLabels": {"tier": "api"},
        "serviceAccountName": "sessions",
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "topologySpread": "hard",
        "extraContainers": [{"name": "shipper", "image": "shipper:1"}],
        "extraInitContainers": [{"name": "migrate", "image": "sessions:1.4"}],
        "extraVolumes": [{"name": "tmp", "emptyDir": {}}],
        "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"note": "yes"}},
    },
    "several upstreams": {
        **BACKEND,
        "passthrough": "sessions",
        "config": {
            "upstreams": {
                "sessions": {"url": "http://127.0.0.1:8000", "breaker": {"failure_threshold": 7, "jitter": 0.25}},
                "a-history": {"url": ["http://history:80", "http://history-2:80"], "max_idle": 8},
            },
            "circuits": {"restoration": {"reset_timeout": "10s"}},
            "passthrough": {"total_timeout": "60s", "circuit": "restoration"},
            "routes": [{"operation": "status", "match": "GET /status", "circuit": "restoration"}],
            "defaults": {"total_timeout": "3s", "retry": {"max_retries": 2}, "max_body": "none"},
        },
    },
    "routes": {
        **BACKEND,
        "config": {
            "dry_run": True,
            "log": {"level": "debug"},
            "listen": {"trusted_proxies": ["10.0.0.0/8"], "max_head": 32768},
            "routes": [
                {
                    "operation": "session-create",
                    "match": "POST /api/sessions",
                    "subject": "body:/reportId",
                    "coalesce": "subject",
                    "idempotency": "inject",
                    "on_conflict": "GET /api/sessions/{subject}",
                    "on_missing": {"request": "POST /api/sessions", "body": {"id": "{subject}", "tags": ["a<b", '"']}},
                },
                {
                    "operation": "history",
                    "match": "GET /api/conversations/{report_id}/history",
                    "subject": "path:report_id",
                    "fallback": {"status": 200, "body": {"messages": [], "degraded": True, "ratio": 0.5, "n": 3}},
                    "target": {"ideal": "500ms"},
                },
            ],
        },
    },
}  # fmt: skip

# name: values, and what the refusal must say
BAD: dict[str, tuple[Values, str]] = {
    "unknown value": ({"replica": 2}, "replica"),
    "unknown value deep down": ({"sidecar": {"ports": 1}}, "ports"),
    "unknown setting": ({"config": {"listen": {"adress": "x"}}}, "adress"),
    "unknown setting of a route": ({"config": {"routes": [{"operation": "x", "retries": 3}]}}, "retries"),
    "unknown setting of an upstream": ({"config": {"upstreams": {"a": {"uri": "http://a"}}}}, "uri"),
    "an address that the chart sets": ({"config": {"listen": {"address": "0.0.0.0:1"}}}, "address"),
    "a token in a ConfigMap": ({"config": {"admin": {"token": "secret"}}}, "admin"),
    "a password in a ConfigMap": ({"store": {"url": "redis://:secret@redis:6379"}}, "url"),
    "a password in the query of the store's URL": (
        {"store": {"url": "rediss://redis:6379/0?ssl_cert_reqs=required&password=secret"}},
        "store.url carries a password in its query",
    ),
    "a user in an upstream's URL": (
        {"config": {"upstreams": {"a": {"url": "https://user@a"}}}},
        "config.upstreams.a.url carries a user or a password",
    ),
    "a password in an upstream's URL, encoded": (
        {"config": {"upstreams": {"a": {"url": ["http://b", "http://user:secret%40a"]}}}},
        "config.upstreams.a.url[1] carries a user or a password",
    ),
    "a private key in a setting": (
        {"config": {"listen": {"tls_key": "-----BEGIN EC PRIVATE KEY-----\nMHcC"}}},
        "config.listen.tls_key is a private key",
    ),
    "a credential in a fallback": (
        {"config": {"routes": [{"fallback": {"body": {"authorization": "Bearer abc"}}}]}},
        "config.routes[0].fallback.body.authorization is a credential",
    ),
    "a secret in the sidecar's environment": (
        {"sidecar": {"env": [{"name": "OTEL_EXPORTER_OTLP_TOKEN", "value": "secret"}]}},
        "sidecar.env sets OTEL_EXPORTER_OTLP_TOKEN in plain text",
    ),
    "a duration without its unit": ({"config": {"defaults": {"total_timeout": 2}}}, "total_timeout"),
    "a word that is none": ({"config": {"defaults": {"coalesce": "always"}}}, "coalesce"),
    "two ways to scrape": ({"monitoring": {"scrape": ["podMonitor", "serviceMonitor"]}}, "scrape"),
    "a port that is none": ({"sidecar": {"port": 70000}}, "port"),
    "no time to end": ({"terminationGracePeriodSeconds": 5}, "8"),
    "replicas in words": ({"replicas": "two"}, "integer"),
    "a tag as the digest": ({"image": {"digest": "1.4"}}, "sha256"),
    "an unknown destination": ({"audit": {"to": "s3"}}, "stdout"),
    "a label that is no string": ({"labels": {"a": 1}}, "string"),
    "one port twice": ({"sidecar": {"port": 9901}}, "sidecar.port and sidecar.adminPort are both 9901"),
    "the backend's own port": (
        {"backend": {"image": "s", "port": 8080}},
        "sidecar.port is 8080, and so is backend.port: they share the pod's address, so set another",
    ),
    "no claim": ({"audit": {"to": "persistentVolumeClaim"}}, "needs audit.claimName"),
    "a claim for nothing": ({"audit": {"claimName": "trails"}}, "set audit.to=persistentVolumeClaim"),
    "two stores": (
        {"store": {"url": "redis://r:6379", "secretName": "redis"}},
        "store.url and store.secretName are both set",
    ),
    "two places for what is kept": (
        {"store": {"url": "redis://r:6379", "durable": {"to": "emptyDir"}}},
        "store.durable.to is emptyDir, but what is kept goes to store.url",
    ),
    "plain text on a disk": (
        {**BACKEND, "store": {"durable": {"to": "claim"}}},
        "name the Secret with its key in store.durable.secretName",
    ),
    "a claim without pods": (
        {"store": {"durable": {"to": "claim", "secretName": "keys"}}},
        "which needs backend.image",
    ),
    "keys for nothing": ({"store": {"durable": {"secretName": "keys"}}}, "store.durable.to is none"),
    "the file of keys in the configuration": ({"config": {"store": {"key_file": "/x"}}}, "key_file"),
    "bounds crossed": (
        {**MEASURED, "autoscaling": {"enabled": True, "minReplicas": 20}},
        "autoscaling.minReplicas (20) is above autoscaling.maxReplicas (10)",
    ),
    "a share of nothing": ({**BACKEND, "autoscaling": {"enabled": True}}, "set backend.resources.requests.cpu"),
    "nothing to scale": ({"autoscaling": {"enabled": True}}, "there is no Deployment to scale"),
    "an order that a map has not": (
        {"config": {"upstreams": {"a": {"url": "http://a"}, "b": {"url": "http://b"}}}},
        "config.upstreams has more than one (a, b)",
    ),
    "a pass-through to nobody": (
        {"passthrough": "sessions"},
        'passthrough names "sessions", but config.upstreams has: nothing',
    ),
    "the chart's own variable": (
        {"sidecar": {"env": [{"name": "BACKSTAY_ADMIN__ADDRESS", "value": "x"}]}},
        "sidecar.env sets BACKSTAY_ADMIN__ADDRESS",
    ),
    "one operation twice": (
        {"config": {"routes": [{"operation": "a", "match": "GET /a"}, {"operation": "a", "match": "GET /b"}]}},
        "config.routes[1] has the operation a, as config.routes[0] has",
    ),
    "one request twice": (
        {
            "config": {
                "routes": [
                    {"operation": "a", "match": "GET, HEAD /api/{x}/{more...}"},
                    {"operation": "b", "match": "PUT /api/{x}"},
                    {"operation": "c", "match": "HEAD /api/{y}/{rest...}"},
                ]
            }
        },
        "config.routes[2] matches HEAD /api/{}/{...}, as config.routes[0] does",
    ),
    "a path of another router": (
        {"config": {"routes": [{"operation": "a", "match": "GET /api/*"}]}},
        'config.routes[0].match is "GET /api/*": write {name} for one segment, and {rest...} for all that follow',
    ),
    "a path of another router with a colon": (
        {"config": {"routes": [{"operation": "a", "match": "GET /api/:id"}]}},
        'config.routes[0].match is "GET /api/:id"',
    ),
    "one variable of the backend twice": (
        {"backend": {"image": "s", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
        "backend.env has two entries with the name A",
    ),
    "one variable of the sidecar twice": (
        {"sidecar": {"env": [{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}]}},
        "sidecar.env has two entries with the name A",
    ),
    "one volume twice": (
        {"extraVolumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]},
        "extraVolumes has two entries with the name v",
    ),
    "the chart's own volume": (
        {"extraVolumes": [{"name": "backstay-audit", "emptyDir": {}}]},
        "extraVolumes has the name backstay-audit, which is a volume of the chart",
    ),
    "null": ({"config": {"routes": [{"fallback": {"body": {"a": None}}}]}}, "null has no place"),
}  # fmt: skip
