"""What counts as a change, whatever the events call it."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading

import pytest

from provider.host.watch import QUIET, Watch
from tests.conftest import PATIENCE, descriptors_left

NO_NEWS = QUIET * 3
"""Seconds after which a change that was going to be told has been told."""


class Watched:
    """A watch and how often it told of something."""

    def __init__(self):
        self.told = 0
        self._news = asyncio.Event()
        self.watch = Watch(self._tell)

    def _tell(self):
        self.told += 1
        self._news.set()

    async def next(self):
        self._news.clear()
        await asyncio.wait_for(self._news.wait(), PATIENCE)
        return self.told

    async def nothing(self):
        before = self.told
        await asyncio.sleep(NO_NEWS)
        assert self.told == before


@pytest.fixture
async def watched():
    made = Watched()
    yield made
    made.watch.close()


@pytest.fixture
def file(tmp_path, watched):
    path = tmp_path / "dispatch.py"
    path.write_text("old")
    watched.watch.files([str(path)])
    return path


async def test_a_save_in_several_steps_is_told_once(watched, file):
    for _ in range(20):
        before = watched.told
        for step in range(5):
            file.write_text("new" * step)
        await watched.next()
        await asyncio.sleep(NO_NEWS)
        # More than one only where the machine took a quiet moment between two of the steps.
        if watched.told == before + 1:
            return
    raise AssertionError(f"told {watched.told} times")


async def test_a_save_by_rename_is_told(watched, file):
    await watched.nothing()
    file.with_suffix(".tmp").write_text("new")
    file.with_suffix(".tmp").rename(file)
    await watched.next()


async def test_a_file_that_goes_and_comes_back_is_told_twice(watched, file):
    file.unlink()
    assert await watched.next() == 1
    file.write_text("new")
    assert await watched.next() == 2
    file.rename(file.with_suffix(".bak"))
    assert await watched.next() == 3


async def test_reading_bytecode_and_other_files_are_not_told(watched, file):
    file.read_text()
    (file.parent / "__pycache__").mkdir()
    (file.parent / "__pycache__" / "dispatch.pyc").write_text("bytecode")
    (file.parent / "dispatch.py~").write_text("backup")
    (file.parent / "notes.txt").write_text("notes")
    await watched.nothing()


async def test_a_swapped_link_of_a_config_map_is_told(watched, tmp_path):
    # As Kubernetes mounts it: dispatch.py -> ..data/dispatch.py, ..data -> a folder with a date.
    mount = tmp_path / "mount"
    for version in ("..2026_01", "..2026_02"):
        (mount / version).mkdir(parents=True)
        (mount / version / "dispatch.py").write_text(version)
    (mount / "..data").symlink_to("..2026_01")
    (mount / "dispatch.py").symlink_to("..data/dispatch.py")
    watched.watch.files([str(mount / "dispatch.py")])
    (mount / "..data_tmp").symlink_to("..2026_02")
    (mount / "..data_tmp").rename(mount / "..data")
    await watched.next()
    assert (mount / "dispatch.py").read_text() == "..2026_02"


async def test_a_swapped_config_map_is_served(house, tmp_path):
    mount = tmp_path / "mount"
    for number, version in enumerate(("..2026_01", "..2026_02")):
        house.save(f"def handle(c, a): return {number}", f"mount/{version}/dispatch.py")
    (mount / "..data").symlink_to("..2026_01")
    (mount / "dispatch.py").symlink_to("..data/dispatch.py")
    await house.start(None, watch=True, dispatch=str(mount / "dispatch.py"))
    assert await house.call("version") == 0
    (mount / "..data_tmp").symlink_to("..2026_02")
    (mount / "..data_tmp").rename(mount / "..data")
    await house.events.until("reloaded")
    assert await house.call("version") == 1
    assert house.fleet.reloads == 1


async def test_a_program_in_a_folder_behind_a_link_is_watched(watched, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "dispatch.py").write_text("old")
    (tmp_path / "link").symlink_to("real")
    watched.watch.files([str(tmp_path / "link" / "dispatch.py")])
    (tmp_path / "real" / "dispatch.py").write_text("new")
    await watched.next()


async def test_files_that_are_no_longer_tracked_are_no_longer_watched(watched, file, tmp_path):
    other = tmp_path / "other" / "helper.py"
    other.parent.mkdir()
    other.write_text("old")
    watched.watch.files([str(file), str(other)])
    other.write_text("new")
    await watched.next()
    watched.watch.files([str(file)])
    other.write_text("newer")
    await watched.nothing()
    file.write_text("new")
    await watched.next()


async def test_a_folder_that_was_replaced_is_watched_again(watched, file):
    folder = file.parent / "inner"
    folder.mkdir()
    helper = folder / "helper.py"
    helper.write_text("old")
    files = [str(file), str(helper)]
    watched.watch.files(files)
    shutil.rmtree(folder)
    await watched.next()
    watched.watch.files(files)  # while there is nothing to watch
    folder.mkdir()
    helper.write_text("new")
    watched.watch.files(files)
    await watched.nothing()
    helper.write_text("newer")
    await watched.next()
    # Moved away and made anew, without a moment in which it was not there to see.
    folder.rename(file.parent / "away")
    folder.mkdir()
    watched.watch.files(files)
    helper.write_text("newest")
    await watched.next()


async def test_a_program_goes_on_being_reloaded_after_its_folder_was_replaced(house):
    for name, content in (("app/dispatch.py", "import helper\ndef handle(c, a): return helper.N"),):
        house.save(content, name)
    house.save("N = 1", "app/helper.py")
    folder = house.folder / "app"
    await house.start(None, watch=True, dispatch=str(folder / "dispatch.py"))
    assert await house.call("n") == 1
    shutil.rmtree(folder)
    assert await house.call("n") == 1
    await house.events.until("reload_failed")
    house.save("N = 2", "app/helper.py")
    house.save("import helper\ndef handle(c, a): return helper.N", "app/dispatch.py")
    await house.call("n")
    await house.call("reload")
    assert await house.call("n") == 2
    house.save("N = 3 # by the watcher", "app/helper.py")
    await house.events.until("reloaded", 3)
    assert await house.call("n") == 3


async def test_a_system_that_watches_nothing_more_costs_a_warning(watched, tmp_path, events):
    file = tmp_path / "dispatch.py"
    file.write_text("old")
    # One may be left for the watch, none for what the watch needs.
    for spare in range(3):
        with descriptors_left(spare):
            watched.watch.files([str(file)])
    told = events.of("folder_not_watched")
    assert told[0]["folder"] == str(tmp_path)
    assert told[0]["level"] == "warning"
    # And it is tried again with the next files, which every reload brings.
    watched.watch.files([str(file)])
    file.write_text("new")
    await watched.next()


async def test_closing_ends_the_threads_and_tells_nothing_more(watched, file):
    before = threading.active_count()
    file.write_text("new")
    await asyncio.sleep(QUIET / 2)
    watched.watch.close()
    assert threading.active_count() < before
    await watched.nothing()
    watched.watch.close()


async def test_a_watch_without_files_starts_nothing():
    before = threading.active_count()
    watch = Watch(lambda: None)
    assert threading.active_count() == before
    watch.close()


async def test_a_touched_file_is_told_and_whoever_is_told_compares(watched, file):
    os.utime(file)
    await watched.next()


async def test_where_the_system_tells_nothing_folders_are_looked_at(tmp_path, monkeypatch):
    def refuse(*_arguments, **_more):
        raise AssertionError("the system was asked")

    monkeypatch.setattr("watchdog.observers.Observer", refuse)  # or it would tell, too
    told = asyncio.Event()
    watch = Watch(told.set, poll=0.05)
    path = tmp_path / "helper.py"
    path.write_text("old")
    watch.files([str(path)])
    try:
        async with asyncio.timeout(PATIENCE):
            while not told.is_set():  # the first look may come after the first save
                path.write_text(path.read_text() + "er")
                await asyncio.sleep(0.1)
    finally:
        watch.close()
