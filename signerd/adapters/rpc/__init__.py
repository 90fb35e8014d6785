"""signerd's gRPC services. protobuf types stop in this package."""
