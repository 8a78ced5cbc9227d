"""Leave the number of a Deployment's pods to an autoscaler without a jump."""

from __future__ import annotations

from broker_operator.kube import FIELD_MANAGER, Kind, Kube, Manifest, NotFound

KEEPER = f"{FIELD_MANAGER}-replicas"
"""The field manager that keeps the number until the autoscaler sets it."""


async def left_to_others(kube: Kube, kind: Kind, manifest: Manifest) -> None:
    """Before a Deployment without a number is applied: let the number of before stay.

    A field that its only manager no longer sends falls back to its default: one pod, whatever the load.
    """
    metadata = manifest["metadata"]
    if kind.kind != "Deployment" or "replicas" in manifest["spec"]:
        return
    try:
        live = await kube.get(kind, metadata["namespace"], metadata["name"])
    except NotFound:
        return
    if not _ours(live):
        return
    identity = {name: metadata[name] for name in ("name", "namespace")}
    kept = {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": identity}
    await kube.apply({**kept, "spec": {"replicas": live["spec"]["replicas"]}}, manager=KEEPER)


def _ours(live: Manifest) -> bool:
    return any(
        "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields") or []
        if entry["manager"] == FIELD_MANAGER and entry.get("operation") == "Apply"
    )
