"""The parser and a real API server say the same of any spec, valid or changed at random."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker_operator.api import SpecError, parse
from broker_operator.kube import BROKER_CLUSTER, Kube, KubeError, Manifest
from tests.support.clusters import manifest
from tests.support.scratch import Scratch
from tests.unit.operator.render.test_any_spec import specs

QUERY = [("dryRun", "All"), ("fieldValidation", "Strict")]
NUMBERS: list[Any] = [0, -1, 1, 2, 10**9, 1.5]
TEXTS: list[Any] = ["", "a", "*", "A b", "1Mi", "-", ":path", "x-api-key", "authorization", "a\n", "\u0085", "ü" * 200]
WORDS: list[Any] = ["Exact", "Distinct", "Prefix", "Header", "Token", "APIKey", "Anyone", "Proxy", "Local", "10.0.0.1"]
OTHERS: list[Any] = [None, True, [], {}, ["a"], ["a", "a"], {"a": "b"}]
JUNK = [*NUMBERS, *TEXTS, *WORDS, *OTHERS]
FIELDS = ["value", "header", "name", "type", "scope", "from"]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place inside: the object or list, and the name or index in it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(inside):
        # A key set is text to the API server: only the parser reads it.
        if key != "inline":
            yield value, key
            yield from places(inner)


def changed(spec: dict[str, Any], random: Random) -> dict[str, Any]:
    """The spec with up to two values removed, replaced, doubled or added."""
    spec = copy.deepcopy(spec)
    for _ in range(random.choice([0, 1, 1, 2])):
        found = list(places(spec))
        if not found:
            break
        where, key = random.choice(found)
        match random.choice(["remove", "replace", "more"]):
            case "remove":
                del where[key]
            case "replace":
                where[key] = random.choice(JUNK)
            case _ if isinstance(where, list):
                where.append(copy.deepcopy(where[key]))
            case _:
                where[random.choice(FIELDS)] = random.choice(JUNK)
    return spec


def of_parser(obj: Manifest) -> str:
    """What the parser has against it; empty when it is valid."""
    try:
        parse(obj)
    except SpecError as error:
        return str(error)
    return ""


async def of_server(kube: Kube, namespace: str, obj: Manifest) -> str:
    """What the API server has against it; empty when it is valid."""
    try:
        await kube.request("POST", BROKER_CLUSTER.path(namespace), query=QUERY, body=obj)
    except KubeError as error:
        assert error.status in (400, 422), error
        return str(error)
    return ""


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    # What fails is printed whole; to make it smaller would take the API server minutes.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(specs, st.randoms(use_true_random=False))
async def test_the_parser_and_the_api_server_agree(
    kube: Kube, room: Scratch, spec: dict[str, Any], random: Random
) -> None:
    obj = manifest(changed(spec, random))
    obj["metadata"] = {"name": "orders", "namespace": room.namespace}
    parser, server = of_parser(obj), await of_server(kube, room.namespace, obj)
    assert bool(parser) == bool(server), f"parser: {parser or 'valid'}; API server: {server or 'valid'}"
