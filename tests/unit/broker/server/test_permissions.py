"""Rules say what is allowed; everything else is denied."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import NotAuthorized
from broker.server.identity import NOBODY, Identity, described, identity_of
from broker.server.permissions import Action, Grant, Pattern, Rule, Source, Who, grant
from broker.server.permissions_file import parse

NAMES = st.text("ab/", min_size=1, max_size=4)
PATTERNS = st.builds(Pattern, NAMES, st.booleans())
CLIENTS = st.one_of(
    st.builds(Who, st.sampled_from([Source.CERTIFICATE, Source.TOKEN, Source.API_KEY]), st.none() | PATTERNS),
    st.just(Who(Source.ANYONE)),
)
RULES = st.builds(
    Rule,
    st.lists(CLIENTS, min_size=1, max_size=3).map(tuple),
    st.frozensets(st.sampled_from(Action), min_size=1),
    st.lists(PATTERNS, max_size=4).map(tuple),
)
IDENTITIES = st.builds(Identity, st.none() | NAMES, st.none() | NAMES, st.none() | NAMES)


def allowed(rules: list[Rule], identity: Identity, action: Action, subject: str) -> bool:
    """The same said slowly: some rule names the client, the action and the subject."""
    names = {Source.CERTIFICATE: identity.certificate, Source.TOKEN: identity.token, Source.API_KEY: identity.api_key}

    def fits(pattern: Pattern, value: str) -> bool:
        return value[: len(pattern.value)] == pattern.value if pattern.prefix else value == pattern.value

    def is_one(who: Who) -> bool:
        name = names.get(who.source)
        return who.source is Source.ANYONE or (name is not None and (who.pattern is None or fits(who.pattern, name)))

    return any(
        action in rule.actions
        and any(is_one(who) for who in rule.clients)
        and (not rule.subjects or any(fits(pattern, subject) for pattern in rule.subjects))
        for rule in rules
    )


@given(st.lists(RULES, min_size=1, max_size=5), IDENTITIES, st.sampled_from(Action), st.sets(NAMES, max_size=6))
def test_a_client_may_do_what_some_rule_allows_and_nothing_else(
    rules: list[Rule], identity: Identity, action: Action, subjects: set[str]
) -> None:
    granted = grant(rules, identity, action)
    for subject in subjects:
        assert granted.allows(subject) == allowed(rules, identity, action, subject)
    assert granted.allows_all(subjects) == all(allowed(rules, identity, action, subject) for subject in subjects)


@given(st.lists(RULES, max_size=5), IDENTITIES, st.sampled_from(Action), NAMES)
def test_more_rules_never_take_a_right_away_and_nothing_means_nothing(
    rules: list[Rule], identity: Identity, action: Action, subject: str
) -> None:
    for count in range(1, len(rules)):
        if grant(rules[:count], identity, action).allows(subject):
            assert grant(rules[: count + 1], identity, action).allows(subject)
    if grant(rules, identity, action).nothing:
        assert not grant(rules, identity, action).allows(subject)


@given(IDENTITIES, st.sampled_from(Action), NAMES)
def test_without_rules_all_is_allowed(identity: Identity, action: Action, subject: str) -> None:
    assert grant([], identity, action).allows(subject)


def test_a_name_of_one_kind_is_none_of_another() -> None:
    rules = [Rule((Who(Source.TOKEN, Pattern("alice")),), frozenset(Action))]
    assert grant(rules, Identity(token="alice"), Action.PUBLISH).everything
    for other in (Identity(certificate="alice"), Identity(api_key="alice"), NOBODY, Identity(token="ALICE")):
        assert grant(rules, other, Action.PUBLISH).nothing


def test_what_is_refused_says_what_and_not_what_would_be_allowed() -> None:
    secret = Grant(Action.SUBSCRIBE, [Pattern("secret/", prefix=True)])
    with pytest.raises(NotAuthorized) as refused:
        secret.check("other")
    assert refused.value.reason == "NOT_AUTHORIZED"
    assert refused.value.metadata == {"action": "Subscribe", "subject": "other"}
    assert "secret" not in refused.value.message


def test_identities_come_from_headers_that_were_asked_for() -> None:
    asked = [None, "10.0.0.7", None, None, "alice", "", None]
    assert identity_of(asked) == Identity(token="alice")
    assert described(asked) == "token 'alice' from 10.0.0.7"
    assert described([None, "10.0.0.7", *[None] * 5]) == "nobody known from 10.0.0.7"
    for nothing in (None, ["00-trace"]):
        assert identity_of(nothing) == NOBODY
        assert described(nothing) == "unknown"


def test_a_file() -> None:
    text = json.dumps(
        {
            "rules": [
                {
                    "name": "shops",
                    "clients": [
                        {"from": "Certificate", "type": "Prefix", "value": "spiffe://shop/"},
                        {"from": "Token"},
                    ],
                    "actions": ["Publish"],
                    "subjects": [{"value": "orders"}, {"type": "Prefix", "value": "carts/"}],
                },
                {"name": "all", "clients": [{"from": "Anyone"}]},
            ]
        }
    )
    assert parse(text) == [
        Rule(
            (Who(Source.CERTIFICATE, Pattern("spiffe://shop/", prefix=True)), Who(Source.TOKEN)),
            frozenset({Action.PUBLISH}),
            (Pattern("orders"), Pattern("carts/", prefix=True)),
        ),
        Rule((Who(Source.ANYONE),), frozenset(Action)),
    ]
    assert parse("{}") == parse('{"rules": []}') == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is not JSON"),
        ("[]", "the file is not an object"),
        ('{"rule": []}', "the file has the unknown field 'rule': there are rules"),
        ('{"rules": {}}', "rules is not a list"),
        ('{"rules": [1]}', "rules[0] is not an object"),
        ('{"rules": [{}]}', "rules[0].clients is not a list"),
        ('{"rules": [{"clients": []}]}', "rules[0].clients is empty"),
        ('{"rules": [{"clients": [{"from": "Header"}]}]}', "rules[0].clients[0].from is 'Header': give Certificate, "),
        ('{"rules": [{"clients": [{"from": "Anyone", "value": "x"}]}]}', "rules[0].clients[0].value: who is Anyone"),
        ('{"rules": [{"clients": [{"from": "Token", "value": ""}]}]}', "rules[0].clients[0].value is ''"),
        ('{"rules": [{"clients": [{"from": "Token"}], "actions": ["publish"]}]}', "rules[0].actions[0] is 'publish'"),
        ('{"rules": [{"clients": [{"from": "Token"}], "actions": []}]}', "rules[0].actions is empty"),
        ('{"rules": [{"clients": [{"from": "Token"}], "subjects": [{}]}]}', "rules[0].subjects[0].value is None"),
        ('{"rules": [{"clients": [{"from": "Token"}], "subjects": [{"value": "a", "type": "Re"}]}]}', "].type is 'Re'"),
    ],
)  # fmt: skip
def test_a_wrong_file_says_where_it_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse(text)
