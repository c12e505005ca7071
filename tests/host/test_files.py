"""What is noted of the files a worker reads, and what no worker can make of it."""

from __future__ import annotations

import pytest

from provider.host.files import ProgramFiles


def test_what_was_saved_is_seen_once(tmp_path):
    path = tmp_path / "dispatch.py"
    path.write_text("old")
    files = ProgramFiles()
    files.take({"programs": [str(path)]})
    assert not files.changed()
    path.write_text("newer")
    assert files.outdated
    assert files.changed()
    assert not files.changed()


@pytest.mark.parametrize("told", [{"programs": ["/\0"]}, {"files": [["/\0", 1, 2, 3]]}])
def test_what_is_no_path_is_not_noted(tmp_path, told):
    files = ProgramFiles()
    files.take({"programs": [str(tmp_path)]})
    with pytest.raises(ValueError, match="null byte"):
        files.take(told)
    assert files.all == [str(tmp_path)]
    assert not files.changed()
