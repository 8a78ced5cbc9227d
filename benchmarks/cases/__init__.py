"""What is measured, as data; in an order that puts next to each other what is compared."""

from benchmarks.cases import clients, crowds, proxies, replicas, streams, unary
from benchmarks.cases.model import Case

CASES: list[Case] = [*unary.CASES, *streams.CASES, *crowds.CASES, *clients.CASES, *replicas.CASES, *proxies.CASES]
