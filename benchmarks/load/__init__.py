"""The load generator: raw gRPC over HTTP/2, so that it costs a fraction of what the server does."""
