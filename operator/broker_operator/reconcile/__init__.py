"""The level-based loop: one pass makes the cluster match one BrokerCluster, workers decide when passes run."""

from broker_operator.reconcile.reconciler import Reconciler
from broker_operator.reconcile.schedule import Outcome, Pace, Result
from broker_operator.reconcile.workers import Key, Workers

__all__ = ["Key", "Outcome", "Pace", "Reconciler", "Result", "Workers"]
