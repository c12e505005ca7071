"""What a death is put down to."""

from __future__ import annotations

import resource
import signal

import pytest

from provider.host.death import Circumstances, signal_name
from provider.host.resources import Resources

LIMITED = Resources(memory=64 << 20, files=100, processes=20, cpu_time=2.0)
KILLED = -signal.SIGKILL


def used(seconds):
    return resource.struct_rusage((seconds, 0.0, *([0] * 14)))


def test_nothing_is_made_up():
    died = Circumstances()
    died.usage = used(0.1)
    for code in (0, 1, KILLED, -signal.SIGSEGV, -signal.SIGXCPU):
        assert died.cause(code, LIMITED, ["bye"]) == ""
        assert died.cause(code, Resources(), ["MemoryError"]) == ""


def test_a_group_without_memory():
    died = Circumstances()
    died.group_ran_out = True
    assert died.cause(KILLED, LIMITED, []) == (
        "; together with its children it ran over PROVIDER_WORKER_MEMORY (64MiB)"
    )


def test_a_child_that_was_killed_for_memory_is_told_of_and_not_blamed():
    died = Circumstances()
    died.group_ran_out = True
    for code in (3, -signal.SIGSEGV):
        assert died.cause(code, LIMITED, []) == (
            "; before, a child of it was killed: together they ran over "
            "PROVIDER_WORKER_MEMORY (64MiB)"
        )
    assert died.cause(1, LIMITED, ["Too many open files"]) == (
        "; most likely it ran into PROVIDER_WORKER_FILES"
    )


@pytest.mark.parametrize("number", [signal.SIGXCPU, signal.SIGKILL])
def test_no_processor_time_left(number):
    died = Circumstances()
    died.usage = used(1.9)
    assert died.cause(-number, LIMITED, []) == (
        "; it has used the processor time of PROVIDER_WORKER_CPU_TIME (2s)"
    )
    assert died.cause(-signal.SIGSEGV, LIMITED, []) == ""


def test_a_system_without_memory(monkeypatch):
    monkeypatch.setattr("provider.host.death._killed_for_memory", lambda: 4)
    died = Circumstances()
    assert died.cause(KILLED, LIMITED, []) == ""
    monkeypatch.setattr("provider.host.death._killed_for_memory", lambda: 5)
    assert died.cause(-signal.SIGTERM, LIMITED, []) == ""
    assert died.cause(KILLED, Resources(), []) == (
        "; most likely by the system, which ran out of memory meanwhile"
    )


@pytest.mark.parametrize(
    ("words", "limits", "reached"),
    [
        ("MemoryError", LIMITED, "PROVIDER_WORKER_MEMORY"),
        ("x.so: failed to map segment from shared object", LIMITED, "PROVIDER_WORKER_MEMORY"),
        ("OSError: [Errno 24] Too many open files: 'x'", LIMITED, "PROVIDER_WORKER_FILES"),
        (
            "RuntimeError: can't start new thread",
            LIMITED,
            "PROVIDER_WORKER_MEMORY or PROVIDER_WORKER_PROCESSES",
        ),
        ("RuntimeError: can't start new thread", Resources(memory=1), "PROVIDER_WORKER_MEMORY"),
        (
            "BlockingIOError: [Errno 11] Resource temporarily unavailable",
            LIMITED,
            "PROVIDER_WORKER_PROCESSES",
        ),
    ],
)
@pytest.mark.parametrize("code", [1, -signal.SIGABRT])
def test_last_words_tell(words, limits, reached, code):
    said = Circumstances().cause(code, limits, ["Traceback", words, ""])
    assert said == f"; most likely it ran into {reached}"


def test_names_of_signals():
    assert signal_name(9) == "SIGKILL"
    assert signal_name(63) == "signal 63"
