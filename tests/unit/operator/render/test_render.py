"""What must hold for the objects of any BrokerCluster."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.server.permissions import Action, Pattern, Rule, Source, Who
from broker.server.permissions_file import parse as read_rules
from broker_operator.api import BrokerCluster, parse
from broker_operator.render import (
    BROKER,
    PROXY,
    RenderSettings,
    address,
    internal_hosts,
    internal_secret,
    render,
    selector,
)
from tests.support.clusters import each, limited, manifest, postgres
from tests.unit.operator.render.test_golden import SETTINGS, SPECS

ROOT = Path(__file__).parents[4]
clusters = pytest.mark.parametrize("cluster", [parse(manifest(spec)) for spec in SPECS.values()], ids=list(SPECS))


def objects(cluster: BrokerCluster, settings: RenderSettings = SETTINGS) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["kind"], one["metadata"]["name"]): one for one in render(cluster, settings)}


def pods(cluster: BrokerCluster) -> dict[str, dict[str, Any]]:
    """The pod templates, by component."""
    made = [one["spec"]["template"] for one in render(cluster, SETTINGS) if one["kind"] == "Deployment"]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in made}


@clusters
def test_rendering_is_deterministic_and_plain(cluster: BrokerCluster) -> None:
    first, second = render(cluster, SETTINGS), render(cluster, SETTINGS)
    assert json.dumps(first) == json.dumps(second)
    assert yaml.safe_load(yaml.safe_dump(first)) == first


@clusters
def test_every_object_is_owned_labelled_and_named_once(cluster: BrokerCluster) -> None:
    made = render(cluster, SETTINGS)
    assert len(objects(cluster)) == len(made)
    for one in made:
        metadata = one["metadata"]
        assert metadata["namespace"] == cluster.namespace
        assert [(owner["uid"], owner["controller"]) for owner in metadata["ownerReferences"]] == [(cluster.uid, True)]
        assert metadata["labels"]["app.kubernetes.io/instance"] == cluster.name
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "broker-operator"


@clusters
def test_pods_fit_the_restricted_standard_and_cannot_write_to_their_image(cluster: BrokerCluster) -> None:
    for template in pods(cluster).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@clusters
def test_selectors_match_their_pods(cluster: BrokerCluster) -> None:
    templates = pods(cluster)
    for (kind, _), one in objects(cluster).items():
        match kind:
            case "Service":
                wanted = one["spec"]["selector"]
            case "Deployment" | "PodDisruptionBudget":
                wanted = one["spec"]["selector"]["matchLabels"]
            case "NetworkPolicy":
                wanted = one["spec"]["podSelector"]["matchLabels"]
            case _:
                continue
        labels = templates[wanted["app.kubernetes.io/component"]]["metadata"]["labels"]
        assert wanted.items() <= labels.items()
        assert len(wanted) == 3


@clusters
def test_each_monitor_finds_its_port_on_one_service(cluster: BrokerCluster) -> None:
    made = objects(cluster)
    for monitor in (one for (kind, _), one in made.items() if kind == "ServiceMonitor"):
        wanted, endpoint = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"][0]
        found = [
            service
            for (kind, _), service in made.items()
            if kind == "Service"
            and wanted.items() <= service["metadata"]["labels"].items()
            and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        ]
        assert len(found) == 1


@clusters
def test_services_lead_to_ports_that_the_pods_have(cluster: BrokerCluster) -> None:
    templates = pods(cluster)
    for service in (one for (kind, _), one in objects(cluster).items() if kind == "Service"):
        component = service["spec"]["selector"]["app.kubernetes.io/component"]
        ports = {port["name"] for port in templates[component]["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_an_upgrade_of_the_operator_alone_restarts_no_pod() -> None:
    cluster = parse(manifest())
    newer = replace(SETTINGS, version="9.9.9")
    for key, one in objects(cluster).items():
        if key[0] == "Deployment":
            assert objects(cluster, newer)[key]["spec"] == one["spec"]


def test_changed_limits_restart_no_proxy() -> None:
    before, after = parse(manifest()), parse(manifest(limited(each(5))))
    assert pods(before)[PROXY] == pods(after)[PROXY]
    data = [objects(cluster)["ConfigMap", "orders-proxy"]["data"] for cluster in (before, after)]
    assert data[0]["envoy.json"] == data[1]["envoy.json"]
    assert data[0]["rds.json"] != data[1]["rds.json"]


def test_pods_with_other_secrets_follow_another_configuration() -> None:
    """Those that still run have not the Secret that the new one names."""
    tls = [{"proxy": {"tls": {"secretName": name}}} for name in ("first", "second")]
    keys = {"proxy": {"authentication": {"apiKeys": {"secretName": "first"}}}}
    followed = []
    for spec in ({}, limited(each(5)), *tls, keys):
        made = objects(parse(manifest(spec)))
        (config,) = [name for kind, name in made if kind == "ConfigMap" and "proxy" in name]
        volumes = pods(parse(manifest(spec)))[PROXY]["spec"]["volumes"]
        assert {"name": "config", "configMap": {"name": config}} in volumes
        followed.append(config)
    assert followed[:2] == ["orders-proxy"] * 2
    assert len(set(followed)) == 4


def test_a_volume_only_where_it_is_needed_and_two_brokers_never_share_one() -> None:
    durable, memory = parse(manifest()), parse(manifest({"storage": {"type": "Memory"}}))
    assert ("PersistentVolumeClaim", "orders-broker-data") in objects(durable)
    assert not [name for kind, name in objects(memory) if kind == "PersistentVolumeClaim"]
    assert objects(durable)["Deployment", "orders-broker"]["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("replicas", "budget"), [(0, False), (1, False), (2, True)])
def test_a_single_proxy_does_not_block_the_drain_of_its_node(replicas: int, budget: bool) -> None:
    made = objects(parse(manifest({"proxy": {"replicas": replicas}})))
    assert (("PodDisruptionBudget", "orders-proxy") in made) is budget


SCALING = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60}


def test_an_autoscaler_alone_sets_the_number_of_proxies() -> None:
    made = objects(parse(manifest({"proxy": {"replicas": 3, "autoscaling": SCALING}})))
    scaler = made["HorizontalPodAutoscaler", "orders-proxy"]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders-proxy"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 5)
    assert "replicas" not in made["Deployment", "orders-proxy"]["spec"]
    assert ("PodDisruptionBudget", "orders-proxy") in made
    assert ("HorizontalPodAutoscaler", "orders-proxy") not in objects(parse(manifest()))
    one = objects(parse(manifest({"proxy": {"replicas": 3, "autoscaling": {**SCALING, "minReplicas": 1}}})))
    assert ("PodDisruptionBudget", "orders-proxy") not in one


def test_pods_spread_over_nodes_unless_the_user_says_otherwise() -> None:
    for component, template in pods(parse(manifest())).items():
        (spread,) = template["spec"]["topologySpreadConstraints"]
        assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
        assert spread["labelSelector"]["matchLabels"] == selector(parse(manifest()), component)
    zone = {"proxy": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}
    (spread,) = pods(parse(manifest(zone)))[PROXY]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "zone"


def test_what_envoy_reads_once_restarts_proxies_and_nothing_else_of_connections_does() -> None:
    default, other, streams = (
        pods(parse(manifest({"proxy": {"connections": connections}})))[PROXY]
        for connections in ({}, {"maxConnections": 7}, {"maxStreams": 7})
    )
    assert "annotations" not in default["metadata"]
    assert other["metadata"]["annotations"] == {"brokercluster.dev/max-connections": "7"}
    assert streams == default


def test_the_clients_service_says_where_outside_traffic_may_go_only_when_asked() -> None:
    service = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    made = objects(parse(manifest({"proxy": {"service": service}})))["Service", "orders"]["spec"]
    assert (made["type"], made["externalTrafficPolicy"]) == ("LoadBalancer", "Local")
    assert "externalTrafficPolicy" not in objects(parse(manifest()))["Service", "orders"]["spec"]


def test_monitors_only_where_the_kind_exists() -> None:
    cluster = parse(manifest({"monitoring": {"labels": {"release": "prometheus"}}}))
    made = objects(cluster)
    for name in ("orders-broker", "orders-proxy"):
        assert made["ServiceMonitor", name]["metadata"]["labels"]["release"] == "prometheus"
    without = objects(cluster, replace(SETTINGS, available_kinds=frozenset()))
    assert not [name for kind, name in without if kind == "ServiceMonitor"]
    assert ("ConfigMap", "orders-dashboard") in without


def test_the_dashboard_is_shipped_and_is_json() -> None:
    assert (ROOT / "dashboards" / "brokercluster.json").resolve().is_relative_to(ROOT / "operator" / "broker_operator")
    made = objects(parse(manifest()))["ConfigMap", "orders-dashboard"]
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["brokercluster.json"])["title"]


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, 2),
        ({"cpu": "0"}, 1),
        ({"cpu": "100m"}, 1),
        ({"cpu": 3}, 3),
        ({"cpu": "2500m"}, 3),
        ({"cpu": "1.5"}, 2),
        ({"cpu": "1k"}, 64),
    ],
)
def test_envoy_has_a_worker_for_each_cpu(limits: dict[str, Any], workers: int) -> None:
    template = pods(parse(manifest({"proxy": {"resources": {"limits": limits}}})))[PROXY]
    args = template["spec"]["containers"][0]["args"]
    assert args[args.index("--concurrency") + 1] == str(workers)


def test_pods_have_time_to_drain() -> None:
    templates = pods(parse(manifest({"broker": {"drainSeconds": 40}, "proxy": {"drainSeconds": 50}})))
    broker, proxy = templates[BROKER]["spec"], templates[PROXY]["spec"]
    assert "--drain-timeout=40" in broker["containers"][0]["args"]
    assert broker["terminationGracePeriodSeconds"] == 50
    assert proxy["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["/usr/local/bin/drain", "--budget=50"]
    assert proxy["terminationGracePeriodSeconds"] == 60


def test_scaling_restarts_no_broker() -> None:
    templates = [pods(parse(manifest(postgres(replicas))))[BROKER] for replicas in (0, 1, 3)]
    assert templates == templates[:1] * 3


def test_the_database_is_in_a_file_that_follows_its_secret() -> None:
    """Not in the environment or the arguments, which a running pod keeps; and not by subPath, which never changes."""
    spec = pods(parse(manifest(postgres(secret="shop-db", dsnSecretRef={"name": "shop-db", "key": "dsn"}))))[BROKER][
        "spec"
    ]
    (container,), volumes = spec["containers"], {volume["name"]: volume for volume in spec["volumes"]}
    (mount,) = [mount for mount in container["volumeMounts"] if "secret" in volumes[mount["name"]]]
    assert f"--postgres-dsn-file={mount['mountPath']}/dsn" in container["args"]
    assert "subPath" not in mount
    assert volumes[mount["name"]]["secret"]["secretName"] == "shop-db"
    assert "env" not in container


@pytest.mark.parametrize("replicas", [1, 3])
def test_only_brokers_of_the_same_cluster_reach_the_port_of_peers(replicas: int) -> None:
    cluster = parse(manifest(postgres(replicas)))
    open_to = admitted(cluster, BROKER)
    assert open_to == {8080: None, 50051: selector(cluster, PROXY), 50052: selector(cluster, BROKER)}
    container = pods(cluster)[BROKER]["spec"]["containers"][0]
    assert {port["containerPort"] for port in container["ports"]} == set(open_to), "every port is in the policy"
    assert "--peers=dns:///orders-broker-headless:50052" in container["args"]


@pytest.mark.parametrize("spec", [{}, {"storage": {"type": "Memory"}}, postgres(2)])
def test_only_proxies_of_the_same_cluster_reach_its_brokers(spec: dict[str, Any]) -> None:
    cluster = parse(manifest(spec))
    assert admitted(cluster, BROKER)[50051] == selector(cluster, PROXY)
    assert "--trust-proxy=yes" in pods(cluster)[BROKER]["spec"]["containers"][0]["args"]
    assert admitted(cluster, PROXY) == {50051: None, 8080: None, 50053: selector(cluster, BROKER)}


def admitted(cluster: BrokerCluster, component: str) -> dict[int, dict[str, str] | None]:
    """Who may connect to which port of a component: pods of the namespace with these labels, or (None) everybody."""
    spec = objects(cluster)["NetworkPolicy", f"orders-{component}"]["spec"]
    assert spec["podSelector"]["matchLabels"] == selector(cluster, component)
    assert spec["policyTypes"] == ["Ingress"]
    found: dict[int, dict[str, str] | None] = {}
    for rule in spec["ingress"]:
        for port in rule["ports"]:
            assert port["protocol"] == "TCP"
            assert port["port"] not in found, "said once"
            found[port["port"]] = rule["from"][0]["podSelector"]["matchLabels"] if "from" in rule else None
            assert len(rule.get("from", [1])) == 1
    return found


def test_rules_of_authorization_are_followed_without_a_restart() -> None:
    rule = {"name": "shop", "clients": [{"from": "APIKey", "value": "köln"}, {"from": "Anyone"}]}
    keys = {"apiKeys": {"secretName": "keys"}}
    clusters = [
        parse(manifest({"proxy": {"authentication": keys, "authorization": {"rules": rules}}}))
        for rules in ([], [rule])
    ]
    assert pods(clusters[0])[BROKER] == pods(clusters[1])[BROKER]
    spec = pods(clusters[1])[BROKER]["spec"]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "authorization"]
    assert f"--authorization-file={mount['mountPath']}/authorization.json" in spec["containers"][0]["args"]
    assert {"name": "authorization", "configMap": {"name": "orders-broker"}} in spec["volumes"]
    texts = [objects(cluster)["ConfigMap", "orders-broker"]["data"]["authorization.json"] for cluster in clusters]
    assert read_rules(texts[0]) == []
    assert read_rules(texts[1]) == [
        Rule((Who(Source.API_KEY, Pattern("köln")), Who(Source.ANYONE)), frozenset(Action), ())
    ]


def test_with_tls_proxies_and_brokers_have_the_same_certificate() -> None:
    cluster = parse(manifest({"proxy": {"tls": {"secretName": "orders-tls"}}}))
    secret = internal_secret(cluster, SETTINGS)
    assert secret is not None
    assert "data" not in secret
    for component in (BROKER, PROXY):
        spec = pods(cluster)[component]["spec"]
        volumes = {one["name"]: one for one in spec["volumes"]}
        mounts = {one["mountPath"]: volumes[one["name"]] for one in spec["containers"][0]["volumeMounts"]}
        assert mounts["/etc/broker/internal-tls"]["secret"]["secretName"] == secret["metadata"]["name"]
    arguments = pods(cluster)[BROKER]["spec"]["containers"][0]["args"]
    assert "--tls-client-ca-file=/etc/broker/internal-tls/ca.crt" in arguments
    assert internal_hosts(cluster) == ["orders-broker-headless.shop.svc", "*.orders-broker-headless.shop.svc"]
    assert internal_secret(parse(manifest()), SETTINGS) is None
    assert not any("tls" in argument for argument in pods(parse(manifest()))[BROKER]["spec"]["containers"][0]["args"])


def test_what_clients_connect_to() -> None:
    cluster = parse(manifest())
    assert address(cluster) == "orders.shop.svc:50051"
    assert objects(cluster)["Service", "orders"]["spec"]["selector"] == selector(cluster, PROXY)


def test_the_longest_name_fits() -> None:
    for one in render(parse(manifest(name="a" * 40)), SETTINGS):
        assert len(one["metadata"]["name"]) <= 63
