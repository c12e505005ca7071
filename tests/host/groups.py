"""Whether tests can have control groups here."""

from __future__ import annotations

import os

import pytest

from provider.host.cgroup import Groups

GROUPS = Groups.find({})

needs_groups = pytest.mark.skipif(
    GROUPS is None, reason="no control groups of version 2 that we may change"
)
needs_controllers = pytest.mark.skipif(
    GROUPS is None
    or not {"cpu", "memory", "pids"}
    <= set((GROUPS.folder / "cgroup.controllers").read_text().split()),
    reason="no controllers cpu, memory and pids in control groups of version 2",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
