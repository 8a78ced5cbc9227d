"""Rules of rate limits as Envoy's descriptors: what a request is counted by, and a bucket for each rule.

Every rule counts by itself: a request needs room in the buckets of all rules that it fits. Rules that look at the same
parts of a request form a group, whose parts are read once; 64 rules must not mean 64 expressions for each request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from broker_operator.api import Client, ClientSource, Limit, Method, Rule, Selection, Subject
from broker_operator.render.envoy.names import (
    ADDRESS_HEADER,
    API_KEY_HEADER,
    CERTIFICATE_HEADER,
    CLIENT_HEADER,
    HITS_HEADER,
    SERVICE,
    SUBJECT_HEADER,
    TOKEN_HEADER,
    Config,
)

HEADERS = {
    ClientSource.ADDRESS: ADDRESS_HEADER,
    ClientSource.HEADER: CLIENT_HEADER,
    ClientSource.CERTIFICATE: CERTIFICATE_HEADER,
    ClientSource.TOKEN: TOKEN_HEADER,
    ClientSource.API_KEY: API_KEY_HEADER,
}
"""Where the proxy has written down who the client is."""

_NOBODY = "-"
"""The client of a call that has none of what a rule tells clients by: all such calls share a bucket, or leaving it out
would be a way around."""


class Group(NamedTuple):
    """What rules look at. Two rules that also want the same values cannot be in one group, so there are more of it."""

    methods: tuple[Method, ...]
    subject: Selection | None
    client: tuple[Selection, ClientSource] | None
    number: int


def grouped(rules: Sequence[Rule]) -> dict[Group, list[Rule]]:
    """Return rules by group; within one, no two want the same values."""
    groups: dict[Group, list[Rule]] = {}
    wanted: set[tuple[Group, tuple[str | None, ...]]] = set()
    for rule in rules:
        group = _group(rule)
        while (group, _values(rule)) in wanted:
            group = group._replace(number=group.number + 1)
        wanted.add((group, _values(rule)))
        groups.setdefault(group, []).append(rule)
    return groups


def _group(rule: Rule) -> Group:
    client = rule.client
    return Group(
        tuple(sorted(set(rule.methods))),
        rule.subject.type if rule.subject else None,
        (client.type, client.from_) if client else None,
        0,
    )


def _values(rule: Rule) -> tuple[str | None, ...]:
    return tuple(part.value if part else None for part in (rule.subject, rule.client))


def of_requests(rules: Sequence[Rule]) -> list[Config]:
    """What each request is counted by (`rate_limits`): a descriptor for each group that it fits."""
    return [
        described
        for number, rules in enumerate(grouped(rules).values())
        for described in _descriptions(f"group-{number}", rules[0])
    ]


def buckets(rules: Sequence[Rule], least: int) -> list[Config]:
    """The bucket of each rule; one that a rule for each subject or client has no value for stands for many buckets."""
    return [
        {
            "entries": list(_entries(f"group-{number}", rule)),
            "token_bucket": _token_bucket(rule.limit, least),
            **({"shadow_mode": True} if rule.shadow else {}),
        }
        for number, rules in enumerate(grouped(rules).values())
        for rule in rules
    ]


def for_service(rules: Sequence[Rule]) -> list[Config]:
    """What a rate-limit service is told of each request: for each rule its name, and what it counts requests by."""
    return [described for rule in rules for described in _descriptions(rule.name, rule)]


def _descriptions(name: str, rule: Rule) -> Iterator[Config]:
    """At most one of them becomes a descriptor: an action whose header is not there makes none."""
    actions = list(_actions(name, rule))
    if rule.client is None:
        yield _counted(actions)
        return
    header = HEADERS[rule.client.from_]
    yield _counted([*actions, _value_of(header, "client")])
    if rule.client.from_ is not ClientSource.ADDRESS:
        absent = {"name": header, "present_match": True, "invert_match": True}
        nobody = {"descriptor_key": "client", "descriptor_value": _NOBODY, "headers": [absent]}
        yield _counted([*actions, {"header_value_match": nobody}])


def _counted(actions: list[Config]) -> Config:
    return {"actions": actions, "hits_addend": {"format": f"%REQ({HITS_HEADER})%"}}


def _actions(name: str, rule: Rule) -> Iterator[Config]:
    yield {"generic_key": {"descriptor_key": "rule", "descriptor_value": name}}
    if rule.methods:
        yield {
            "header_value_match": {
                "descriptor_key": "methods",
                "descriptor_value": _methods(rule),
                "headers": [{"name": ":path", "string_match": {"safe_regex": {"regex": _paths(rule)}}}],
            }
        }
    if rule.subject:
        yield _value_of(SUBJECT_HEADER, "subject")


def _value_of(header: str, key: str) -> Config:
    return {"request_headers": {"header_name": header, "descriptor_key": key}}


def _entries(name: str, rule: Rule) -> Iterator[Config]:
    yield {"key": "rule", "value": name}
    if rule.methods:
        yield {"key": "methods", "value": _methods(rule)}
    if rule.subject:
        yield _entry("subject", rule.subject)
    if rule.client:
        yield _entry("client", rule.client)


def _entry(key: str, wanted: Subject | Client) -> Config:
    """Without a value it stands for every value, each with a bucket of its own."""
    return {"key": key} if wanted.type is Selection.DISTINCT else {"key": key, "value": wanted.value or ""}


def _methods(rule: Rule) -> str:
    return ",".join(sorted(set(rule.methods)))


def _paths(rule: Rule) -> str:
    service = SERVICE.replace(".", r"\.")
    return f"/{service}/({'|'.join(sorted(set(rule.methods)))})"


def _token_bucket(limit: Limit, least: int) -> Config:
    return {
        "max_tokens": max(limit.burst or limit.requests, least),
        "tokens_per_fill": limit.requests,
        "fill_interval": f"{limit.unit.seconds}s",
    }
