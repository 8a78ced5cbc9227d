"""Which broker a call goes to.

By subject: the hash of the subject that Envoy read in a request chooses in a table of brokers (Maglev). All proxies
have the same table, since it is made of the brokers' addresses alone, and a broker that goes or comes moves its own
share and hardly anything else. (Envoy's ring does worse: a ring of fewer brokers has more points of each, which take
from one another: of 6 brokers one went, and 10 % of the subjects of the others moved; 0.2 % by Maglev.)
"""

from __future__ import annotations

from broker_operator.api import Balancing
from broker_operator.render.envoy.names import SUBJECT_HEADER, Config


def cluster_options(balancing: Balancing) -> Config:
    """Fields of a cluster of brokers."""
    if balancing is Balancing.SUBJECT:
        return {"lb_policy": "MAGLEV"}
    return {"lb_policy": "LEAST_REQUEST"}


def route_options(balancing: Balancing) -> Config:
    """Fields of the action of a route to the brokers. Without a subject any of them is right: it refuses the call."""
    if balancing is Balancing.SUBJECT:
        return {"hash_policy": [{"header": {"header_name": SUBJECT_HEADER}}]}
    return {}
