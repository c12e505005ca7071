"""Call Python functions from anywhere on a NATS network.

This page stays light: importing `provider` imports no NATS and nothing that is not in the standard
library, because the worker imports it inside the user's environment.
"""

__version__ = "0.1.0"
