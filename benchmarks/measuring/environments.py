"""Environments of the peers: what is measured beside the provider, and what draws the picture.

The rule of this file: nothing of it is among the provider's dependencies, development included.
Each has a folder of its own, filled by pip once; one that cannot be had is left out, and that is
said.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring.said import say

if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = Path(tempfile.gettempdir()) / "provider-peers"
"""Where they are unless somebody says otherwise."""
INSTALLING = 1800
"""Seconds an installation may take."""


def python_of(place: Path, peer: str, *installations: Sequence[str]) -> str | None:
    """The interpreter that has a peer, installed now if it was not before.

    Args:
        place: folder of all environments.
        peer: its name.
        installations: the arguments of `pip install`, one after the other.

    Returns:
        Its path; None where it cannot be had.
    """
    folder = place.resolve() / peer
    python, installed = folder / "bin" / "python", folder / "installed"
    wanted = repr(installations)
    if not installed.exists() or installed.read_text() != wanted:
        say(f"installing {peer}, once")
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            for packages in installations:
                subprocess.run(
                    [python, "-m", "pip", "install", "--quiet", *packages],
                    check=True,
                    timeout=INSTALLING,
                    stdout=sys.stderr,
                )
        except (subprocess.SubprocessError, OSError) as error:
            say(f"{peer} is left out: {error}")
            return None
        installed.write_text(wanted)
    return str(python)


def versions_of(python: str, *packages: str) -> dict[str, str]:
    """The versions of packages in an environment; of those it has."""
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = dict(re.findall(r"^([^=\s]+)==(\S+)$", listed, re.MULTILINE))
    return {name: found[name] for name in packages if name in found}
