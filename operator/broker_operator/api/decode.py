"""Plain data into dataclasses: strict, every problem collected, every default applied as the API server would."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, cast

from broker_operator.api.errors import Problem
from broker_operator.api.fields import NONE, Bounds, bounds_of, json_name
from broker_operator.api.quantity import Quantity

INVALID: Any = object()
"""Stands where a value was refused, so that decoding goes on and finds the other problems."""

_NAMES: dict[type, str] = {str: "a string", int: "a whole number", bool: "true or false"}


def decode(kind: Any, value: Any, path: str, problems: list[Problem], bounds: Bounds = NONE) -> Any:
    """Returns `value` as `kind`, or `INVALID` after adding to `problems`. Never raises."""
    optional = typing.get_origin(kind) in (types.UnionType, typing.Union)
    if optional:
        kind = next(arm for arm in typing.get_args(kind) if arm is not type(None))
    if dataclasses.is_dataclass(kind) and kind is not Quantity:
        return _decode_object(cast("type", kind), value, path, problems)
    found: list[str] = []
    result = _decode_plain(kind, value, path, problems, bounds, found.append)
    problems.extend(Problem(path, message) for message in found)
    return INVALID if found else result


def _decode_plain(
    kind: Any, value: Any, path: str, problems: list[Problem], bounds: Bounds, refuse: Callable[[str], None]
) -> Any:
    origin = typing.get_origin(kind)
    if origin is tuple:
        return _decode_list(typing.get_args(kind)[0], value, path, problems, bounds, refuse)
    if origin is not None:
        return _decode_map(value, path, problems, bounds, refuse)
    if kind is Quantity:
        return _decode_quantity(value, bounds, refuse)
    if issubclass(kind, StrEnum):
        return _decode_enum(kind, value, refuse)
    return _decode_scalar(kind, value, bounds, refuse)


def _decode_object(kind: type, value: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(Problem(path, f"must be an object, not {_described(value)}"))
        return INVALID
    fields = {json_name(field.name): field for field in dataclasses.fields(kind)}
    before = len(problems)
    problems.extend(_unknown(value, fields, path))
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        # As in the API server: null is the same as absent, and then the default holds.
        if value.get(name) is not None:
            values[field.name] = decode(hints[field.name], value[name], f"{path}.{name}", problems, bounds_of(field))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(Problem(f"{path}.{name}", "is required"))
    return INVALID if len(problems) > before else kind(**values)


def _unknown(value: Mapping[Any, Any], known: Iterable[str], path: str) -> Iterable[Problem]:
    names = sorted(known)
    for name in value:
        if name not in names:
            yield Problem(f"{path}.{_shown(name)}", f"unknown field; known here: {', '.join(names)}")


def _decode_list(
    kind: Any, value: Any, path: str, problems: list[Problem], bounds: Bounds, refuse: Callable[[str], None]
) -> Any:
    if not isinstance(value, list | tuple):
        refuse(f"must be a list, not {_described(value)}")
        return INVALID
    if bounds.max_items is not None and len(value) > bounds.max_items:
        refuse(f"must have at most {bounds.max_items} items, has {len(value)}")
        return INVALID
    if bounds.min_items is not None and len(value) < bounds.min_items:
        refuse(f"must have at least {bounds.min_items} items")
    items = [decode(kind, item, f"{path}[{i}]", problems, bounds.item or NONE) for i, item in enumerate(value)]
    if any(item is INVALID for item in items):
        return INVALID
    if bounds.unique:
        problems.extend(Problem(f"{path}[{i}]", f"{_shown(item)} is listed twice") for i, item in _repeated(items))
    if bounds.key is not None:
        keys, name = [getattr(item, bounds.key) for item in items], json_name(bounds.key)
        problems.extend(Problem(f"{path}[{i}].{name}", f"{_shown(key)} is used twice") for i, key in _repeated(keys))
    return tuple(items)


def _repeated(items: list[Any]) -> Iterator[tuple[int, Any]]:
    """Each item that has stood in the list before, and where it stands again."""
    return ((index, item) for index, item in enumerate(items) if item in items[:index])


def _decode_map(value: Any, path: str, problems: list[Problem], bounds: Bounds, refuse: Callable[[str], None]) -> Any:
    if not isinstance(value, Mapping):
        refuse(f"must be an object, not {_described(value)}")
        return INVALID
    if bounds.max_properties is not None and len(value) > bounds.max_properties:
        refuse(f"must have at most {bounds.max_properties} entries, has {len(value)}")
        return INVALID
    for name in value:
        if not isinstance(name, str):
            refuse(f"keys must be strings, not {_described(name)}")
            return INVALID
    if bounds.free:
        return dict(value)
    item = bounds.item or NONE
    return {
        name: decode(str, text, f"{path}[{_shown(name)}]", problems, item)
        for name, text in value.items()
        if text is not None
    }


def _decode_quantity(value: Any, bounds: Bounds, refuse: Callable[[str], None]) -> Any:
    if not isinstance(value, str):
        refuse(f"must be a size written as a string such as 64Mi, not {_described(value)}")
        return INVALID
    try:
        quantity = Quantity(value)
    except ValueError as error:
        refuse(str(error))
        return INVALID
    if bounds.smallest is not None and quantity.bytes < bounds.smallest.bytes:
        refuse(f"must be at least {bounds.smallest}, is {quantity}")
    if bounds.largest is not None and quantity.bytes > bounds.largest.bytes:
        refuse(f"must be at most {bounds.largest}, is {quantity}")
    return quantity


def _decode_enum(kind: type[StrEnum], value: Any, refuse: Callable[[str], None]) -> Any:
    allowed = [str(member) for member in kind]
    if not isinstance(value, str) or value not in allowed:
        refuse(f"must be one of {', '.join(allowed)}, not {_described(value)}")
        return INVALID
    return kind(value)


def _decode_scalar(kind: type, value: Any, bounds: Bounds, refuse: Callable[[str], None]) -> Any:
    if bounds.int_or_string and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    # bool is an int in Python; in the API it is not.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        refuse(f"must be {_NAMES[kind]}, not {_described(value)}")
        return INVALID
    if isinstance(value, str):
        _check_text(value, bounds, refuse)
    elif not isinstance(value, bool) and isinstance(value, int):
        if bounds.minimum is not None and value < bounds.minimum:
            refuse(f"must be at least {bounds.minimum}, is {value}")
        if bounds.maximum is not None and value > bounds.maximum:
            refuse(f"must be at most {bounds.maximum}, is {value}")
    return value


def _check_text(value: str, bounds: Bounds, refuse: Callable[[str], None]) -> None:
    if bounds.max_length is not None and len(value) > bounds.max_length:
        refuse(f"must have at most {bounds.max_length} characters, has {len(value)}")
    elif bounds.min_length is not None and len(value) < bounds.min_length:
        refuse("must not be empty" if bounds.min_length == 1 else f"must have at least {bounds.min_length} characters")
    elif bounds.pattern is not None and re.fullmatch(bounds.pattern, value) is None:
        refuse(f"{_shown(value)} does not match {bounds.pattern}")


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    return "null" if value is None else _shown(value)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and re.fullmatch(r"[\w./-]{1,80}", value) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
