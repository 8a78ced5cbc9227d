"""Generated from proto/broker/broker.proto by `make proto`; never edited by hand."""
