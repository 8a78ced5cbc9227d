"""What a BrokerCluster becomes, whole, as files to read. `UPDATE_GOLDEN=1 pytest …` writes them anew."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker_operator.api import parse
from broker_operator.render import RenderSettings, render
from tests.support.clusters import each, exact, limited, manifest, postgres, total

GOLDEN = Path(__file__).parent / "golden"
SETTINGS = RenderSettings(
    broker_image="brokercluster/broker:0.1.0",
    proxy_image="brokercluster/proxy:0.1.0",
    version="0.1.0",
    available_kinds=frozenset({"ServiceMonitor"}),
)
PLACEMENT: dict[str, Any] = {
    "image": "registry.example/broker:1",
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "2500m", "memory": "1Gi"}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "dedicated", "value": "brokers", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
    "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone"}],
    "priorityClassName": "high",
    "podLabels": {"team": "shop"},
    "podAnnotations": {"example.com/a": "b"},
    "drainSeconds": 60,
}
SPECS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "memory": {"storage": {"type": "Memory", "memory": {"limit": "64Mi"}}, "monitoring": {"enabled": False}},
    "limits": {**limited(total(5000, "Second", burst=10000), each(500, "Second"), exact("audit", 50, "Minute"))},
    "postgres": {**postgres(3, poolSize=4), "proxy": {"replicas": 2}},
    "access": {
        "proxy": {
            "tls": {
                "secretName": "orders-tls",
                "clientCASecretName": "orders-clients",
                "clientCertificates": "Optional",
            },
            "authentication": {
                "apiKeys": {"secretName": "orders-keys"},
                "jwt": {"issuer": "https://issuer.example", "jwks": {"uri": "https://issuer.example/keys"}},
            },
            "grpcWeb": {"allowOrigins": ["https://*.example.com"]},
        },
    },
    "everything": {
        "replicas": 0,
        "storage": {"sqlite": {"size": "10Gi", "storageClassName": "fast"}},
        "limits": {"maxBodyBytes": "4Mi", "maxExpirationSeconds": 60, "maxSubscriptions": 5},
        "broker": PLACEMENT,
        "proxy": {
            **PLACEMENT,
            "replicas": 3,
            "service": {"type": "LoadBalancer", "annotations": {"cloud": "internal"}},
        },
        "monitoring": {
            "labels": {"release": "prometheus"},
            "interval": "15s",
            "dashboards": {"labels": {"grafana": "main"}, "annotations": {"grafana_folder": "Brokers"}},
        },
    },
}


def rendered(spec: dict[str, Any]) -> str:
    objects = render(parse(manifest(spec)), SETTINGS)
    for one in objects:
        if one["metadata"]["name"].endswith("-dashboard"):
            # The dashboard has tests of its own.
            one["data"] = dict.fromkeys(one["data"], "…")
    return yaml.dump_all(objects, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=120)


class _Readable(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


@pytest.mark.parametrize("name", SPECS)
def test_rendered_as_before(name: str) -> None:
    file = GOLDEN / f"{name}.yaml"
    text = rendered(SPECS[name])
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text(), (
        "changed; if it is meant to, run again with UPDATE_GOLDEN=1 and read the difference"
    )


def test_no_golden_file_is_left_over() -> None:
    assert {file.stem for file in GOLDEN.glob("*.yaml")} == set(SPECS)
