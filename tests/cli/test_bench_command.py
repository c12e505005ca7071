"""A load on a running provider from the shell: what it counts, what it shows, when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

import nats
import pytest

from tests import forked
from tests.conftest import PATIENCE, clean_environment
from tests.documents import ROOT

PROGRAM = """
    import time

    def handle(command, arg):
        if command == "stall":
            time.sleep(arg)
        if command == "fail" and arg:
            raise ValueError("as asked")
        return arg
"""
LONG = ["bench", "echo", "--in-flight", "2", "--duration", "10m", "--warm-up", "0s", "--json"]
LONG += ["--progress"]
SHORT = ("--duration", "300ms", "--warm-up", "100ms")


def of(provider):
    names = {"NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME"}
    return {name: provider.environment[name] for name in names}


@pytest.fixture(scope="module")
def house(start_module_provider):
    return start_module_provider(PROGRAM)


@pytest.fixture
def bench(provider_command, house):
    """Runs it against the provider of this module; exit code, standard output, standard error."""

    def run(*arguments, **environment):
        done = provider_command("bench", *arguments, **{**of(house), **environment})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@contextlib.contextmanager
def long_one(folder, *arguments, **environment):
    """One that would go on for minutes: the process, its standard output, its standard error."""
    process = forked.Process(
        [*LONG, *arguments],
        clean_environment(**environment),
        folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout as told, process.stderr as said:
        try:
            yield process, told, said
        finally:
            process.kill()
            process.wait()


def until_answered(said):
    """Read how it goes until there are results."""
    for line in said:
        if re.search(rb"[1-9]\d* calls/s", line):
            return
    raise AssertionError("it ended without a result")


def report(done):
    code, out, err = done
    assert code == 0, err
    return json.loads(out)


async def counted_by(provider):
    """How many requests a provider says it has had."""
    client = await nats.connect(provider.url)
    subject = f"$SRV.STATS.{provider.environment['PROVIDER_NAME']}"
    message = await client.request(subject, timeout=PATIENCE)
    await client.close()
    return json.loads(message.data)["endpoints"][0]["num_requests"]


@pytest.mark.parametrize(
    "load",
    [
        ("--in-flight", "1"),
        ("--in-flight", "100"),
        ("--in-flight", "10", "--connections", "3"),
        ("--rate", "500"),
        ("--rate", "2000", "--connections", "2"),
    ],
    ids=" ".join,
)
async def test_its_counts_are_those_of_the_provider(bench, house, load):
    before = await counted_by(house)
    told = report(bench("echo", "7", *load, *SHORT, "--json"))
    everything = told["with_warm_up"]
    assert everything["calls"] == await counted_by(house) - before
    assert everything["calls"] == everything["results"] > told["calls"] == told["results"] > 0
    assert everything["errors"] == told["errors"] == {}
    assert (everything["open"], everything["late"], everything["stray"]) == (0, 0, 0)
    assert sum(times for _, times in told["histogram_us"]) == told["calls"]
    shown = told["latency_us"]
    assert 0 < shown["p50"] <= shown["p90"] <= shown["p99"] <= shown["p99.9"] <= shown["max"]


def test_a_rate_is_kept_to_the_call(bench):
    told = report(bench("echo", "7", "--rate", "200", *SHORT, "--json"))
    # However late some left on a busy machine, they were due.
    assert told["calls"] + told["not_sent"] == 60
    assert told["ended"] == "duration"
    assert told["seconds"] == pytest.approx(0.3)
    assert told["send_lag_us"]["max"] <= told["latency_us"]["max"]


@pytest.mark.long
def test_callers_a_stalled_provider_kept_waiting_are_in_the_figures(bench):
    # Each call takes 50 ms and one comes each 10 ms, so the n-th of them waits for 40 ms times n.
    told = report(
        bench("stall", "0.05", "--rate", "100", "--duration", "500ms", "--warm-up", "0", "--json")
    )
    assert told["calls"] == 50
    assert told["latency_us"]["p50"] > 900_000
    assert told["latency_us"]["max"] > 1_900_000
    # With calls in flight, nobody is kept waiting but those few.
    told = report(bench("stall", "0.05", "--in-flight", "1", "--duration", "500ms", "--json"))
    assert 50_000 < told["latency_us"]["p50"] < 900_000


def test_what_people_see(bench):
    code, out, err = bench("echo", '{"a": 1}', "--in-flight", "4", *SHORT)
    first, *others = out.splitlines()
    assert code == 0
    assert re.fullmatch(r"[\d.]+ calls/s: \d+ results in 0.3 s, 4 calls in flight for 0.3 s", first)
    assert re.fullmatch(
        r"p50 \S+ .?s   p90 \S+ .?s   p99 \S+ .?s   p99.9 \S+ .?s   max \S+ .?s", others[-1]
    )
    assert any("█" in line for line in others)
    assert "\x1b" not in out + err  # no colours and no moving line where nobody looks


@pytest.mark.long
def test_terminals_of_few_letters(house, tmp_path):
    # Not forked: what standard output can show is settled when Python starts.
    done = subprocess.run(
        [sys.executable, "-m", "provider", "bench", "echo", "--in-flight", "2", *SHORT],
        env=clean_environment(**of(house), PYTHONIOENCODING="ascii"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("p50 ")


def test_how_it_goes_is_on_standard_error(bench):
    code, out, err = bench("echo", "--in-flight", "2", "--json", *SHORT, "--progress")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "warming up" in err


def test_payloads(bench, house):
    told = report(bench("echo", "--payload", "100KB", "--in-flight", "2", *SHORT, "--json"))
    assert 100_000 < told["request_bytes"] < 100_100
    assert told["errors"] == {}


def test_errors_are_counted_by_kind(bench):
    code, out, _ = bench("fail", "true", "--in-flight", "4", *SHORT, "--json")
    told = json.loads(out)
    assert code == 1
    assert told["results"] == 0
    assert told["errors"] == {"handler_error": told["calls"]}
    assert told["histogram_us"] == []  # an error that is quick is no quick call
    code, out, _ = bench("fail", "true", "--in-flight", "4", *SHORT)
    assert code == 1
    assert re.search(r"^  handler_error +\d+  100 % of calls$", out, re.MULTILINE)


def test_overload_is_shown(start_provider, provider_command):
    provider = start_provider(PROGRAM, PROVIDER_QUEUE_CALLS="4")
    done = provider_command(
        "bench", "stall", "0.01", "--in-flight", "32", "--json", *SHORT, **of(provider)
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["errors"].keys() == {"overloaded"}
    assert told["results"] > 0
    assert told["results"] + told["errors"]["overloaded"] == told["calls"]


@pytest.mark.long
def test_a_function_that_is_slower_than_the_timeout(bench):
    # Fifty of a thousand calls can be answered in a second, and each waits for half of one at most.
    load = ("--rate", "1000", "--timeout", "500ms", "--duration", "1s", "--warm-up", "0")
    code, out, _ = bench("stall", "0.02", *load, "--json")
    told = json.loads(out)
    assert code == 0
    assert told["results"] > 0
    assert told["errors"]["timeout"] > 0
    assert told["results"] + sum(told["errors"].values()) == told["calls"]


def test_ctrl_c_ends_it_with_the_figures_so_far(house, tmp_path):
    with long_one(tmp_path, "--warm-up", "0", **of(house)) as (process, out, err):
        until_answered(err)
        process.send_signal(signal.SIGINT)
        told = json.loads(out.read())
        err.read()
        assert process.wait(PATIENCE) == 130
    assert told["ended"] == "interrupted"
    assert 0 < told["seconds"] < 600
    assert told["results"] > 0
    assert told["calls"] - told["results"] == told["open"] <= 2


def test_nobody_there(bench):
    code, out, err = bench("echo", "--key", "nobody")
    assert (code, out) == (4, "")
    assert "no provider listens on" in err


def test_no_server(provider_command, unused_tcp_port):
    done = provider_command("bench", "echo", NATS_URL=f"nats://127.0.0.1:{unused_tcp_port}")
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"no NATS server" in done.stderr


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)]
)
def test_it_ends_early_when_nobody_answers_any_more(start_provider, tmp_path, number):
    provider = start_provider(PROGRAM)
    with long_one(tmp_path, "--timeout", "1s", **of(provider)) as (process, out, err):
        until_answered(err)
        os.kill(provider.pid, number)
        told = json.loads(out.read())
        said = err.read().decode()
        assert process.wait(PATIENCE) == 4
    if number == signal.SIGSTOP:
        os.kill(provider.pid, signal.SIGCONT)
    assert told["ended"] == "no_answer"
    assert "nobody answers any more" in said
    assert told["results"] > 0


@pytest.mark.long
def test_it_ends_when_the_connection_is_lost(nats_server, start_provider, tmp_path):
    provider = start_provider(PROGRAM, nats=nats_server.url)
    with long_one(tmp_path, **of(provider)) as (process, out, err):
        until_answered(err)
        nats_server.stop()
        told = json.loads(out.read())
        assert b"connection to NATS was lost" in err.read()
        assert process.wait(PATIENCE) == 4
    assert told["ended"] == "connection_lost"


def test_it_goes_nowhere_by_default(provider_command):
    done = provider_command("bench", "echo")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"say which NATS server" in done.stderr


def nats_url_in_the_help_of(provider_command, command):
    """What the help says of --nats-url, on one line."""
    told = provider_command(command, "--help", COLUMNS="200").stdout.decode()
    flag = told[told.index("│ --nats-url ") : told.index("│ --nats-user ")]
    return " ".join(flag.replace("│", " ").split())


def test_its_help_shows_no_default_where_it_takes_none(provider_command):
    said = nats_url_in_the_help_of(provider_command, "bench")
    assert "Required, here, as NATS_URL or by a context: a load goes nowhere by default." in said
    assert said.endswith("[NATS_URL]")  # no default behind it
    said = nats_url_in_the_help_of(provider_command, "call")
    assert "Required" not in said
    assert said.endswith("[default: (nats://127.0.0.1:4222)]")


@pytest.mark.parametrize("url", ["nats://192.0.2.1:4222", "nats://127.0.0.1,nats://192.0.2.1"])
def test_another_machine_needs_a_yes(provider_command, url):
    done = provider_command("bench", "echo", NATS_URL=url, PROVIDER_LATTICE="theirs")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"add --yes to send its provider python of lattice theirs 64 calls" in done.stderr


def test_passwords_are_not_repeated(provider_command):
    done = provider_command("bench", "echo", NATS_URL="nats://user:hidden@192.0.2.1")
    assert done.returncode == 2
    assert b"hidden" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("echo", "--rate", "0"), "--rate"),
        (("echo", "--rate", "5", "--in-flight", "5"), "--rate or --in-flight"),
        (("echo", "--duration", "11m"), "--duration"),
        (("echo", "--duration", "soon"), "--duration"),
        (("echo", "--warm-up", "2m"), "--warm-up"),
        (("echo", "--payload", "much"), "--payload"),
        (("echo", "1", "--payload", "1KB"), "not both"),
        (("echo", "one"), "text needs quotes of its own"),
        (("echo", "--payload", "1MB", "--in-flight", "5000"), "--in-flight"),
        (("", "1"), "operation is empty"),
    ],
)
def test_what_is_no_load_is_usage(bench, arguments, said):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_requests_the_server_does_not_carry(bench):
    code, out, err = bench("echo", "--payload", "2MB", "--in-flight", "1")
    assert (code, out) == (1, "")
    assert "too_large" in err


def test_an_operation_nobody_has_ends_it_at_once(start_provider, provider_command):
    provider = start_provider(
        """
        from provider.dispatch import operation

        @operation
        def add(a: int, b: int) -> int:
            return a + b
        """
    )
    done = provider_command("bench", "multiply", "1", **of(provider))
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"unknown_operation" in done.stderr
    done = provider_command("bench", "add", '["x"]', **of(provider))
    assert b"invalid_argument" in done.stderr
    done = provider_command("bench", "add", '{"a": 1, "b": 2}', "--json", *SHORT, **of(provider))
    assert json.loads(done.stdout)["errors"] == {}


async def test_ctrl_c_before_anything_was_counted(shared_nats, tmp_path):
    client = await nats.connect(shared_nats.url)
    silent = await client.subscribe("wasmbus.rpc.silent.python.default")
    await client.flush()
    address = {"NATS_URL": shared_nats.url, "PROVIDER_LATTICE": "silent"}
    with long_one(tmp_path, **address) as (process, out, err):
        await silent.next_msg(PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert out.read() == b""
        assert b"stopped before anything was counted" in err.read()
    await client.close()


def test_other_commands_do_not_wait_for_it():
    code = "import sys, provider.cli; print([n for n in sys.modules if 'provider.bench' in n])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout == "[]\n"
