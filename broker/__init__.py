"""A durable gRPC message broker and its client."""
