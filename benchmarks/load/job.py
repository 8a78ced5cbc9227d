"""What a load process is asked to do; travels as JSON on its command line."""

import json
from dataclasses import asdict, dataclass


@dataclass
class Job:
    """One load on one server."""

    kind: str
    """client, raw (`benchmarks.load`), h2load, or a kind of `benchmarks/loader/src/main.rs`."""
    target: str
    """HOST:PORT of the server; the DSN of a database where there is no server."""
    other: str = ""
    """HOST:PORT of a second replica: what is published to, or called as well."""
    seconds: float = 2.0
    """Measured."""
    warm_up: float = 1.0
    """Seconds before."""
    body: int = 100
    """Bytes of each body."""
    connections: int = 1
    in_flight: int = 1
    """Calls, or frames of a stream, that wait for their answer, on each connection."""
    subjects: int = 1
    """Published to in turn."""
    frame: int = 100
    """Messages in a frame."""
    streams: int = 1
    """Subscriptions."""
    messages: int = 0
    """How many messages are there before."""
    rate: int = 0
    """Messages a second to publish, where that is given."""
    batched: bool = True
    """SubscribeBatch rather than Subscribe."""
    secured: bool = False
    """By TLS, with an API key (h2load alone)."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        return cls(**json.loads(text))
