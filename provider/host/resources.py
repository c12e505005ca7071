"""What a worker may use of the machine: memory, processor, files, processes.

The rule of this file: a limit that was asked for holds, or the provider does not start and says
which knob it was. Each is set in the worker before any user code (`provider/worker/resources.py`)
or on its control group, whichever the system has.
"""

from __future__ import annotations

import math
import os
import resource
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.host.cgroup import Groups, groups_for

if TYPE_CHECKING:
    from provider.host.worker_user import WorkerUser

MEMORY = "PROVIDER_WORKER_MEMORY"
CPU = "PROVIDER_WORKER_CPU"
CPU_TIME = "PROVIDER_WORKER_CPU_TIME"
FILES = "PROVIDER_WORKER_FILES"
PROCESSES = "PROVIDER_WORKER_PROCESSES"
FILE_SIZE = "PROVIDER_WORKER_FILE_SIZE"
CORE = "PROVIDER_WORKER_CORE"
GROUP = "PROVIDER_WORKER_CGROUP"

_LAST_SECONDS = 5
"""Seconds of processor time between the signal that can be handled and the one that cannot."""
_PERIOD = 100_000
"""Microseconds in which a control group may have its share of the processors."""


@dataclass(frozen=True)
class Resources:
    """What a worker may use. 0 is no limit.

    Attributes:
        memory: bytes of data of each process of the worker, and of all of them together where
            there is a control group for it.
        cpu: percent of one processor, for all its processes together.
        cpu_time: seconds of processor time in the life of each process.
        files: open files of each process.
        processes: processes and threads.
        file_size: bytes of the largest file it may write.
        core: whether it may leave core dumps.
        group: whether it gets a control group where the system lets us make one.
    """

    memory: int = 0
    cpu: int = 0
    cpu_time: float = 0.0
    files: int = 0
    processes: int = 0
    file_size: int = 0
    core: bool = False
    group: bool = True

    def limits(self) -> dict[str, float]:
        """The limits there are, by knob."""
        limits = {
            MEMORY: self.memory,
            CPU: self.cpu,
            CPU_TIME: self.cpu_time,
            FILES: self.files,
            PROCESSES: self.processes,
            FILE_SIZE: self.file_size,
        }
        return {knob: limit for knob, limit in limits.items() if limit}

    def words(self, groups: Groups | None = None) -> list[str]:
        """As the worker is told, see `worker.resources.limit`.

        Args:
            groups: of `check`.
        """
        # The system counts all of a user; a group counts those of the worker, as was asked for.
        counted = groups is not None and "pids.max" in groups.limits
        processes = 0 if counted else self.processes
        wanted = [
            (MEMORY, "DATA", self.memory, self.memory),
            (FILES, "NOFILE", self.files, self.files),
            (PROCESSES, "NPROC", processes, processes),
            (FILE_SIZE, "FSIZE", self.file_size, self.file_size),
        ]
        if self.cpu_time:
            seconds = math.ceil(self.cpu_time)
            wanted.append((CPU_TIME, "CPU", seconds, seconds + _LAST_SECONDS))
        words = [f"{knob}:{name}:{soft}:{hard}" for knob, name, soft, hard in wanted if soft]
        if not self.core and resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
            words.append(f"{CORE}:CORE:0:0")
        return words

    def check(self, user: WorkerUser | None) -> Groups | None:
        """See whether these limits can be set.

        Args:
            user: whom the worker's process will belong to, None for ours.

        Returns:
            Where control groups for workers can be made, None where they need none.

        Raises:
            StartError: one of them cannot; the text names the knob.
        """
        if self.memory and not sys.platform.startswith("linux"):
            raise StartError(f"{MEMORY} can be set on Linux only; no other system keeps to it")
        for word in self.words():
            knob, name, _, hard = word.split(":")
            _, most = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
            if most != resource.RLIM_INFINITY and int(hard) > most:
                raise StartError(
                    f"{knob} asks for {hard}, and the provider itself may have no more than "
                    f"{most} (ulimit -H); lower the one or raise the other"
                )
        return self._groups(os.geteuid() if user is None else user.uid)

    def _groups(self, uid: int) -> Groups | None:
        may: dict[str, str] = {}
        must: dict[str, str] = {}
        knobs: list[str] = []
        if self.memory:
            may["memory.max"] = str(self.memory)
        if self.processes and uid == 0:  # whose processes no other limit counts
            must["pids.max"] = str(self.processes)
            knobs.append(f"{PROCESSES} of a worker that runs as root")
        elif self.processes:
            may["pids.max"] = str(self.processes)
        if self.cpu:
            must["cpu.max"] = f"{self.cpu * _PERIOD // 100} {_PERIOD}"
            knobs.append(CPU)
        if must and not self.group:
            raise StartError(f"{' and '.join(knobs)} needs {GROUP} to be on")
        found = Groups.find({**may, **must}) if self.group else None
        if found is None and must:
            return groups_for(must, " and ".join(knobs))
        if found is None and may and self.group:
            return Groups.find({})
        return found
