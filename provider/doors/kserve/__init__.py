"""The KServe protocol, over gRPC and over HTTP: programs' operations and graphs as models."""
