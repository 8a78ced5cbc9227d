"""The Grafana dashboard as data, and the JSON that is made of it."""
