"""Ends what is left of the workers when the host was killed: a small process beside the host.

The rule of this file: it runs alone, on the standard library, and does nothing until the pipe from
the host ends. A worker then dies by itself, but not what its code has started. What it has to know
comes in lines, because it must not need the host any more when it acts:

    +PID FOLDER    a worker, leader of its process group, and its control group, if it has one
    -PID           it is gone, with all it left

It starts with each host, beside the first worker, so it imports next to nothing: `contextlib` and
`signal` would take half of its start, for the sake of what they are built on.

    python -I -S .../provider/host/sentinel.py < pipe
"""

# ruff: noqa: SIM105  `contextlib.suppress`, see above

import _signal as signal  # type: ignore[import-not-found]  # what `signal` gives names of its own
import os
import time

REMOVED_WITHIN = 10.0
"""Seconds the processes of a control group have to go. They were killed, but the system is busy."""


def follow(pipe: int) -> dict[int, tuple[str, str]]:
    """Read what the host tells until it is gone.

    Args:
        pipe: whose other end only the host has.

    Returns:
        The workers it left: when they began, and the folders of their control groups.
    """
    workers: dict[int, tuple[str, str]] = {}
    with os.fdopen(pipe, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            pid, _, folder = line[1:].rstrip("\n").partition(" ")
            if line.startswith("+"):
                workers[int(pid)] = (began(int(pid)), folder)
            else:
                workers.pop(int(pid), None)
    return workers


def end(workers: dict[int, tuple[str, str]]) -> None:
    """Kill these workers with all they have started, and remove their control groups."""
    for pid, (since, folder) in workers.items():
        if folder:
            try:
                # It can be written, and neither read nor made.
                os.write(os.open(folder + "/cgroup.kill", os.O_WRONLY), b"1")
            except OSError:
                pass  # the group is gone, or the kernel too old; what is left is killed below
        # A worker that is gone has left its number to its process group, or to a stranger.
        if began(pid) in ("", since):
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass  # nobody of it is left
    left = {folder for _, folder in workers.values() if folder}
    until = time.monotonic() + REMOVED_WITHIN
    while left and time.monotonic() < until:
        left = {folder for folder in left if not removed(folder)}
        time.sleep(0.002)  # the kernel tells nobody that a group has become empty


def began(pid: int) -> str:
    """When a process began, as the system counts; empty for none, and where it does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""


def removed(folder: str) -> bool:
    """Remove a control group with those below it, if they are empty; whether it is gone."""
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            os.rmdir(path)
        except OSError:
            pass  # gone, or not empty yet: what is told is whether it exists
    return not os.path.exists(folder)


if __name__ == "__main__":
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends when the host does, and not before
    end(follow(0))
