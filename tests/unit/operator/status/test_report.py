"""From what exists to what the user reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_operator.api import Problem, SpecError, parse
from broker_operator.status import Condition, Failure, Observed, Type, invalid, merged, paused, report, transitions
from tests.support.clusters import manifest, postgres

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = "2026-01-02T03:04:05Z"
EARLIER = "2026-01-01T00:00:00Z"


def labels(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/component": component}


def deployment(component: str, ready: int, wanted: int = 1, **status: Any) -> dict[str, Any]:
    counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready, "observedGeneration": 1}
    metadata = {"name": f"orders-{component}", "generation": 1, "labels": labels(component)}
    return {"kind": "Deployment", "metadata": metadata, "status": {**counts, **status}}


def pod(component: str = "broker", name: str = "orders-pod", **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": labels(component)}
    return {"kind": "Pod", "metadata": metadata, "status": status}


def container(state: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "broker", "image": "b:1", "ready": False, "state": state, **more}]}


def observed(*objects: dict[str, Any], spec: Mapping[str, Any] | None = None, **more: Any) -> Observed:
    return Observed(cluster=parse(manifest(spec)), now=NOW, objects=objects, **more)


def conditions(seen: Observed, old: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    return {raw["type"]: raw for raw in report(old or {}, seen)["conditions"]}


def say(seen: Observed, type_: str) -> tuple[str, str]:
    found = conditions(seen)[type_]
    return found["status"], found["reason"]


SERVING = (deployment("broker", 1), deployment("proxy", 1))


def test_a_cluster_with_a_ready_broker_and_a_ready_proxy_is_ready() -> None:
    status = report({}, observed(*SERVING))
    assert {raw["type"]: raw["status"] for raw in status["conditions"]} == {
        "Ready": "True",
        "Progressing": "False",
        "Degraded": "False",
        "ResourcesSynced": "True",
        "StoreReachable": "True",
        "ProxyReady": "True",
        "MonitoringReady": "True",
    }
    assert status["brokers"] == "1/1"
    assert status["proxies"] == "1/1"
    assert status["store"] == "SQLite"
    assert status["address"] == "orders.shop.svc:50051"
    assert status["selector"] == "app.kubernetes.io/instance=orders,app.kubernetes.io/component=broker"
    assert (status["replicas"], status["readyReplicas"], status["observedGeneration"]) == (1, 1, 1)


def test_a_fresh_cluster_is_on_its_way() -> None:
    seen = observed()
    assert say(seen, "Ready") == ("False", "NoBrokerReady")
    assert say(seen, "Progressing") == ("True", "RollingOut")
    assert say(seen, "Degraded") == ("False", "AsExpected")


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ((deployment("broker", 0), deployment("proxy", 1)), "NoBrokerReady"),
        ((deployment("broker", 1), deployment("proxy", 0)), "NoProxyReady"),
    ],
)
def test_ready_needs_each_part_and_names_the_one_that_lacks(objects: tuple[dict[str, Any], ...], reason: str) -> None:
    assert say(observed(*objects), "Ready") == ("False", reason)


@pytest.mark.parametrize(
    "rolling",
    [{"observedGeneration": 0}, {"updatedReplicas": 0}, {"replicas": 2}],
    ids=["change not seen yet", "old pods", "pods to go"],
)
def test_a_rollout_is_progress_and_ready_meanwhile(rolling: dict[str, int]) -> None:
    seen = observed(deployment("broker", 1, **rolling), deployment("proxy", 1))
    assert say(seen, "Progressing") == ("True", "RollingOut")
    assert say(seen, "Ready")[0] == "True"


def test_an_autoscaler_says_how_many_proxies_are_wanted() -> None:
    spec = {"proxy": {"replicas": 1, "autoscaling": {"minReplicas": 2, "maxReplicas": 9}}}
    proxies = {**deployment("proxy", 4, wanted=4), "spec": {"replicas": 4}}
    assert report({}, observed(deployment("broker", 1), proxies, spec=spec))["proxies"] == "4/4"
    assert report({}, observed(spec=spec))["proxies"] == "0/2"


def test_scaled_to_zero_is_no_trouble_but_not_ready() -> None:
    spec = {"replicas": 0, "proxy": {"replicas": 0}}
    seen = observed(deployment("broker", 0, wanted=0), deployment("proxy", 0, wanted=0), spec=spec)
    assert say(seen, "Ready") == ("False", "ScaledToZero")
    assert say(seen, "Degraded")[0] == "False"
    assert say(seen, "Progressing")[0] == "False"


MOUNT = 'MountVolume.SetUp failed for volume "server-tls" : '


@pytest.mark.parametrize(
    ("said", "reason", "message"),
    [
        (
            f'{MOUNT}secret "orders-tls" not found',
            "SecretMissing",
            "Secret orders-tls does not exist: pod orders-pod waits for it",
        ),
        (
            f"{MOUNT}references non-existent secret key: ca.crt",
            "MountFailed",
            f"pod orders-pod cannot mount its volumes: {MOUNT}references non-existent secret key: ca.crt",
        ),
    ],
)
def test_a_volume_that_a_pod_waits_for_is_named(said: str, reason: str, message: str) -> None:
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    waiting = pod(
        "proxy", phase="Pending", conditions=scheduled, **container({"waiting": {"reason": "PodInitializing"}})
    )
    waiting["metadata"]["uid"] = "7"
    seen = observed(deployment("broker", 1), deployment("proxy", 0), pods=(waiting,), mount_failures={"7": said})
    assert say(seen, "ProxyReady") == ("False", reason)
    assert conditions(seen)["Ready"]["message"] == message
    started = {**waiting, "status": {**waiting["status"], **container({"running": {}})}}
    assert say(replace(seen, pods=(started,)), "ProxyReady") == ("False", "NoProxyReady"), "it waits no longer"


PULL = "failed to pull and unpack image"
TROUBLES = {
    "ImagePullFailed": (
        pod(**container({"waiting": {"reason": "ErrImagePull", "message": PULL}})),
        "pod orders-pod cannot pull image b:1: failed to pull and unpack image",
    ),
    "ContainerRefused": (
        pod(**container({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}})),
        'container broker of pod orders-pod cannot be started: secret "x" not found',
    ),
    "CrashLoop": (
        pod(
            **container(
                {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            )
        ),
        (
            "container broker of pod orders-pod ended with exit code 137 (OOMKilled); "
            "see kubectl logs -n shop orders-pod -c broker --previous"
        ),
    ),
    "Unschedulable": (
        pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu."}]),
        "no node takes pod orders-pod: 0/1 nodes: Insufficient cpu.",
    ),
    "NotReady": (
        pod(conditions=[{"type": "Ready", "status": "False", "lastTransitionTime": EARLIER}]),
        f"pod orders-pod has not been ready since {EARLIER}; see kubectl describe pod -n shop orders-pod",
    ),
}


@pytest.mark.parametrize("reason", TROUBLES)
def test_trouble_of_pods_is_told_in_words_that_help(reason: str) -> None:
    broken, message = TROUBLES[reason]
    found = conditions(observed(deployment("broker", 0), deployment("proxy", 1), pods=(broken,)))
    assert (found["Degraded"]["status"], found["Degraded"]["reason"]) == ("True", reason)
    assert found["Degraded"]["message"] == message
    assert found["Ready"]["message"] == message


def test_the_two_faces_of_a_failing_pull_read_the_same() -> None:
    said = {
        conditions(
            observed(
                deployment("broker", 0), pods=(pod(**container({"waiting": {"reason": reason, "message": text}})),)
            )
        )["Degraded"]["message"]
        for reason, text in (
            ("ErrImagePull", PULL),
            ("ImagePullBackOff", f'Back-off pulling image "b:1": ErrImagePull: {PULL}'),
        )
    }
    assert len(said) == 1


REFUSED = 'cannot use PostgreSQL at db:5432/orders: password authentication failed for user "orders"'


def unready(name: str, **more: Any) -> dict[str, Any]:
    status = {"phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "False"}]}
    return pod(name=name, **{**status, **more})


def test_a_broker_s_own_words_say_why_the_store_cannot_be_reached() -> None:
    causes = {"orders-1": f"the store has been away for 12 s: {REFUSED}"}
    broken = (deployment("broker", 0), deployment("proxy", 1))
    seen = observed(*broken, spec=postgres(), pods=(unready("orders-1"),), causes=causes)
    found = conditions(seen)
    message = f"broker orders-1 says: the store has been away: {REFUSED}; its URI is in Secret orders-db, key uri"
    for type_, status in (("StoreReachable", "False"), ("Ready", "False"), ("Degraded", "True")):
        assert (found[type_]["status"], found[type_]["reason"]) == (status, "StoreUnavailable")
        assert found[type_]["message"] == message
    later = replace(seen, causes={"orders-1": f"the store has been away for 13 s: {REFUSED}"})
    assert report({}, later) == report({}, seen), "a status is not written for each second that goes by"


def test_while_a_broker_is_ready_the_store_is_reachable_and_what_another_lacks_is_degraded() -> None:
    seen = observed(
        deployment("broker", 1, wanted=2),
        deployment("proxy", 1),
        spec=postgres(2),
        pods=(unready("orders-1"),),
        causes={"orders-1": REFUSED},
    )
    assert say(seen, "StoreReachable") == ("True", "BrokerReady")
    assert say(seen, "Ready")[0] == "True"
    assert say(seen, "Degraded") == ("True", "StoreUnavailable")


@pytest.mark.parametrize("words", ["draining", "the store is being opened"])
def test_an_end_or_a_beginning_is_no_trouble_of_the_store(words: str) -> None:
    seen = observed(deployment("broker", 0), pods=(unready("orders-1"),), causes={"orders-1": words})
    assert say(seen, "StoreReachable") == ("Unknown", "NoBrokerReady")


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        ({}, {"orders-1": "10.0.0.7"}),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, {}),
        ({"phase": "Pending", "podIP": None}, {}),
    ],
    ids=["not ready", "ready", "not started"],
)
def test_who_can_be_asked_why_it_is_not_ready(status: dict[str, Any], asked: dict[str, str]) -> None:
    assert observed(pods=(unready("orders-1", **status), pod("proxy", name="proxy"))).unready_brokers == asked


def test_a_pod_that_started_a_moment_ago_is_given_time() -> None:
    young = (NOW - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    starting = pod(conditions=[{"type": "Ready", "status": "False", "lastTransitionTime": young}])
    assert say(observed(deployment("broker", 0), pods=(starting,)), "Degraded")[0] == "False"


def test_a_cause_is_named_before_its_consequence_and_another_component_s_trouble_is_not_mixed_in() -> None:
    pods = (TROUBLES["NotReady"][0], {**TROUBLES["ImagePullFailed"][0]}, pod("proxy", name="a-proxy"))
    found = conditions(observed(deployment("broker", 0), deployment("proxy", 0), pods=pods))
    assert found["Degraded"]["reason"] == "ImagePullFailed"
    assert found["ProxyReady"]["reason"] == "NoProxyReady"


def test_a_pod_on_its_way_out_is_nobody_s_trouble() -> None:
    leaving, _ = TROUBLES["CrashLoop"]
    leaving = {**leaving, "metadata": {**leaving["metadata"], "deletionTimestamp": EARLIER}}
    assert say(observed(deployment("broker", 0), pods=(leaving,)), "Degraded")[0] == "False"


@pytest.mark.parametrize(
    ("storage_class", "words"), [(None, "has no storage class"), ("fast", "waits for a volume of storage class fast")]
)
def test_a_pending_volume_is_the_cause_of_a_pending_pod(storage_class: str | None, words: str) -> None:
    claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "orders-broker-data"},
        "spec": {"storageClassName": storage_class} if storage_class else {},
        "status": {"phase": "Pending"},
    }
    waiting = {**TROUBLES["Unschedulable"][0]}
    waiting["status"] = {**waiting["status"], "phase": "Pending"}
    found = conditions(observed(deployment("broker", 0), claim, pods=(waiting,)))
    assert found["StoreReachable"]["status"] == "False"
    assert found["Degraded"]["reason"] == "VolumePending"
    assert words in found["Degraded"]["message"]


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}, "PodsRefused"),
        ({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}, "RolloutStuck"),
    ],
)
def test_what_the_deployment_itself_complains_of_is_passed_on(condition: dict[str, str], reason: str) -> None:
    assert say(observed(deployment("broker", 0, conditions=[condition])), "Degraded") == ("True", reason)


def test_an_object_that_was_refused_is_named() -> None:
    failures = (Failure("Service", "orders", "Forbidden", "no right"), Failure("ConfigMap", "c", "Conflict", "busy"))
    found = conditions(observed(*SERVING, failures=failures))
    for type_ in ("Ready", "ResourcesSynced"):
        assert (found[type_]["status"], found[type_]["reason"]) == ("False", "Forbidden")
    assert found["Degraded"]["message"] == "Service orders: no right (and 1 more)"


def test_monitoring_is_no_part_of_ready() -> None:
    assert say(observed(*SERVING, monitors_available=False), "MonitoringReady") == ("False", "NoServiceMonitors")
    assert say(observed(*SERVING, monitors_available=False), "Ready")[0] == "True"
    disabled = observed(*SERVING, spec={"monitoring": {"enabled": False}}, monitors_available=False)
    assert say(disabled, "MonitoringReady") == ("Unknown", "Disabled")


def test_the_same_sight_gives_the_same_status_later() -> None:
    first = report({}, observed(*SERVING))
    later = Observed(cluster=observed().cluster, now=NOW + timedelta(days=1), objects=SERVING)
    assert report(first, later) == first


def test_a_transition_has_a_time_and_a_mere_change_of_words_has_none() -> None:
    old = [{"type": "Ready", "status": "False", "lastTransitionTime": EARLIER, "reason": "A", "message": "a"}]
    (same,) = merged(old, [Condition(Type.READY, "False", "B", "b")], generation=2, now=STAMP)
    assert (same["lastTransitionTime"], same["reason"], same["observedGeneration"]) == (EARLIER, "B", 2)
    (changed,) = merged(old, [Condition(Type.READY, "True", "C", "c")], generation=2, now=STAMP)
    assert changed["lastTransitionTime"] == STAMP
    assert transitions(old, [same]) == []
    assert transitions(old, [changed]) == [changed]


def test_an_invalid_spec_is_told_by_its_path_and_the_rest_of_the_status_stays() -> None:
    before = report({}, observed(*SERVING))
    error = SpecError([Problem("spec.replicas", "must be at most 1")])
    after = invalid(before, error, generation=2, now=STAMP)
    found = {raw["type"]: raw for raw in after["conditions"]}
    assert (found["Degraded"]["status"], found["Degraded"]["reason"]) == ("True", "InvalidSpec")
    assert found["Degraded"]["message"] == "spec.replicas: must be at most 1"
    assert found["Ready"]["status"] == "False"
    assert found["ProxyReady"] == {raw["type"]: raw for raw in before["conditions"]}["ProxyReady"]
    assert after["brokers"] == before["brokers"]
    assert after["observedGeneration"] == 2


def test_pausing_adds_one_condition_and_resuming_takes_it_away() -> None:
    before = report({}, observed(*SERVING))
    during = paused(before, annotation="a/b", generation=1, now=STAMP)
    added = [raw for raw in during["conditions"] if raw not in before["conditions"]]
    assert [(raw["type"], raw["status"]) for raw in added] == [("ReconciliationPaused", "True")]
    assert report(during, observed(*SERVING)) == before


messages = st.text(max_size=5000)


@given(messages)
def test_no_message_is_longer_than_the_schema_allows(text: str) -> None:
    (raw,) = merged([], [Condition(Type.READY, "True", "R", text)], generation=1, now=STAMP)
    assert len(raw["message"]) <= 1024


@given(
    st.fixed_dictionaries({name: st.integers(0, 5) for name in ("replicas", "updatedReplicas", "readyReplicas")}),
    st.integers(0, 1),
    st.booleans(),
)
def test_whatever_counts_a_deployment_shows_the_conditions_agree(
    counts: dict[str, int], seen_generation: int, monitors: bool
) -> None:
    broker = deployment("broker", 0, **counts, observedGeneration=seen_generation)
    broker["status"]["readyReplicas"] = counts["readyReplicas"]
    found = conditions(observed(broker, deployment("proxy", 1), monitors_available=monitors))
    parts = ("ResourcesSynced", "StoreReachable", "ProxyReady")
    assert (found["Ready"]["status"] == "True") == all(found[part]["status"] == "True" for part in parts)
    assert {raw["status"] for raw in found.values()} <= {"True", "False", "Unknown"}
    assert all(raw["reason"] and raw["message"] for raw in found.values())
