"""What a broker does, without gRPC and without SQL: write in groups, fan out, remember what is recent."""
