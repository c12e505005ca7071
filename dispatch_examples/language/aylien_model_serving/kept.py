"""What there is once in a process: the application, its metrics and its cache.

The rule of this file: what was made once is never made again, though this package is loaded again
with the handlers. Metrics cannot be: their names are taken.
"""

import sys
import types

_PLACE = "aylien_model_serving.kept_in_this_process"
"""No module of a file, so nothing loads it again."""


def once(name, make):
    """What has this name, made now if it was not made before."""
    kept = sys.modules.setdefault(_PLACE, types.ModuleType(_PLACE))
    if not hasattr(kept, name):
        setattr(kept, name, make())
    return getattr(kept, name)
