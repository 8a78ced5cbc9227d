"""From requests to what is published: checked, in columns, by subject.

Nearly always all requests of a frame are good, and often they have one subject: that is found out for all of them
together. Only where something is wrong, or new, is each request looked at by itself.
"""

from collections.abc import Mapping, Sequence, Set
from operator import attrgetter
from typing import NamedTuple

from broker.api.broker_pb2 import PublishRequest
from broker.engine.rules import Rules
from broker.errors import Refused
from broker.server.door import Call
from broker.server.permissions import EVERYTHING, Action, Grant
from broker.server.wire import decode, decode_all, encode_headers
from broker.store.columns import Columns
from broker.store.contract import NEVER_STORED

_Fields = tuple[str, bytes, int, bytes]
_fields_of = attrgetter("subject", "body", "expirationSeconds", "message_key")
_headers_of = attrgetter("headers")


class Taken(NamedTuple):
    """What is published of some requests."""

    parts: dict[str, Columns]
    """By subject."""
    order: Sequence[str]
    """The subject of each message."""
    places: Sequence[int]
    """The place of each message's request."""
    refused: list[tuple[int, Refused]]
    """The places of the other requests, and what is wrong with them."""


def take(
    requests: Sequence[PublishRequest], rules: Rules, now: int, grant: Grant = EVERYTHING[Action.PUBLISH]
) -> Taken:
    """Check requests of a client who may do what is granted, and return what is good in columns; `now` in ms."""
    if not requests:
        return Taken({}, (), (), [])
    fields: list[_Fields] = list(map(_fields_of, requests))
    headers: list[Mapping[str, bytes]] = list(map(_headers_of, requests))
    subjects, bodies, expirations, keys = zip(*fields, strict=True)
    distinct, lives = set(subjects), set(expirations)
    encoded = tuple(map(encode_headers, headers)) if any(headers) else ()
    if not (grant.allows_all(distinct) and rules.all_good(distinct, bodies, lives, keys, encoded)):
        refused = _refused(fields, headers, rules, grant)
        if refused:
            wrong = {place for place, _ in refused}
            places = [place for place in range(len(requests)) if place not in wrong]
            return take([requests[place] for place in places], rules, now)._replace(places=places, refused=refused)
    messages = Columns(
        bodies,
        _ends(expirations, lives, now),
        encoded,
        keys if rules.limits.deduplication_window and any(keys) else (),
    )
    parts = {subjects[0]: messages} if len(distinct) == 1 else _by_subject(subjects, messages)
    return Taken(parts, subjects, range(len(requests)), [])


def decoded(calls: list[Call]) -> tuple[list[int], list[PublishRequest], list[tuple[int, Refused]]]:
    """Return tokens and requests of Publish calls, and the tokens of those that hold no request."""
    try:
        requests = decode_all(PublishRequest, [data for _, data, _ in calls])
    except Refused:
        return _decoded_one_by_one(calls)
    return [token for token, _, _ in calls], requests, []


def _decoded_one_by_one(calls: list[Call]) -> tuple[list[int], list[PublishRequest], list[tuple[int, Refused]]]:
    tokens: list[int] = []
    requests: list[PublishRequest] = []
    malformed: list[tuple[int, Refused]] = []
    for token, data, _ in calls:
        try:
            requests.append(decode(PublishRequest, data or b""))
            tokens.append(token)
        except Refused as error:
            malformed.append((token, error))
    return tokens, requests, malformed


def _ends(expirations: Sequence[int], lives: Set[int], now: int) -> tuple[int, ...]:
    """Return when messages expire; `lives` are the different values of `expirations`."""
    ends = {life: now + 1000 * life if life else NEVER_STORED for life in lives}
    if len(ends) == 1:
        return tuple(ends.values()) * len(expirations)
    return tuple([ends[life] for life in expirations])


def _refused(
    fields: Sequence[_Fields], headers: Sequence[Mapping[str, bytes]], rules: Rules, grant: Grant
) -> list[tuple[int, Refused]]:
    refused: list[tuple[int, Refused]] = []
    for place, (subject, body, expiration, key) in enumerate(fields):
        try:
            rules.check_message(subject, body, expiration)
            grant.check(subject)
            rules.check_key(key)
            rules.check_headers(headers[place])
        except Refused as error:
            refused.append((place, error))
    return refused


def _by_subject(subjects: Sequence[str], messages: Columns) -> dict[str, Columns]:
    places: dict[str, list[int]] = {}
    for place, subject in enumerate(subjects):
        places.setdefault(subject, []).append(place)
    return {subject: messages.at(of_it) for subject, of_it in places.items()}
