"""The ways into a cluster, and what a failed call means for the history."""

import random
from dataclasses import dataclass

import grpc

from broker.client import Broker, BrokerError, InvalidRequest, LimitReached, OutcomeUnknown, Unavailable
from broker.client.errors import from_rpc
from tests.support.wire import Wire

TIMEOUT = 10.0
"""Seconds that a client waits for an answer."""


@dataclass(frozen=True)
class Door:
    """One way in, with a connection of its own."""

    name: str
    client: Broker
    wire: Wire


class Doors:
    """Every way in: through each Envoy, and directly to each broker (to another one when that is gone)."""

    def __init__(self, proxies: list[Door], brokers: list[Door]) -> None:
        self.proxies = proxies
        self.brokers = brokers

    def nth(self, number: int) -> Door:
        """Return a door: even numbers lead through Envoy, odd ones to a broker."""
        doors = self.brokers if number % 2 else self.proxies
        return doors[number // 2 % len(doors)]

    def any(self, rng: random.Random) -> Door:
        """Return one by chance."""
        return rng.choice([*self.proxies, *self.brokers])


def nothing_stored(error: BrokerError) -> bool:
    """Whether a failed publish says that the message is not stored and never will be."""
    if isinstance(error, OutcomeUnknown):
        return False
    return isinstance(error, InvalidRequest | LimitReached | Unavailable)


def failure(error: grpc.aio.AioRpcError, *, idempotent: bool = False) -> BrokerError:
    """Return what the status of a call without the client means."""
    return from_rpc(error, "the cluster", idempotent=idempotent)
