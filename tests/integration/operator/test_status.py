"""What the operator says about a BrokerCluster, on a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.scratch import NO_PODS, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

PAUSE = "brokercluster.dev/pause-reconciliation"
RULE = {"name": "one", "subject": {"type": "Exact", "value": "audit"}, "limit": {"requests": 1, "unit": "Second"}}
LIMITED = {**NO_PODS, "proxy": {"replicas": 0, "rateLimit": {"rules": [RULE]}}}
#: Stored before the schema had its rule against it: such an object passes the API server.
TOO_LONG = {b'"value":"audit"': b'"value":"%s"' % ("é" * 200).encode()}


async def test_a_spec_that_only_the_parser_refuses_is_named_by_its_path_and_not_tried_again(house: House) -> None:
    house.proxy.rewritten = TOO_LONG
    await house.create("wrong", LIMITED)
    degraded = await house.condition("wrong", "Degraded", "True", "InvalidSpec")
    assert "spec.proxy.rateLimit.rules[0].subject.value: must have at most 255 bytes" in degraded["message"]
    assert degraded["observedGeneration"] == 1
    await house.condition("wrong", "Ready", "False", "InvalidSpec")
    assert await house.children("wrong") == {}

    await house.create("bystander")
    await house.condition("bystander", "ResourcesSynced", "True")
    # One for its creation and at most one for each own status write and event: no retries.
    assert await house.operator.metric('broker_operator_reconcile_total{result="invalid"}') <= 2
    assert await house.operator.metric('broker_operator_reconcile_total{result="failed"}') == 0

    await house.patch("BrokerCluster", "wrong", {"spec": {"proxy": {"rateLimit": None}}})
    await house.condition("wrong", "Degraded", "False")
    await house.condition("wrong", "ResourcesSynced", "True")


async def test_what_runs_goes_on_under_an_invalid_spec(house: House) -> None:
    await house.create("keeps")
    await house.condition("keeps", "ResourcesSynced", "True")
    before = await house.children("keeps")
    house.proxy.rewritten = TOO_LONG
    await house.patch("BrokerCluster", "keeps", {"spec": LIMITED})
    await house.condition("keeps", "Degraded", "True", "InvalidSpec")
    assert await house.children("keeps") == before


async def test_what_the_api_server_refuses_is_told_in_its_words_and_not_tried_again(house: House) -> None:
    resources = {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}
    await house.create("greedy", {**NO_PODS, "broker": {"resources": resources}})
    condition = await house.condition("greedy", "Degraded", "True", "RefusedAsInvalid")
    assert "Deployment greedy-broker" in condition["message"]
    assert "resources.requests" in condition["message"]
    assert await house.get("Deployment", "greedy-proxy"), "the other objects stand all the same"
    assert await house.operator.metric('broker_operator_reconcile_total{result="failed"}') == 0
    await house.patch("BrokerCluster", "greedy", {"spec": {"broker": {"resources": None}}})
    await house.condition("greedy", "Degraded", "False")


async def test_an_image_that_cannot_be_pulled_is_named(home: House) -> None:
    image = {"image": "broker.invalid/no-such-image:1"}
    await home.create("unpullable", {"storage": {"type": "Memory"}, "broker": image, "proxy": {"replicas": 0}})
    condition = await home.condition("unpullable", "Degraded", "True", "ImagePullFailed")
    assert "cannot pull image broker.invalid/no-such-image:1" in condition["message"]
    await home.condition("unpullable", "StoreReachable", "Unknown", "ImagePullFailed")
    await home.condition("unpullable", "Ready", "False", "ImagePullFailed")
    found = await home.get("BrokerCluster", "unpullable")
    assert found
    assert found["status"]["brokers"] == "0/1"
    assert found["status"]["address"] == f"unpullable.{home.namespace}.svc:50051"
    reasons = [event["reason"] for event in await home.events("unpullable")]
    assert reasons.count("ImagePullFailed") == 1, "an event for a transition, not for every pass"
    await home.delete("BrokerCluster", "unpullable")


async def test_a_pod_that_no_node_takes_is_named(home: House) -> None:
    selector = {"nodeSelector": {"nobody.example/has": "this-label"}}
    await home.create("homeless", {"storage": {"type": "Memory"}, "broker": selector, "proxy": {"replicas": 0}})
    condition = await home.condition("homeless", "Degraded", "True", "Unschedulable")
    assert "no node takes pod homeless-broker-" in condition["message"]
    await home.delete("BrokerCluster", "homeless")


async def test_a_volume_that_nobody_provides_is_named(home: House) -> None:
    sqlite = {"size": "16Mi", "storageClassName": ""}
    await home.create("thirsty", {"storage": {"type": "SQLite", "sqlite": sqlite}, "proxy": {"replicas": 0}})
    condition = await home.condition("thirsty", "Degraded", "True", "VolumePending")
    assert "volume claim thirsty-broker-data" in condition["message"]
    await home.condition("thirsty", "StoreReachable", "False", "VolumePending")
    await home.delete("BrokerCluster", "thirsty")


async def test_a_paused_cluster_is_left_alone_until_it_is_resumed_and_can_be_deleted(home: House) -> None:
    await home.create("paused")
    await home.condition("paused", "ResourcesSynced", "True")
    await home.patch("BrokerCluster", "paused", {"metadata": {"annotations": {PAUSE: "true"}}})
    await home.condition("paused", "ReconciliationPaused", "True")
    before = await home.children("paused")
    await home.delete("ConfigMap", "paused-proxy")
    await home.create("witness")  # when this one stands, the deletion has been seen too
    await home.condition("witness", "ResourcesSynced", "True")
    assert await home.children("paused") == {name: v for name, v in before.items() if name != "ConfigMap/paused-proxy"}
    assert "PausedByAnnotation" in [event["reason"] for event in await home.events("paused")]

    await home.patch("BrokerCluster", "paused", {"metadata": {"annotations": {PAUSE: None}}})

    async def resumed() -> bool:
        return "ReconciliationPaused" not in await home.conditions("paused") and bool(
            await home.get("ConfigMap", "paused-proxy")
        )

    await eventually(resumed, "the cluster is looked after again")
    await home.patch("BrokerCluster", "paused", {"metadata": {"annotations": {PAUSE: "true"}}})
    await home.condition("paused", "ReconciliationPaused", "True")
    await home.delete("BrokerCluster", "paused")

    async def gone() -> bool:
        return not await home.children("paused")

    await eventually(gone, "a paused cluster goes like any other")


async def test_the_scale_subresource_reads_what_autoscalers_need(home: House) -> None:
    await home.create("scaled")
    await home.condition("scaled", "ResourcesSynced", "True")
    path = f"/apis/brokercluster.dev/v1alpha1/namespaces/{home.namespace}/brokerclusters/scaled/scale"
    scale = await home.kube.request("GET", path)
    assert scale["spec"].get("replicas", 0) == 0
    assert scale["status"]["selector"] == "app.kubernetes.io/instance=scaled,app.kubernetes.io/component=broker"


async def test_a_secret_that_a_pod_waits_for_is_named(home: House) -> None:
    keys = {"authentication": {"apiKeys": {"secretName": "nobody-made-it"}}}
    await home.create("keyless", {**NO_PODS, "proxy": keys})
    condition = await home.condition("keyless", "ProxyReady", "False", "SecretMissing")
    assert condition["message"].startswith("Secret nobody-made-it does not exist: pod keyless-proxy-")
    await home.condition("keyless", "Degraded", "True", "SecretMissing")
    await home.delete("BrokerCluster", "keyless")
