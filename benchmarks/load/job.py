"""What a load process is asked to do; travels as JSON on its command line."""

import json
from dataclasses import asdict, dataclass

from benchmarks.load.meter import Shares


@dataclass
class Job:
    """One load on one server."""

    kind: str
    """A module of benchmarks.load with a `run`."""
    target: str
    """HOST:PORT of the server; the DSN of a database where there is no server."""
    server: int
    """The server's process id: its CPU is read with the load's."""
    seconds: float = 4.0
    warm_up: float = 1.0
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
    """How many messages to publish in all, where that is the measure."""
    rate: int = 0
    """Messages a second to publish, where that is given."""
    batched: bool = True
    """SubscribeBatch rather than Subscribe."""
    checked: bool = True
    """Whether the server gives dense ids (the echo does not)."""
    published: int = 0
    """Messages on the subject before this load."""
    other: str = ""
    """HOST:PORT of a second replica: what is published to, or called as well."""

    def __post_init__(self) -> None:
        self.shares: dict[str, float] = {}

    def begin(self) -> None:
        """The measured time starts."""
        self._shares = Shares(self.server)

    def end(self) -> None:
        """The measured time is over."""
        self.shares = self._shares.read()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        return cls(**json.loads(text))
