"""The official client."""

from benchmarks.cases.model import Case, Least

CLIENT = {"kind": "client", "in_flight": 1000}
ASKED = (Least(30_000),)

CASES = [
    Case("client-memory", "await publish(), 1,000 tasks, memory", "native", "memory", CLIENT, ASKED),
    Case("client-subjects", "the same on 100 subjects", "native", "memory", {**CLIENT, "subjects": 100}, ASKED),
    Case("client-postgres", "await publish(), 1,000 tasks, PostgreSQL", "native", "postgres", CLIENT, ASKED),
    Case("client-alone", "await publish(), 1 task, memory", "native", "memory", {"kind": "client"}),
]
