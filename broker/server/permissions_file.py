"""The file that says which clients may do what: `spec.proxy.authorization` of a BrokerCluster, as JSON."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from broker.server.permissions import Action, Pattern, Rule, Source, Who

_Choice = TypeVar("_Choice", bound=StrEnum)

_RULE = frozenset({"name", "clients", "actions", "subjects"})
_CLIENT = frozenset({"from", "type", "value"})
_SUBJECT = frozenset({"type", "value"})


class _Match(StrEnum):
    EXACT = "Exact"
    PREFIX = "Prefix"


def parse(text: str | bytes) -> list[Rule]:
    """Return the rules of a file.

    Raises:
        ValueError: they are not as they should be; the message says where, and what is wrong.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    fields = _object(content, "the file", frozenset({"rules"}))
    rules = fields.get("rules", [])
    return [_rule(rule, f"rules[{index}]") for index, rule in enumerate(_list(rules, "rules"))]


def _rule(value: object, at: str) -> Rule:
    fields = _object(value, at, _RULE)
    clients = _list(fields.get("clients"), f"{at}.clients")
    actions = _list(fields.get("actions", list(Action)), f"{at}.actions")
    for name, needed in (("clients", clients), ("actions", actions)):
        if not needed:
            raise ValueError(f"{at}.{name} is empty: a rule for nobody, or for nothing, allows nothing")
    subjects = _list(fields.get("subjects", []), f"{at}.subjects")
    return Rule(
        tuple(_client(client, f"{at}.clients[{index}]") for index, client in enumerate(clients)),
        frozenset(_choice(Action, action, f"{at}.actions[{index}]") for index, action in enumerate(actions)),
        tuple(_subject(subject, f"{at}.subjects[{index}]") for index, subject in enumerate(subjects)),
    )


def _client(value: object, at: str) -> Who:
    fields = _object(value, at, _CLIENT)
    source = _choice(Source, fields.get("from"), f"{at}.from")
    if "value" not in fields:
        return Who(source)
    if source is Source.ANYONE:
        raise ValueError(f"{at}.value: who is Anyone has no value")
    return Who(source, _pattern(fields, at))


def _subject(value: object, at: str) -> Pattern:
    return _pattern(_object(value, at, _SUBJECT), at)


def _pattern(fields: dict[str, Any], at: str) -> Pattern:
    value = fields.get("value")
    if not isinstance(value, str) or not value:
        raise ValueError(f"{at}.value is {value!r}: give a text that is not empty")
    return Pattern(value, _choice(_Match, fields.get("type", _Match.EXACT), f"{at}.type") is _Match.PREFIX)


def _choice(choices: type[_Choice], value: object, at: str) -> _Choice:
    try:
        return choices(value)  # type: ignore[arg-type] # what is no text is none of them
    except ValueError:
        raise ValueError(f"{at} is {value!r}: give {_alternatives(choices)}") from None


def _alternatives(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _object(value: object, at: str, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{at} is not an object")
    unknown = sorted(set(value) - known)
    if unknown:
        raise ValueError(f"{at} has the unknown field {unknown[0]!r}: there are {', '.join(sorted(known))}")
    return value


def _list(value: object, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{at} is not a list")
    return value
