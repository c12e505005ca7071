"""Every knob of the provider, and the only reader of its environment.

The rule of this package: a knob is one field of `Settings` in `table`, of one of the `kinds`, and
`load` is what gives it a value. Nothing else in the provider looks at the environment for knobs, at
`.env` or at a NATS context.
"""

from __future__ import annotations

from provider.settings.knob import Knob
from provider.settings.load import load
from provider.settings.table import DEFAULT, GROUPS, KNOBS, Row, Settings, rows

__all__ = ["DEFAULT", "GROUPS", "KNOBS", "Knob", "Row", "Settings", "load", "rows"]
