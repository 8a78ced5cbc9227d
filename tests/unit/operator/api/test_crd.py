"""The CRD schema and the dataclasses say the same: names, types, required, defaults, bounds, enums."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from broker_operator.api import GROUP, KIND, PLURAL, VERSION, Quantity, Spec
from broker_operator.api.decode import decode
from broker_operator.api.fields import NONE, Bounds, bounds_of, json_name
from broker_operator.api.proxy_rules import RESERVED_HEADER
from broker_operator.api.quantity import PATTERN

FILE = Path(__file__).parents[4] / "manifests" / "crd" / "brokerclusters.yaml"


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one object, of which YAML would take the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice at {node.start_mark}: {keys}"
        return super().construct_mapping(node, deep)


CRD: dict[str, Any] = yaml.load(FILE.read_text(), Strict)
VERSIONS = CRD["spec"]["versions"]
ROOT: dict[str, Any] = VERSIONS[0]["schema"]["openAPIV3Schema"]
SPEC: dict[str, Any] = ROOT["properties"]["spec"]

_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
    "minItems": "min_items",
    "maxItems": "max_items",
    "maxProperties": "max_properties",
}


def walk(kind: Any, schema: Mapping[str, Any], bounds: Bounds, path: str) -> None:
    """Compares one value's type, recursively."""
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
        origin = typing.get_origin(kind)
    if kind is Quantity:
        assert schema["type"] == "string", path
        assert schema["pattern"] == PATTERN, path
        rule = f"quantity(self).compareTo(quantity('{bounds.smallest}')) >= 0"
        rule += f" && quantity(self).compareTo(quantity('{bounds.largest}')) <= 0"
        assert [one["rule"] for one in schema["x-kubernetes-validations"]] == [rule], path
        return
    declared = {ours: schema.get(theirs) for theirs, ours in _BOUNDS.items()}
    expected = {name: getattr(bounds, name) for name in _BOUNDS.values()}
    assert declared == expected, path
    if dataclasses.is_dataclass(kind):
        assert schema["type"] == "object", path
        walk_object(kind, schema, path)
    elif origin is tuple:
        assert schema["type"] == "array", path
        key = None if bounds.key is None else [bounds.key]
        assert schema.get("x-kubernetes-list-map-keys") == key, path
        assert schema["x-kubernetes-list-type"] == ("map" if key else "set" if bounds.unique else "atomic"), path
        walk(typing.get_args(kind)[0], schema["items"], bounds.item or NONE, f"{path}[]")
    elif origin is not None:
        assert schema["type"] == "object", path
        assert schema.get("x-kubernetes-preserve-unknown-fields", False) is bounds.free, path
        if not bounds.free:
            walk(str, schema["additionalProperties"], bounds.item or NONE, f"{path}{{}}")
    elif issubclass(kind, StrEnum):
        assert schema["enum"] == [str(member) for member in kind], path
    elif bounds.int_or_string:
        assert schema["x-kubernetes-int-or-string"] is True, path
    else:
        assert schema["type"] == {str: "string", int: "integer", bool: "boolean"}[kind], path
        assert "enum" not in schema, path


def walk_object(kind: Any, schema: Mapping[str, Any], path: str) -> None:
    fields = {json_name(field.name): field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    assert set(schema["properties"]) == set(fields), path
    required = {name for name, field in fields.items() if default_of(field) is dataclasses.MISSING}
    assert set(schema.get("required", [])) == required, path
    for name, field in fields.items():
        inner, at = schema["properties"][name], f"{path}.{name}"
        walk(hints[field.name], inner, bounds_of(field), at)
        default = default_of(field)
        assert ("default" in inner) is (default is not None and default is not dataclasses.MISSING), at
        if "default" in inner:
            problems: list[Any] = []
            assert decode(hints[field.name], inner["default"], at, problems, bounds_of(field)) == default, at
            assert not problems, at


def default_of(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def every_schema(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from every_schema(inner, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if part in schema:
            yield from every_schema(schema[part], f"{path}.{part}")


def rules_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rules: list[Mapping[str, Any]] = schema.get("x-kubernetes-validations", [])
    return rules


def test_schema_and_dataclasses_are_the_same() -> None:
    assert decode(Spec, SPEC["default"], "spec", []) == Spec()
    walk_object(Spec, SPEC, "spec")


def test_everything_is_bounded_so_that_rules_are_cheap() -> None:
    for path, schema in every_schema(ROOT, ""):
        if path in (".apiVersion", ".kind", ".metadata"):
            continue
        match schema.get("type"):
            case "array":
                assert "maxItems" in schema, path
                assert schema["x-kubernetes-list-type"] in ("map", "set", "atomic"), path
            case "string":
                assert {"maxLength", "enum", "format"} & set(schema), path
            case "object" if "properties" not in schema:
                assert "maxProperties" in schema, path


def test_every_field_is_described_and_every_rule_has_a_message() -> None:
    for path, schema in every_schema(ROOT, ""):
        if not path.endswith((".items", ".additionalProperties", ".metadata")):
            assert schema.get("description", "").strip(), path
        for rule in rules_of(schema):
            assert rule["message"], path


def test_every_value_has_an_example() -> None:
    for path, schema in [*every_schema(SPEC, "spec"), *every_schema(ROOT["properties"]["status"], "status")]:
        chosen = "enum" in schema or schema.get("type") == "boolean"
        inside = "properties" in schema or "properties" in schema.get("items", {})
        if not (chosen or inside or path.endswith((".items", ".additionalProperties"))):
            assert "e.g. " in schema["description"], path


def test_reserved_headers_are_those_of_the_parser() -> None:
    rules = [
        rule["rule"] for path, schema in every_schema(SPEC, "") if path.endswith(".header") for rule in rules_of(schema)
    ]
    assert rules == [f"!self.matches('{RESERVED_HEADER}')"] * 2


def test_the_names_are_those_of_the_parser() -> None:
    spec = CRD["spec"]
    assert (spec["group"], spec["names"]["kind"], spec["names"]["plural"]) == (GROUP, KIND, PLURAL)
    assert CRD["metadata"]["name"] == f"{PLURAL}.{GROUP}"
    assert [version["name"] for version in VERSIONS] == [VERSION]


def test_it_is_small_enough_for_a_plain_kubectl_apply() -> None:
    # `kubectl apply` keeps a copy in an annotation, which is limited to 256 KiB.
    assert FILE.stat().st_size < 200_000
