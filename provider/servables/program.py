"""The dispatch program that serves a plan, written for the worker.

The rule of this file: it is a file like any other dispatch program, so that nothing else in the
host has to know of servables. It lies in a folder of its own that only we can write, and is written
as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import pprint
import shutil
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.servables.plan import Plan

NAME = "provider_servables.py"

_TEXT = '''"""The servables of {path}, written by the provider."""

from provider.worker.servables.program import serve

PLAN = {plan}

globals().update(serve(PLAN, __name__))
'''


@contextlib.contextmanager
def written(plan: Plan, *, tracebacks: bool) -> Iterator[str]:
    """The path of a program that serves a plan; in the end it is removed.

    Args:
        plan: of the servables.
        tracebacks: whether callers are told what handlers raise.
    """
    folder = tempfile.mkdtemp(prefix="provider-")
    try:
        program = os.path.join(folder, NAME)
        write(program, plan, tracebacks=tracebacks)
        yield program
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(program: str, plan: Plan, *, tracebacks: bool) -> None:
    """Write the program, or write it again.

    Args:
        program: its path.
        plan: of the servables.
        tracebacks: whether callers are told what handlers raise.
    """
    shown = pprint.pformat(plan.as_map(tracebacks=tracebacks), sort_dicts=False, width=100)
    text = _TEXT.format(path=ascii(plan.path)[1:-1].replace('"', "'"), plan=shown)
    new = f"{program}.new"
    with open(new, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
    os.replace(new, program)
