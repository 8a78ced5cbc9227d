"""Which clients may do what with which subjects: rules, and what they come to for one client."""

from bisect import bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from broker.errors import NotAuthorized
from broker.server.identity import Identity


class Action(StrEnum):
    """What a client does with a subject."""

    PUBLISH = "Publish"
    """Publish, PublishBatch, PublishStream."""
    SUBSCRIBE = "Subscribe"
    """Subscribe, SubscribeBatch, Fetch."""


class Source(StrEnum):
    """What proves who a client is."""

    CERTIFICATE = "Certificate"
    TOKEN = "Token"  # noqa: S105 - not a password
    API_KEY = "APIKey"
    ANYONE = "Anyone"
    """Nothing: every client, also one that has proved nothing."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One value, or all that begin with it."""

    value: str
    prefix: bool = False

    def fits(self, value: str) -> bool:
        """Whether it is for this value."""
        return value.startswith(self.value) if self.prefix else value == self.value


@dataclass(frozen=True, slots=True)
class Who:
    """Clients by who they are; without a pattern, everybody who has proved it in this way."""

    source: Source
    pattern: Pattern | None = None

    def fits(self, identity: Identity) -> bool:
        """Whether a client is one of them."""
        if self.source is Source.ANYONE:
            return True
        name = {
            Source.CERTIFICATE: identity.certificate,
            Source.TOKEN: identity.token,
            Source.API_KEY: identity.api_key,
        }[self.source]
        return name is not None and (self.pattern is None or self.pattern.fits(name))


@dataclass(frozen=True, slots=True)
class Rule:
    """These clients may do this with these subjects; no subjects are every subject."""

    clients: tuple[Who, ...]
    actions: frozenset[Action]
    subjects: tuple[Pattern, ...] = ()


class Grant:
    """With which subjects a client may do one thing."""

    __slots__ = ("_action", "_exact", "_prefixes", "everything")

    def __init__(self, action: Action, subjects: Sequence[Pattern] = (), *, everything: bool = False) -> None:
        self.everything = everything
        self._action = action
        self._exact = frozenset(one.value for one in subjects if not one.prefix)
        self._prefixes = _shortest({one.value for one in subjects if one.prefix})

    @property
    def nothing(self) -> bool:
        """Whether there is no such subject."""
        return not (self.everything or self._exact or self._prefixes)

    def allows(self, subject: str) -> bool:
        """Whether this is one of them."""
        if self.everything or subject in self._exact:
            return True
        # None of the prefixes begins with another, so only the last before the subject can be one of it.
        place = bisect_right(self._prefixes, subject)
        return place > 0 and subject.startswith(self._prefixes[place - 1])

    def allows_all(self, subjects: Set[str]) -> bool:
        """Whether all of these are among them."""
        return self.everything or all(map(self.allows, subjects))

    def check(self, subject: str) -> None:
        """Refuse a subject that is none of them.

        Raises:
            NotAuthorized: it is none.
        """
        if not self.allows(subject):
            raise NotAuthorized(self._action, subject)

    def check_any(self) -> None:
        """Refuse a client that may do this with no subject at all.

        Raises:
            NotAuthorized: there is no subject.
        """
        if self.nothing:
            raise NotAuthorized(self._action)


def _shortest(prefixes: Set[str]) -> list[str]:
    """Return in order those that begin with no other: what they allow, the others allow too."""
    found: list[str] = []
    for prefix in sorted(prefixes):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found


EVERYTHING = {action: Grant(action, everything=True) for action in Action}


def grant(rules: Sequence[Rule], identity: Identity, action: Action) -> Grant:
    """Return what rules let a client do: what none of them allows is denied, and no rules at all allow everything."""
    if not rules:
        return EVERYTHING[action]
    fitting = [rule for rule in rules if action in rule.actions and any(who.fits(identity) for who in rule.clients)]
    if any(not rule.subjects for rule in fitting):
        return EVERYTHING[action]
    return Grant(action, [subject for rule in fitting for subject in rule.subjects])
