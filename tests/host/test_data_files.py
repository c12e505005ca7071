"""Which changes of files that are no modules have the code loaded again."""

from __future__ import annotations

import asyncio
import os

import pytest

from provider.errors import ExitCode
from provider.host.data_files import DataFiles
from provider.host.watch import QUIET
from tests.conftest import PATIENCE

NO_NEWS = QUIET * 3
"""Seconds after which a change that was going to be told has been told."""

READS = """
    import json, os
    HERE = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(HERE, "prices.json")) as file:
        PRICES = json.load(file)
    def handle(command, arg): return PRICES[arg]
"""


class Told:
    """A file that is watched, and how often it was told to hold something else."""

    def __init__(self, folder) -> None:
        self.times = 0
        self._news = asyncio.Event()
        self.file = folder / "model"
        self.file.write_text("old")
        self.files = DataFiles([str(self.file)], self._tell)

    def _tell(self) -> None:
        self.times += 1
        self._news.set()

    async def next(self) -> None:
        await asyncio.wait_for(self._news.wait(), PATIENCE)
        self._news.clear()

    async def nothing(self) -> None:
        await asyncio.sleep(NO_NEWS)
        assert not self._news.is_set()


@pytest.fixture
async def told(tmp_path):
    made = Told(tmp_path)
    made.files.open()
    await made.nothing()
    yield made
    made.files.close()


async def test_other_contents_are_told(told):
    told.file.write_text("new")
    await told.next()
    told.file.with_suffix(".tmp").write_text("newer")
    told.file.with_suffix(".tmp").rename(told.file)
    await told.next()
    assert told.times == 2


async def test_the_same_contents_are_not(told):
    os.utime(told.file)
    await told.nothing()
    told.file.write_text("old")
    await told.nothing()


async def test_a_file_that_is_gone_is_waited_for(told):
    told.file.unlink()
    await told.nothing()
    told.file.write_text("old")
    await told.nothing()
    told.file.unlink()
    told.file.write_text("new")
    await told.next()


async def test_without_files_nothing_is_watched():
    files = DataFiles([], lambda: None)
    files.open()
    files.close()


async def test_a_large_file_does_not_hold_up_the_end(tmp_path):
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 40)  # without anything in it
    files = DataFiles([str(tmp_path / "large")], lambda: None)
    files.open()
    await asyncio.sleep(0)
    files.close()
    await asyncio.wait_for(asyncio.get_running_loop().shutdown_default_executor(), PATIENCE)


@pytest.mark.parametrize("mode", ["live", "process"])
def test_a_newer_file_has_the_code_loaded_again(start_provider, tmp_path, mode):
    prices = tmp_path / "prices.json"
    prices.write_text('{"tea": 450}')
    provider = start_provider(READS, PROVIDER_RELOAD_FILES=str(prices), PROVIDER_RELOAD_MODE=mode)
    assert provider.call("price", "tea") == 450
    prices.write_text('{"tea": 500}')
    assert provider.wait_for("data_changed")["files"] == [str(prices)]
    provider.wait_for("reloaded")
    assert provider.call("price", "tea") == 500
    prices.write_text('{"tea": ')
    provider.wait_for("reload_failed")
    assert provider.call("price", "tea") == 500
    prices.write_text('{"tea": 550}')
    provider.wait_for("reloaded", 2)
    assert provider.call("price", "tea") == 550


def test_a_file_that_is_not_there_ends_the_start(start_provider):
    provider = start_provider(
        "def handle(command, arg): return arg", ready=False, PROVIDER_RELOAD_FILES="absent"
    )
    assert provider.wait() == ExitCode.NOT_STARTED
    assert "PROVIDER_RELOAD_FILES" in provider.text
