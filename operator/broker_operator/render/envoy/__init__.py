"""Envoy's configuration for a BrokerCluster, as plain data.

One model in two forms. Split: `bootstrap(…, routes_path=…)` and `routes_file(…)`, where Envoy watches the second file,
so that limits change without a restart and without cutting streams. Whole: `bootstrap(…)` alone, for one machine and
for `envoy --mode validate`, which does not look into other files.
"""

from broker_operator.render.envoy.bootstrap import bootstrap
from broker_operator.render.envoy.places import Address, Places
from broker_operator.render.envoy.routes import routes, routes_file

__all__ = ["Address", "Places", "bootstrap", "routes", "routes_file"]
