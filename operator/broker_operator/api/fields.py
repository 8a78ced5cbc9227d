"""How the dataclasses of the API declare what the CRD schema says of a field: defaults and bounds, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_operator.api.quantity import Quantity

_KEY = "broker_operator.bounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a value may be; the names are those of OpenAPI. For lists and maps, `item` bounds the values."""

    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    min_items: int | None = None
    max_items: int | None = None
    max_properties: int | None = None
    item: Bounds | None = None
    unique: bool = False
    """For a list: no value stands in it twice (`x-kubernetes-list-type: set`)."""
    key: str | None = None
    """For a list of objects: the field whose values must differ (`x-kubernetes-list-map-keys`)."""
    smallest: Quantity | None = None
    largest: Quantity | None = None
    int_or_string: bool = False
    """The value may be written as a number too; it is kept as text."""
    free: bool = False
    """An object that is passed on as it is; Kubernetes checks it."""


NONE = Bounds()


def bounded(default: Any = dataclasses.MISSING, **bounds: Any) -> Any:
    """A dataclass field with bounds. Without a default the field is required. `item_…` bounds the items of a list."""
    item = {name.removeprefix("item_"): bounds.pop(name) for name in list(bounds) if name.startswith("item_")}
    return _field(default, Bounds(**bounds, item=Bounds(**item) if item else None))


def size(default: str | None, *, smallest: str, largest: str) -> Any:
    """A field of type `Quantity`."""
    value = None if default is None else Quantity(default)
    return _field(value, Bounds(smallest=Quantity(smallest), largest=Quantity(largest)))


def text_map(*, max_properties: int = 32, max_length: int = 1024, pattern: str | None = None, **more: Any) -> Any:
    """A field of type `Mapping[str, str]`, empty by default."""
    bounds = Bounds(max_properties=max_properties, item=Bounds(max_length=max_length, pattern=pattern, **more))
    return dataclasses.field(default_factory=dict, metadata={_KEY: bounds})


def bounds_of(field: dataclasses.Field[Any]) -> Bounds:
    """The bounds that a field was declared with."""
    metadata: Mapping[str, Any] = field.metadata
    found: Bounds = metadata.get(_KEY, NONE)
    return found


def _field(default: Any, bounds: Bounds) -> Any:
    if default is dataclasses.MISSING:
        return dataclasses.field(metadata={_KEY: bounds})
    return dataclasses.field(default=default, metadata={_KEY: bounds})


_ACRONYMS = {"ca": "CA", "cpu": "CPU"}


def json_name(name: str) -> str:
    """`max_body_bytes` → `maxBodyBytes`, `client_ca_secret_name` → `clientCASecretName`, `from_` → `from`."""
    head, *rest = name.split("_")
    return head + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)
