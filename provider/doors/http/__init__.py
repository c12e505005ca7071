"""The HTTP door: JSON in, JSON out, from the host itself or from a gateway on the NATS network."""
