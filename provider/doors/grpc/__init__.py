"""Calls over gRPC: services of the user's own, health and reflection."""
