"""The Kubernetes operator that turns a BrokerCluster into a running installation."""
