"""One BrokerCluster, from the plain data of the API server or of a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_operator.api.decode import INVALID, decode
from broker_operator.api.errors import Problem, SpecError
from broker_operator.api.rules import check
from broker_operator.api.spec import Spec

GROUP = "brokercluster.dev"
VERSION = "v1alpha1"
KIND = "BrokerCluster"
PLURAL = "brokerclusters"
PAUSE_ANNOTATION = f"{GROUP}/pause-reconciliation"
CONFIG_VERSION_ANNOTATION = f"{GROUP}/config-version"
"""On the proxies' ConfigMap: the version that all of its files say."""

NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_MAX_LENGTH = 40
"""Room for the longest suffix of a Service's name (63 characters)."""

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")


@dataclass(frozen=True, slots=True)
class BrokerCluster:
    """A parsed BrokerCluster: every default applied, every rule checked."""

    name: str
    namespace: str
    uid: str
    """Empty when the object was read from a file."""
    generation: int
    """0 when the object was read from a file."""
    paused: bool
    """Whether the user asked the operator to leave the objects alone."""
    spec: Spec


def parse(obj: Mapping[str, Any]) -> BrokerCluster:
    """Reads a BrokerCluster as YAML or JSON gives it.

    Raises `SpecError` with every problem found, each with the path of its field.
    """
    if not isinstance(obj, Mapping):
        raise SpecError([Problem("", "must be an object with apiVersion, kind, metadata and spec")])
    problems: list[Problem] = []
    _check_top(obj, problems)
    metadata = _metadata(obj.get("metadata"), problems)
    raw = obj.get("spec")
    spec = decode(Spec, {} if raw is None else raw, "spec", problems)
    if spec is not INVALID:
        problems.extend(check(spec))
    if problems:
        raise SpecError(problems)
    return BrokerCluster(
        name=metadata["name"],
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        paused=(metadata.get("annotations") or {}).get(PAUSE_ANNOTATION) == "true",
        spec=spec,
    )


def _check_top(obj: Mapping[str, Any], problems: list[Problem]) -> None:
    for name, wanted in (("apiVersion", f"{GROUP}/{VERSION}"), ("kind", KIND)):
        if obj.get(name) != wanted:
            problems.append(Problem(name, f"must be {wanted}"))
    problems.extend(
        Problem(str(name), f"unknown field; known here: {', '.join(_TOP)}") for name in obj if name not in _TOP
    )


def _metadata(metadata: Any, problems: list[Problem]) -> Mapping[str, Any]:
    """Checks what we use of the metadata; the rest is Kubernetes' own."""
    if not isinstance(metadata, Mapping):
        problems.append(Problem("metadata", "must be an object with a name"))
        return {}
    name = metadata.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        problems.append(Problem("metadata.name", "must be lower-case letters, digits and '-', starting with a letter"))
    elif len(name) > NAME_MAX_LENGTH:
        problems.append(Problem("metadata.name", f"must have at most {NAME_MAX_LENGTH} characters"))
    kinds: Mapping[str, tuple[type, str]] = {
        "namespace": (str, "a string"),
        "uid": (str, "a string"),
        "generation": (int, "a whole number"),
        "annotations": (Mapping, "an object"),
    }
    for field, (kind, described) in kinds.items():
        if metadata.get(field) is not None and not isinstance(metadata[field], kind):
            problems.append(Problem(f"metadata.{field}", f"must be {described}"))
    return metadata
