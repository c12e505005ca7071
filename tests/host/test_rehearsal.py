"""Loading a program without serving it."""

from __future__ import annotations

import os
import sys

import pytest

from provider.errors import StartError
from provider.host import rehearsal
from tests.conftest import PATIENCE


async def test_a_good_program_is_told_about(house, processes):
    house.save("", "random.py")
    house.build("import os\nprint(os.getpid())\ndef handle(command, arg): pass")
    rehearsed = await rehearsal.rehearse(house.setup, PATIENCE)
    assert rehearsed.python == "{}.{}.{}".format(*sys.version_info[:3])
    assert 0 < rehearsed.seconds < PATIENCE
    assert rehearsed.hidden == (str(house.folder / "random.py"),)
    assert not processes.alive(int(house.events.of("printed")[0]["text"]))


async def test_a_bad_program_is_told_about(house):
    house.build("def handle(only_one): pass")
    with pytest.raises(StartError, match="cannot take two arguments"):
        await rehearsal.rehearse(house.setup, PATIENCE)


async def test_a_program_that_hangs_is_told_about(house):
    house.build("import time\ntime.sleep(3600)")
    with pytest.raises(StartError, match=r"took longer than 0\.3 s"):
        await rehearsal.rehearse(house.setup, 0.3)


async def test_rehearsals_leave_nothing_behind(house):
    house.build("def handle(command, arg): pass")
    await rehearsal.rehearse(house.setup, PATIENCE)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await rehearsal.rehearse(house.setup, PATIENCE)
    assert len(os.listdir("/proc/self/fd")) <= before
