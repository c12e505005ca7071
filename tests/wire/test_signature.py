"""Signatures: a save shows in the time, the size or the inode of a file."""

from __future__ import annotations

import os

from provider.wire.signature import signature


def test_a_signature_is_time_size_and_inode(tmp_path):
    file = tmp_path / "dispatch.py"
    file.write_text("x = 1\n")
    status = os.stat(file)
    assert signature(status) == (status.st_mtime_ns, 6, status.st_ino)


def test_an_untouched_file_keeps_its_signature(tmp_path):
    file = tmp_path / "dispatch.py"
    file.write_text("x = 1\n")
    before = signature(os.stat(file))
    file.read_text()
    os.chmod(file, 0o600)
    assert signature(os.stat(file)) == before


def test_each_way_to_save_shows(tmp_path):
    file = tmp_path / "dispatch.py"
    file.write_text("x = 1\n")
    seen = [signature(os.stat(file))]
    times = seen[0][0]

    file.write_text("x = 10\n")  # another size
    os.utime(file, ns=(times, times))
    seen.append(signature(os.stat(file)))

    os.utime(file, ns=(times, times + 1))  # the same size, a nanosecond later
    seen.append(signature(os.stat(file)))

    new = tmp_path / "dispatch.py.new"  # an atomic save of the same size and time
    new.write_text("x = 20\n")
    os.utime(new, ns=(times, times + 1))
    os.replace(new, file)
    seen.append(signature(os.stat(file)))

    assert len(set(seen)) == 4


def test_a_link_has_the_signature_of_what_it_leads_to(tmp_path):
    one, two, link = tmp_path / "1.py", tmp_path / "2.py", tmp_path / "link.py"
    one.write_text("x = 1\n")
    two.write_text("x = 2\n")
    link.symlink_to(one)
    assert signature(os.stat(link)) == signature(os.stat(one))
    link.unlink()
    link.symlink_to(two)
    assert signature(os.stat(link)) == signature(os.stat(two)) != signature(os.stat(one))
