"""The progress cell: one process writes what has begun, another reads it, also after a death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from provider.wire.progress import SIZE, Progress, new_memory


@pytest.fixture
def cell():
    descriptor = new_memory()
    yield descriptor
    os.close(descriptor)


def test_a_fresh_cell_says_that_nothing_has_begun(cell):
    progress = Progress(cell)
    assert progress.begun() == 0
    progress.close()


def test_both_ends_see_the_newest_call(cell):
    host, worker = Progress(cell), Progress(cell)
    for number in (1, 2, 2**64 - 1):
        worker.begin(number)
        assert host.begun() == number
    host.close()
    assert worker.begun() == 2**64 - 1
    worker.close()


def test_an_end_that_is_closed_cannot_be_read(cell):
    progress = Progress(cell)
    progress.close()
    progress.close()
    with pytest.raises(ValueError, match="released"):
        progress.begun()


def test_the_memory_outlives_its_descriptor():
    descriptor = new_memory()
    progress = Progress(descriptor)
    os.close(descriptor)
    progress.begin(3)
    assert progress.begun() == 3
    progress.close()


def test_cells_are_separate_and_not_inherited_unasked(cell):
    other = new_memory()
    one, two = Progress(cell), Progress(other)
    one.begin(5)
    assert two.begun() == 0
    assert not os.get_inheritable(cell)
    assert os.fstat(cell).st_size == SIZE
    one.close()
    two.close()
    os.close(other)


WRITE_AND_DIE = """if True:
    import os, signal, sys
    from provider.wire.progress import Progress
    progress = Progress(int(sys.argv[1]))
    progress.begin(41)
    progress.begin(42)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_begun_is_known(cell):
    ended = subprocess.run(
        [sys.executable, "-c", WRITE_AND_DIE, str(cell)], pass_fds=(cell,), check=False
    )
    assert ended.returncode == -signal.SIGKILL
    progress = Progress(cell)
    assert progress.begun() == 42
    progress.close()


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="seals are of memory files")
def test_a_worker_that_shrinks_the_cell_does_not_kill_the_host(cell):
    program = "import os, sys; os.ftruncate(int(sys.argv[1]), 0)"
    progress = Progress(cell)
    progress.begin(1)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(cell)],
        pass_fds=(cell,),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in ended.stderr
    assert progress.begun() == 1
    progress.close()


def test_where_there_are_no_memory_files_an_unnamed_file_does(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on macOS
    descriptor = new_memory()
    one, two = Progress(descriptor), Progress(descriptor)
    assert two.begun() == 0
    one.begin(7)
    assert two.begun() == 7
    assert not os.get_inheritable(descriptor)
    one.close()
    two.close()
    os.close(descriptor)
