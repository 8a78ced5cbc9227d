"""Which broker a call goes to.

By subject: the hash of the subject that Envoy read in a request chooses in a table of brokers (Maglev). All proxies
have the same table, since it is made of the brokers' addresses alone, and a broker that goes or comes moves its own
share and hardly anything else. (Envoy's ring does worse: a ring of fewer brokers has more points of each, which take
from one another: of 6 brokers one went, and 10 % of the subjects of the others moved; 0.2 % by Maglev.)
"""

from __future__ import annotations

from broker_operator.api import Balancing
from broker_operator.render.envoy import descriptors
from broker_operator.render.envoy.names import FILTER_STATE, Config, typed

_SUBJECT = "broker.subject"


def cluster_options(balancing: Balancing) -> Config:
    """Fields of a cluster of brokers."""
    if balancing is Balancing.SUBJECT:
        return {"lb_policy": "MAGLEV"}
    return {"lb_policy": "LEAST_REQUEST"}


def filters() -> list[Config]:
    """HTTP filters behind the one that reads subjects. Always there, since a change of the listener cuts streams; the
    routes switch it off.
    """
    subject = {
        "object_key": _SUBJECT,
        "factory_key": "envoy.hashable_string",
        "format_string": {
            "text_format_source": {"inline_string": f"%CEL({descriptors.subject(otherwise='')})%"},
            "omit_empty_values": True,
        },
        # Without a subject any broker is right: it refuses the call.
        "skip_if_empty": True,
    }
    config = typed("envoy.extensions.filters.http.set_filter_state.v3.Config", on_request_headers=[subject])
    return [{"name": FILTER_STATE, "typed_config": config}]


def switched_off() -> Config:
    """Per route: the subject does not matter."""
    return {FILTER_STATE: typed("envoy.config.route.v3.FilterConfig", disabled=True)}


def route_options(balancing: Balancing) -> Config:
    """Fields of the action of a route to the brokers."""
    if balancing is Balancing.SUBJECT:
        return {"hash_policy": [{"filter_state": {"key": _SUBJECT}}]}
    return {}
