"""The command: what goes to which stream, how it ends, and what it tells a person who errs."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

import cbor2
import pytest
from typer.testing import CliRunner

from provider import __version__
from provider.cli import app
from provider.settings import KNOBS

VARIABLES = {knob.variable for knob in KNOBS.values()}

HANDLER = """
    def handle(command, arg):
        match command:
            case "echo":
                return arg
            case "fail":
                raise ValueError("no good")
            case "set":
                return {1}
            case "sleep":
                import time
                time.sleep(arg)
        return f"unknown {command}"
"""


@pytest.fixture(scope="module")
def house(start_module_provider):
    """A provider for the commands to talk to."""
    return start_module_provider(HANDLER, PROVIDER_ADMIN="on")


@pytest.fixture
def to_house(provider_command, house):
    """Runs a command that finds the provider by its environment."""

    def run(*arguments: str, **more):
        environment = {
            name: value
            for name, value in house.environment.items()
            if name in {"NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME"}
        }
        return provider_command(*arguments, **{**environment, **more})

    return run


def ends(done, code: int, out: str | bytes | None = "", err: str = "") -> None:
    """Check how a command ended: exactly this output, or any for None, and this in its talk."""
    talk = done.stderr.decode()
    out = out.encode() if isinstance(out, str) else out
    assert (done.returncode, done.stdout) == (code, done.stdout if out is None else out), talk
    assert err in talk
    assert "Traceback" not in talk
    if code == 0 and not err:
        assert talk == ""


def here(*arguments: str, **variables: str):
    """Run a command in this process, where a process of its own would show nothing more."""
    environment = {**dict.fromkeys(VARIABLES), "COLUMNS": "120", **variables}
    return CliRunner(env=environment).invoke(app, arguments, prog_name="provider")


# --- call ----------------------------------------------------------------------------------------


def test_a_result_is_json_on_standard_output(to_house):
    argument = '{"a": [1, 2.5, null, "ü"]}'
    ends(to_house("call", "echo", argument), 0, '{"a":[1,2.5,null,"ü"]}\n')


def test_no_argument(to_house):
    ends(to_house("call", "echo"), 0, "null\n")


def test_an_argument_from_a_file_and_from_standard_input(to_house, tmp_path):
    (tmp_path / "argument.json").write_text(" [1]\n")
    ends(to_house("call", "echo", "@argument.json"), 0, "[1]\n")
    ends(to_house("call", "echo", "@-", stdin=b"[2]"), 0, "[2]\n")


def test_cbor(to_house, tmp_path):
    (tmp_path / "argument").write_bytes(b"\x82\x01\x02")
    ends(to_house("call", "echo", "--cbor", "@argument"), 0, "[1,2]\n")
    ends(to_house("call", "echo", "--cbor", "42 00ff", "--raw"), 0, b"\x42\x00\xff")


def test_raw_prints_text_and_bytes_as_they_are(to_house):
    ends(to_house("call", "echo", '"Hello\\n"', "--raw"), 0, "Hello\n\n")
    ends(to_house("call", "echo", "[1]", "--raw"), 0, "[1]\n")


def test_json_prints_the_whole_answer(to_house):
    ends(to_house("call", "echo", "1", "--json"), 0, '{"result":1}\n')
    done = to_house("call", "fail", "--json")
    assert (done.returncode, done.stderr) == (1, b"")
    told = json.loads(done.stdout)["error"]
    assert (told["kind"], told["type"], told["message"]) == (
        "handler_error",
        "ValueError",
        "no good",
    )


def test_a_call_that_fails_says_so_on_standard_error(to_house):
    ends(to_house("call", "fail"), 1, err="error: handler_error: ValueError: no good\n")
    ends(to_house("call", "set"), 1, err="error: bad_result: ")


def test_no_answer_is_told_apart(to_house):
    late = to_house("call", "sleep", "20", "--timeout", "1s")
    ends(late, 4, err="error: timeout: the handler was still running after ")
    ends(to_house("call", "echo", "--key", "nobody"), 4, err="is it running?")
    none = to_house("call", "echo", NATS_URL="nats://u:hunter2@127.0.0.1:1")
    ends(none, 4, err="error: no NATS server at nats://127.0.0.1:1 ")
    assert b"hunter2" not in none.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("call",), "Missing argument"),
        (("call", "echo", "Alice"), "text needs quotes of its own: '\"Alice\"'"),
        (("call", "echo", "it's 5\""), """text needs quotes of its own: '"it'"'"'s 5\\""'"""),
        (("call", "echo", '"\udcff"'), "the argument is not JSON: not UTF-8"),
        (("call", "echo", "@absent"), "cannot read absent: No such file"),
        (("call", "echo", "--cbor", "zz"), "hex digits or @FILE"),
        (("call", "echo", "--cbor", "0a0a"), "1 bytes after"),
        (("call", "echo", "1", "--timeout", "soon"), "--timeout: a duration such as 500ms"),
        (("call", "echo", "1", "2"), "unexpected extra argument"),
        (("call", "--timout", "1s"), "--timeout"),
        (("chekk",), "Did you mean 'check'?"),
        (("config", "--lattice", "a b"), "from      flag --lattice"),
        (("run", "x.py", "--example", "factorial"), "not both"),
    ],
)
def test_a_command_that_is_written_wrong_ends_with_two(arguments, says):
    done = here(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr


# --- probe and reload ----------------------------------------------------------------------------


def test_probe(to_house):
    ends(to_house("probe"), 0, "healthy\n")
    done = to_house("probe", "--json")
    assert json.loads(done.stdout)["ready"] is True
    assert done.stdout.count(b"\n") == 1
    ends(to_house("probe", "--name", "nobody"), 4, err="is it running?")
    done = to_house("probe", "--name", "nobody", "--json")
    assert (done.returncode, json.loads(done.stdout)["ready"]) == (4, False)


@pytest.mark.parametrize("number", ["-1", "-2.5", "-1e3"])
def test_a_negative_number_is_an_argument_and_no_option(to_house, number):
    ends(to_house("call", "echo", number), 0, f"{json.dumps(json.loads(number))}\n")
    ends(to_house("call", "--timeout", "20s", "echo", number, "--json"), 0, out=None)


def test_reload(to_house, house):
    ends(to_house("reload"), 0, err="reloaded: 1 of 1\n")
    ends(to_house("reload", "--all"), 0, err="reloaded: 1 of 1\n")


def test_what_is_wrong_with_the_newest_code_is_told(start_provider, provider_command, tmp_path):
    provider = start_provider(HANDLER, PROVIDER_ADMIN="on")
    (tmp_path / "dispatch.py").write_text("def handle(command arg): pass\n")
    names = {"NATS_URL": provider.url}
    for variable in ("PROVIDER_LATTICE", "PROVIDER_NAME"):
        names[variable] = provider.environment[variable]
    failed = provider_command("reload", **names)
    ends(failed, 1, err="line 1")
    failed = provider_command("reload", "--all", **names)
    ends(failed, 1, err="reloaded: 0 of 1")
    # The old code serves, hence it is healthy.
    done = provider_command("probe", **names)
    assert done.returncode == 0
    assert done.stdout.startswith(b"healthy: the newest code does not load: ")


# --- check ---------------------------------------------------------------------------------------


def check(provider_command, folder, source: str | None, *arguments: str, **environment: str):
    if source is not None:
        (folder / "program.py").write_text(source)
    return provider_command(
        "check", "program.py", *arguments, **{"PROVIDER_START_TIMEOUT": "40s", **environment}
    )


def test_check_of_a_good_program(provider_command, tmp_path):
    source = "print('loading')\ndef handle(command, arg): return arg\n"
    done = check(provider_command, tmp_path, source)
    version = sys.version.split()[0]
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"ok: {tmp_path}/program.py (Python {version}, ".encode())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def handle(command arg): pass\n", "line 1"),
        ("import nothing_here\n", "No module named 'nothing_here'; is it installed in"),
        ("x = 1\n", "has no function handle; add: def handle(command, arg)"),
        ("def handle(arg): pass\n", "cannot take two arguments"),
        ("import sys\nsys.exit(3)\n", "it called sys.exit(3)"),
        ("import os\nos._exit(7)\n", "exit code 7"),
        (None, "PYTHON_DISPATCH names program.py, which does not exist"),
    ],
)
def test_check_says_what_is_wrong(provider_command, tmp_path, source, says):
    done = check(provider_command, tmp_path, source)
    assert (done.returncode, done.stdout) == (1, b"")
    assert says in done.stderr.decode()
    assert done.stderr.startswith(b"error: ")


def test_check_does_not_hang_with_the_program(provider_command, tmp_path):
    source = "while True: pass\n"
    done = check(provider_command, tmp_path, source, PROVIDER_START_TIMEOUT="1s")
    ends(done, 1, err="took longer than 1 s (PROVIDER_START_TIMEOUT); does it hang on import?")


def test_check_of_a_wrong_environment(provider_command, tmp_path):
    source = "def handle(command, arg): return arg\n"
    absent = check(provider_command, tmp_path, source, "--venv-path", "absent")
    ends(absent, 1, err="python3 -m venv absent")
    (tmp_path / "empty").mkdir()
    empty = check(provider_command, tmp_path, source, VENV_PATH="empty")
    ends(empty, 1, err="holds no bin/python")


def test_check_warns_of_a_file_that_a_library_hides(provider_command, tmp_path):
    (tmp_path / "cbor2.py").write_text("")
    done = check(provider_command, tmp_path, "def handle(command, arg): return arg\n")
    assert done.returncode == 0
    assert f"{tmp_path}/cbor2.py is hidden by the library" in done.stderr.decode()


def test_check_says_which_files_are_watched(provider_command, tmp_path):
    (tmp_path / "helper.py").write_text("x = 1\n")
    (tmp_path / "other.py").write_text("x = 1\n")
    source = "import json, helper\ndef handle(command, arg): return arg\n"
    done = check(provider_command, tmp_path, source, "--files")
    assert done.returncode == 0, done.stderr
    first, *files = done.stdout.decode().splitlines()
    assert first.startswith("ok: ")
    assert files == [f"{tmp_path}/helper.py", f"{tmp_path}/program.py"]


# --- run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run",), "PYTHON_DISPATCH is not set"),
        (("run", "absent.py"), "names absent.py, which does not exist"),
        (("run", "--example", "nothing"), "there is no example 'nothing'; there are: "),
    ],
)
def test_what_cannot_start_ends_with_three(provider_command, arguments, says):
    ends(provider_command(*arguments), 3, err=says)


def test_what_cannot_start_ends_the_worker_that_has_begun_already(
    provider_command, processes, tmp_path
):
    (tmp_path / "dispatch.py").write_text(HANDLER)
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    # In place of a worker, which would leave by itself.
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    python.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = provider_command("run", "dispatch.py", "--http", port, VENV_PATH=f"{tmp_path}/venv")
    ends(done, 3, err=f"cannot listen on 127.0.0.1:{port}")
    # It was not there yet only if this machine is very slow; then it never will be.
    if (begun := tmp_path / "pid").exists() and processes.alive(pid := int(begun.read_text())):
        os.kill(pid, signal.SIGKILL)
        pytest.fail("a process was left behind")


def test_a_wrong_variable_is_no_misuse_of_the_command():
    done = here("config", PROVIDER_QUEUE_CALLS="0")
    assert done.exit_code == 3
    assert "from      environment PROVIDER_QUEUE_CALLS" in done.stderr
    done = here("config", "--env-file", "absent.env")
    assert done.exit_code == 3
    assert "absent.env" in done.stderr


def test_how_to_call_is_told_with_the_address(start_provider):
    provider = start_provider(
        HANDLER, "--embedded-nats", "--embedded-port", "0", "--key", "other", nats="", ready=False
    )
    url = provider.wait_for("embedded_nats_ready")["url"]
    provider.wait_for("ready")
    lattice = provider.address["lattice"]
    assert provider.stop() == 0
    (line,) = [line for line in provider.lines if " call OPERATION " in str(line)]
    assert line.strip().startswith(f"NATS_URL={url} ")
    assert line.endswith(f" --lattice {lattice} --key other")


# --- config and help -----------------------------------------------------------------------------


def test_config_shows_values_and_where_they_come_from(provider_command, tmp_path):
    (tmp_path / ".env").write_text("PROVIDER_KEY=from-file\nNATS_PASSWORD=hunter2\n")
    url = "nats://u:hunter2@host"
    done = provider_command("config", "--name", "flagged", NATS_URL=url, PROVIDER_LATICE="x")
    assert done.returncode == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.decode().splitlines()}
    assert rows["PROVIDER_KEY"] == ["from-file", ".env", "PROVIDER_KEY"]
    assert rows["PROVIDER_NAME"] == ["flagged", "flag", "--name"]
    assert rows["NATS_URL"] == ["nats://u:********@host", "environment", "NATS_URL"]
    assert rows["NATS_PASSWORD"] == ["********", ".env", "NATS_PASSWORD"]
    assert rows["PROVIDER_LATTICE"] == ["default", "default"]
    assert b"hunter2" not in done.stdout + done.stderr
    said = "warning: no setting is called PROVIDER_LATICE (nearest is PROVIDER_LATTICE)\n"
    assert done.stderr.decode() == said
    done = here("config", "--json", "--no-env-file", NATS_TOKEN="hunter2")
    told = json.loads(done.stdout)
    assert told["NATS_TOKEN"] == {"value": "********", "source": "environment NATS_TOKEN"}
    assert told["PROVIDER_KEY"] == {"value": "python", "source": "default"}


@pytest.mark.parametrize("command", ["run", "call", "reload", "check", "probe", "config"])
def test_help_teaches_by_example(command):
    done = here(command, "--help")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.strip() for line in done.stdout.splitlines()]
    examples = [line for line in lines if line.startswith(f"provider {command}")]
    # Each on a line of its own.
    assert examples
    assert all(example.count("provider ") == 1 for example in examples)


def test_help_has_no_colour_off_a_terminal(provider_command):
    done = provider_command("--help", NO_COLOR="1")
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"Exit codes: 0 ok, 1 failed, 2 usage" in done.stdout


def test_version(provider_command):
    ends(provider_command("--version"), 0, f"provider {__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_for_the_shell_that_is_named(provider_command, shell):
    done = provider_command("--show-completion", shell)
    ends(done, 0, done.stdout)
    script = done.stdout.decode()
    assert f"_PROVIDER_COMPLETE=complete_{shell}" in script


def test_completion_knows_commands_and_flags(provider_command):
    def offered(words: str) -> list[str]:
        done = provider_command(
            _PROVIDER_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        return done.stdout.decode().split()

    assert offered("provider re") == ["reload"]
    assert "--example" in offered("provider run --ex")


def test_arguments_travel_as_they_are(to_house):
    value = {"big": 2**70, "text": "a'b\"c\\", "deep": [[[[]]]]}
    done = to_house("call", "echo", "--cbor", cbor2.dumps(value).hex(), "--raw")
    assert cbor2.loads(done.stdout) == value


def test_help_begins_with_what_is_wanted_first(provider_command):
    told = provider_command("--help").stdout.decode()
    names = ("run ", "check ", "call ", "bench ", "keygen ", "pack ")
    places = [told.index(f"│ {name}") for name in names]
    assert places[:3] == sorted(places[:3])
    assert max(places[:3]) < min(places[3:])
