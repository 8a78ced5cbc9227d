"""docs/crd.md, from the CRD: a section for each object, a line for each field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from broker_operator.api.pods import DNS_NAME, LABEL_VALUE
from broker_operator.api.quantity import PATTERN as QUANTITY
from broker_operator.api.rate_limit import HOST_AND_PORT

Schema = Mapping[str, Any]

HEAD = """\
# BrokerCluster: all fields

Made from [the CRD](../manifests/crd/brokerclusters.yaml), which `kubectl explain brokercluster.spec` shows as well.
**Bold** fields are required. What several fields must keep to together stands below their table; the API server refuses
what breaks it, and so do the operator and `brokerctl up`, with the path of the field.

[`manifests/samples/`](../manifests/samples/) has BrokerClusters to start from.
More about [rate limits](rate-limits.md), [TLS and access](access.md), [PostgreSQL](postgres.md).
"""
_KNOWN_PATTERNS = {
    QUANTITY: "",
    DNS_NAME: "a DNS name",
    f"^$|{DNS_NAME}": "a DNS name or empty",
    LABEL_VALUE: "a label's value",
    HOST_AND_PORT: "HOST:PORT",
    r"^[^\x00-\x1f\x7f-\x9f]+$": "no control characters",
}


def reference(root: Schema) -> str:
    """The whole page."""
    pages = _Pages()
    for name in ("spec", "status"):
        pages.add(name, root["properties"][name])
    return HEAD + "".join(pages.sections)


class _Pages:
    def __init__(self) -> None:
        self.sections: list[str] = []
        self._known: list[tuple[Schema, str]] = []

    def add(self, path: str, schema: Schema) -> None:
        """The section of an object, and those of the objects in it."""
        at = len(self.sections)
        self.sections.append("")
        lines = [f"\n## {path}\n\n{schema['description']}\n\n" if "description" in schema else f"\n## {path}\n\n"]
        lines.append("| field | type | default | |\n| --- | --- | --- | --- |\n")
        required = schema.get("required", ())
        for name, field in schema["properties"].items():
            shown = f"**`{name}`**" if name in required else f"`{name}`"
            kind = self._type(f"{path}.{name}", field)
            lines.append(f"| {shown} | {kind} | {_default(field)} | {_cell(_told(field))} |\n")
        rules = [line for name, field in schema["properties"].items() for line in _rules(field, f"`{name}`: ")]
        rules = [*_rules(schema, ""), *rules]
        lines += ["\n", *rules] if rules else []
        self.sections[at] = "".join(lines)

    def _type(self, path: str, schema: Schema) -> str:
        if schema.get("type") == "array":
            items = schema["items"]
            if "properties" in items:
                described = {"description": schema["description"], **items}
                return f"list of {self._object(f'{path}[]', described, 'objects')}{_bounds(schema)}"
            return f"list of {self._type(path, items)}{_bounds(schema)}"
        if "properties" in schema:
            return self._object(path, schema, "object")
        return _plain(schema) + _bounds(schema)

    def _object(self, path: str, schema: Schema, word: str) -> str:
        """A link to the object's section: an object that is the same as an earlier one has that one's."""
        for known, where in self._known:
            if known == schema:
                return f"[{word}](#{_anchor(where)})"
        self._known.append((schema, path))
        self.add(path, schema)
        return f"[{word}](#{_anchor(path)})"


def _plain(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object as in Kubernetes"
    if "additionalProperties" in schema:
        return f"map of {_plain(schema['additionalProperties'])}s"
    if schema.get("x-kubernetes-int-or-string"):
        return "string"
    if schema.get("pattern") == QUANTITY:
        return "size"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _bounds(schema: Schema) -> str:
    """What a value must keep to, to be put behind its type."""
    found = []
    if schema.get("pattern") == QUANTITY:
        found += [rule["message"].removeprefix("must be ") for rule in schema["x-kubernetes-validations"]]
    elif "minimum" in schema and "maximum" in schema:
        found.append(f"{schema['minimum']} to {schema['maximum']}")
    elif "maxLength" in schema:
        found.append(f"{_at_least(schema, 'minLength')}at most {schema['maxLength']} characters")
    if "maxItems" in schema:
        found.append(f"{_at_least(schema, 'minItems')}at most {schema['maxItems']}")
    if "maxProperties" in schema and "additionalProperties" in schema:
        found.append(f"at most {schema['maxProperties']}")
    if pattern := schema.get("pattern"):
        found += [text for text in [_KNOWN_PATTERNS.get(pattern, _code(pattern))] if text]
    return f" ({', '.join(found)})" if found else ""


def _at_least(schema: Schema, bound: str) -> str:
    least = schema.get(bound, 0)
    # That a text is not empty is not worth a word.
    return f"at least {least}, " if least > (bound == "minLength") else ""


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value is None or value == {} or (isinstance(value, dict) and "properties" in schema):
        return ""
    return _code(value if isinstance(value, str) else json.dumps(value))


def _told(schema: Schema) -> str:
    """The description of a field; of an object its first sentence, since the rest stands above its own table."""
    told = str(schema.get("description", ""))
    inside = "properties" in schema or "properties" in schema.get("items", {})
    return re.split(r"(?<!e\.g\.)(?<=\.) ", told, maxsplit=1)[0] if inside else told


def _rules(schema: Schema, prefix: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if schema.get("pattern") != QUANTITY and ("properties" in schema) == (prefix == ""):
            where = f"`{rule['fieldPath'].removeprefix('.')}`: " if "fieldPath" in rule else prefix
            yield f"- {where}{rule['message']}\n"


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _anchor(path: str) -> str:
    """As GitHub makes it of a heading."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")
