"""A load on a running provider, and what came of it: what `provider bench` stands on.

The rule of this package: every call is counted once, when it was due and not when it could be sent,
and what cannot be known is not guessed. Only `load` and `line` touch the network; the rest is pure.
"""
