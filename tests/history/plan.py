"""What the nemesis will do: made from a seed alone, so that the same seed gives the same plan."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.history.cluster import Cluster
from tests.history.faults import KINDS, Kind


class Shape(NamedTuple):
    """What there is to break."""

    brokers: int
    proxies: int
    peers: bool
    database: bool
    spare: bool
    """Whether there is a broker to add and remove."""

    @classmethod
    def of(cls, cluster: Cluster) -> "Shape":
        """Return the shape of a cluster."""
        return cls(
            cluster.replicas,
            len(cluster.proxies),
            bool(cluster.lines),
            cluster.database is not None,
            cluster.spare is not None,
        )


@dataclass(frozen=True)
class Step:
    """A fault to come.

    Attributes:
        kind: what is done.
        target: the number of what it is done to; for peers, the broker that is cut off.
        duration: how long it lasts, in seconds.
    """

    kind: Kind
    target: int
    duration: float


@dataclass(frozen=True)
class Turn:
    """What happens at once, after a pause in seconds."""

    pause: float
    steps: tuple[Step, ...]


def plan(seed: str, shape: Shape) -> Iterator[Turn]:
    """Yield turns without end: mostly one fault, sometimes two, each kind once before any comes again."""
    rng = random.Random(seed)
    deck: list[Kind] = []
    while True:
        first = _draw(rng, deck, shape)
        steps = [_step(rng, first, shape, taken=None)]
        if rng.random() < 0.35:
            second = next((kind for kind in reversed(deck) if _together(first, kind, shape)), None)
            if second is not None:
                deck.remove(second)
                steps.append(_step(rng, second, shape, taken=steps[0]))
        yield Turn(round(rng.uniform(0.5, 2.5), 2), tuple(steps))


def _draw(rng: random.Random, deck: list[Kind], shape: Shape) -> Kind:
    if not deck:
        deck += [kind for kind in KINDS if _possible(kind, shape)]
        rng.shuffle(deck)
    return deck.pop()


def _possible(kind: Kind, shape: Shape) -> bool:
    there = {
        "broker": shape.brokers > 0,
        "proxy": shape.proxies > 0,
        "database": shape.database,
        "peers": shape.peers,
        "spare": shape.spare,
    }
    return there[kind.of]


def _together(first: Kind, second: Kind, shape: Shape) -> bool:
    """Whether two faults at once leave something that works, or soon will."""
    if first.of == second.of:
        return first.of == "broker" and shape.brokers > 2
    # Where there is one broker only, it and its store are the same thing to clients.
    return shape.brokers > 1 or {first.of, second.of} != {"broker", "database"}


def _step(rng: random.Random, kind: Kind, shape: Shape, taken: Step | None) -> Step:
    many = shape.proxies if kind.of == "proxy" else shape.brokers
    free = [one for one in range(many) if taken is None or taken.kind.of != kind.of or taken.target != one]
    return Step(kind, rng.choice(free), round(rng.uniform(kind.shortest, kind.longest), 2))
