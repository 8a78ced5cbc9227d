"""The gRPC side: doors that move bytes, and the service that translates them for the engine."""
