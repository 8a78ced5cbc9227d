"""The `brokerctl` command."""
