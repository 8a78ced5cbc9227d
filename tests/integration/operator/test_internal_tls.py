"""The Secret of what proxies and brokers prove themselves to each other with, on a real API server."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from broker_operator.api import parse
from broker_operator.kube import SECRET, Manifest, NotFound
from broker_operator.reconcile.certificates import LIFE, Material, issued, read, utc_now
from broker_operator.render import internal_hosts
from tests.support.clusters import manifest
from tests.support.scratch import NO_PODS, eventually

if TYPE_CHECKING:
    from tests.integration.operator.conftest import House

SPEC = {**NO_PODS, "proxy": {"replicas": 0, "tls": {"secretName": "public"}}}


async def secret(house: House, cluster: str) -> Manifest | None:
    try:
        return await house.kube.get(SECRET, house.namespace, f"{cluster}-internal-tls")
    except NotFound:
        return None


def hosts(house: House, cluster: str) -> list[str]:
    found = manifest(SPEC, cluster)
    found["metadata"]["namespace"] = house.namespace
    return internal_hosts(parse(found))


async def material(house: House, cluster: str) -> Material | None:
    """What is in the Secret, if it can be used."""
    found = await secret(house, cluster)
    data = {file: b64decode(text) for file, text in ((found or {}).get("data") or {}).items()}
    return read(data, hosts(house, cluster), utc_now())


async def wake(house: House, cluster: str, drain_seconds: int) -> None:
    """Let the operator look again: it does not watch Secrets."""
    await house.patch("BrokerCluster", cluster, {"spec": {"proxy": {"drainSeconds": drain_seconds}}})


async def test_it_is_made_before_the_pods_and_goes_with_the_cluster(home: House) -> None:
    created = await home.create("secure", SPEC)
    await home.condition("secure", "ResourcesSynced", "True")
    found = await secret(home, "secure")
    assert found is not None
    (owner,) = found["metadata"]["ownerReferences"]
    assert owner["uid"] == created["metadata"]["uid"]
    assert owner["controller"] is True
    assert set(found["data"]) == {"ca.crt", "tls.crt", "tls.key"}
    assert await material(home, "secure") is not None
    for name in ("secure-broker", "secure-proxy"):
        deployment = await home.get("Deployment", name)
        assert deployment is not None
        assert found["metadata"]["creationTimestamp"] <= deployment["metadata"]["creationTimestamp"]
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        assert "secure-internal-tls" in [volume.get("secret", {}).get("secretName") for volume in volumes]
    await told_nobody(home, "secure", found)
    await home.create("plain")
    await home.condition("plain", "ResourcesSynced", "True")
    assert await secret(home, "plain") is None


async def told_nobody(house: House, cluster: str, found: Manifest) -> None:
    """The key is in no log, no event, no status."""
    key = b64decode(found["data"]["tls.key"]).decode().splitlines()[1]
    live = await house.get("BrokerCluster", cluster)
    for text in (house.operator.text, str(live)):
        assert key not in text
        assert found["data"]["tls.key"][:100] not in text


async def test_a_lost_or_damaged_one_is_made_anew(home: House) -> None:
    await home.create("lost", SPEC)
    await home.condition("lost", "ResourcesSynced", "True")
    first = await secret(home, "lost")
    assert first is not None
    await wake(home, "lost", 31)
    await home.condition("lost", "ResourcesSynced", "True")
    assert (await secret(home, "lost") or {})["data"] == first["data"], "what is good stays"

    await home.kube.delete(SECRET, first)
    await wake(home, "lost", 32)

    async def back() -> bool:
        return await material(home, "lost") is not None

    await eventually(back, "the Secret is back")
    await put(home, "lost", {"tls.crt": "Z2FyYmFnZQ=="})
    assert not await back()
    await wake(home, "lost", 33)
    await eventually(back, "the Secret is good again")


async def put(house: House, cluster: str, data: dict[str, Any]) -> None:
    path = SECRET.path(house.namespace, f"{cluster}-internal-tls")
    await house.kube.request("PATCH", path, body={"data": data}, content_type="application/merge-patch+json")


async def test_it_is_renewed_before_its_time_is_over(home: House) -> None:
    await home.create("old", SPEC)
    await home.condition("old", "ResourcesSynced", "True")
    aged = issued(hosts(home, "old"), utc_now() - LIFE * 0.7)
    await put(home, "old", {file: b64encode(content).decode() for file, content in aged.data().items()})
    await wake(home, "old", 31)

    async def renewed() -> Material | None:
        found = await material(home, "old")
        return found if found and found.following else None

    found = await eventually(renewed, "another certificate is ready")
    assert found is not None
    assert found.used.certificate == aged.used.certificate
    assert found.authorities[1:] == aged.authorities
    await wake(home, "old", 32)
    await home.condition("old", "ResourcesSynced", "True")
    again = await material(home, "old")
    assert again is not None
    assert again.data() == found.data(), "not before its authority is known everywhere"


async def test_a_strangers_secret_is_left_alone_and_named(home: House) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "taken-internal-tls", "namespace": home.namespace},
        "stringData": {"tls.key": "mine"},
    }
    await home.kube.create(SECRET, stranger)
    await home.create("taken", SPEC)
    condition = await home.condition("taken", "ResourcesSynced", "False")
    assert condition["reason"] == "NameTaken"
    assert "Secret taken-internal-tls" in condition["message"]
    found = await secret(home, "taken")
    assert found is not None
    assert found["data"] == {"tls.key": b64encode(b"mine").decode()}
    assert await home.get("Deployment", "taken-broker") is None, "its pods would wait for it in vain"

    await home.kube.delete(SECRET, found)
    await wake(home, "taken", 31)
    await home.condition("taken", "ResourcesSynced", "True")
