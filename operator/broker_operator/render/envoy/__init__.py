"""Envoy's configuration for a BrokerCluster, as plain data.

One model in two forms. `files`: a bootstrap and files that a running Envoy follows, so that limits, routes, clusters
and certificates change without a restart and without cutting streams. `whole`: all in one, for
`envoy --mode validate`, which does not look into other files.
"""

from broker_operator.render.envoy.bootstrap import BOOTSTRAP, files, whole
from broker_operator.render.envoy.places import Address, Places

__all__ = ["BOOTSTRAP", "Address", "Places", "files", "whole"]
