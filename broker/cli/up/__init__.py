"""`brokerctl up`: a BrokerCluster as processes of one machine, with the operator's own parser and renderer."""
