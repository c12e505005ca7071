"""Wherever a secret is given, no command says it: not when it works, not when everything fails."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from provider.lattice.nkeys import KeyPair, Kind
from tests import forked
from tests.conftest import PATIENCE, NatsServer, Provider, clean_environment
from tests.operator_mode import creds_file

PROGRAM = """
    import os

    def handle(command, arg):
        if command == "fail":
            raise ValueError(sorted(os.environ.items()))
        return arg
"""
BROKEN = "import os\nraise RuntimeError(sorted(os.environ.items()))\n"
MARK = "hunter2-correct-horse"


class Secrets:
    """One of each kind, and the texts that may be told nowhere.

    Args:
        operator: makes the credentials.
        folder: for files.
    """

    def __init__(self, operator, folder: Path) -> None:
        user, key = operator.user(), KeyPair.generate(Kind.USER)
        self.folder = folder
        self.variables = {
            "NATS_USER": "me",
            "NATS_PASSWORD": f"{MARK}-password",
            "NATS_TOKEN": f"{MARK}-token",
            "NATS_CREDS": creds_file(user),
            "NATS_NKEY": key.seed,
            "NATS_JWT": user.jwt,
            "PROVIDER_HTTP_TOKEN": f"{MARK}-http",
            "PROVIDER_HTTP_API_KEY": f"{MARK}-key",
        }
        self.texts = [MARK, user.jwt, user.key.seed, key.seed, user.jwt.rpartition(".")[2]]

    def url(self, url: str) -> str:
        return url.replace("nats://", f"nats://me:{MARK}-in%2Furl@")

    def told(self, *said: bytes | str) -> list[str]:
        text = "".join(
            each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in said
        )
        return [secret for secret in self.texts if secret in text]


def in_environment(secrets: Secrets, url: str) -> dict[str, str]:
    return {**secrets.variables, "NATS_URL": secrets.url(url)}


def in_files(secrets: Secrets, url: str) -> dict[str, str]:
    found = {"NATS_URL": url}
    for name, value in secrets.variables.items():
        if name == "NATS_USER" or not value:
            found[name] = value
            continue
        path = secrets.folder / name.lower()
        path.write_text(value)
        found[f"{name}_FILE"] = str(path)
    return found


def in_env_file(secrets: Secrets, url: str) -> dict[str, str]:
    lines = [f'{name}="{value}"' for name, value in in_environment(secrets, url).items()]
    (secrets.folder / ".env").write_text("\n".join(lines) + "\n")
    return {"NATS_URL": ""}


def in_context(secrets: Secrets, url: str) -> dict[str, str]:
    folder = secrets.folder / "nats" / "context"
    folder.mkdir(parents=True)
    context = {
        "url": secrets.url(url),
        "user": "me",
        "password": secrets.variables["NATS_PASSWORD"],
        "token": secrets.variables["NATS_TOKEN"],
        "creds": secrets.variables["NATS_CREDS"],
        "nkey": secrets.variables["NATS_NKEY"],
        "user_jwt": secrets.variables["NATS_JWT"],
    }
    (folder / "prod.json").write_text(json.dumps(context))
    return {"NATS_URL": "", "NATS_CONTEXT": "prod", "XDG_CONFIG_HOME": str(secrets.folder)}


PLACES = [in_environment, in_files, in_env_file, in_context]
ONE_AND_OTHERS = [
    PLACES[0],
    *(pytest.param(place, marks=pytest.mark.long) for place in PLACES[1:]),
]
"""For tests that start whole providers: one way in `make test`, the others in `make long`."""


@pytest.fixture
def secrets(operator, tmp_path) -> Secrets:
    return Secrets(operator, tmp_path)


@pytest.fixture(scope="module")
def servers(serve, authority) -> dict[str, str]:
    """URLs where it fails: a login that is refused, a certificate that is not trusted, nobody."""
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    gone = NatsServer()
    gone.stop()
    return {
        "refused": serve("authorization { user: me, password: another }").url,
        "untrusted": serve(f"tls {{ {files} }}").url,
        "nobody": gone.url,
    }


COMMANDS = [
    ("run", "dispatch.py", "--no-wait", "--log-level", "debug"),
    ("run", "broken.py", "--no-wait", "--log-level", "debug"),
    ("gateway", "--http", "0", "--no-wait", "--log-level", "debug"),
    ("call", "x", "5", "--timeout", "5s"),
    ("probe",),
]


FAILURES = [
    *((place, "refused") for place in PLACES[:2]),
    *(pytest.param(place, "refused", marks=pytest.mark.long) for place in PLACES[2:]),
    *((place, "untrusted") for place in PLACES[:1]),
    *(pytest.param(place, "untrusted", marks=pytest.mark.long) for place in PLACES[1:]),
    *(pytest.param(place, "nobody", marks=pytest.mark.long) for place in PLACES),
]


@pytest.mark.parametrize(("place", "failure"), FAILURES)
def test_commands_that_fail(place, failure, secrets, servers, provider_command):
    (secrets.folder / "dispatch.py").write_text(PROGRAM.replace("\n    ", "\n"))
    (secrets.folder / "broken.py").write_text(BROKEN)
    environment = place(secrets, servers[failure])
    for command in COMMANDS:
        done = provider_command(*command, PROVIDER_LOG_FORMAT="json", **environment)
        assert done.returncode in (3, 4), (command, done.stderr)
        assert secrets.told(done.stdout, done.stderr) == [], command


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_is_shown_of_the_settings(place, secrets, servers, provider_command):
    (secrets.folder / "broken.py").write_text(BROKEN)
    environment = place(secrets, servers["nobody"])
    for command in (("config",), ("config", "--json"), ("check", "broken.py")):
        done = provider_command(*command, **environment)
        assert secrets.told(done.stdout, done.stderr) == [], command
        assert (b"********" in done.stdout) or place is in_files or command[0] == "check"
    # And where all of it is wrong.
    wrong = dict.fromkeys(("NATS_CREDS", "NATS_NKEY", "NATS_JWT", "NATS_URL"), f"{MARK}\n")
    wrong |= {"NATS_PASSWORD": MARK, "NATS_PASSWORD_FILE": "/nowhere", "PROVIDER_QUEUE_CALLS": "x"}
    done = provider_command("config", **{**environment, **wrong})
    assert done.returncode == 3
    assert secrets.told(done.stdout, done.stderr) == []


@pytest.mark.parametrize("form", ["json", pytest.param("pretty", marks=pytest.mark.long)])
@pytest.mark.parametrize("place", ONE_AND_OTHERS, ids=lambda place: place.__name__)
def test_a_provider_that_works_and_then_does_not(place, form, secrets, tmp_path, request):
    (tmp_path / "server.conf").write_text(
        f"authorization {{ user: me, password: {MARK}-password }}"
    )
    server = NatsServer("-c", str(tmp_path / "server.conf"))
    request.addfinalizer(server.stop)
    # Those that make another way of being let in are left out, of the URL too.
    for name in ("NATS_TOKEN", "NATS_CREDS", "NATS_NKEY", "NATS_JWT"):
        secrets.variables[name] = ""
    secrets.url = lambda url: url
    (tmp_path / "dispatch.py").write_text(PROGRAM.replace("\n    ", "\n"))
    environment = clean_environment(**place(secrets, server.url))
    environment |= {"PROVIDER_LATTICE": tmp_path.name, "PROVIDER_LOG_FORMAT": form}
    command = [sys.executable, "-m", "provider", "run", "dispatch.py", "--http", "0"]
    provider = Provider([*command, "--log-level", "debug"], environment, tmp_path)
    request.addfinalizer(provider.close)
    until(provider, r"\bready\b")
    done = forked.run(["call", "fail"], environment, tmp_path, timeout=PATIENCE)
    assert done.returncode == 1
    assert secrets.told(done.stdout, done.stderr) == []
    for pid in family(provider.pid):
        assert secrets.told(Path(f"/proc/{pid}/cmdline").read_bytes()) == []
        assert secrets.told(Path(f"/proc/{pid}/comm").read_bytes()) == []
    server.stop()
    (tmp_path / "server.conf").write_text("authorization { user: me, password: another }")
    server.start()
    until(provider, r"\bnats_refused\b")
    provider.stop()
    assert "Traceback" in provider.text or "traceback" in provider.text
    assert secrets.told(provider.text, provider.process.stdout.read()) == []


def until(provider: Provider, pattern: str) -> None:
    """Wait for a line, in whatever form."""
    end = time.monotonic() + PATIENCE
    while not re.search(pattern, provider.text):
        assert time.monotonic() < end, provider.text
        time.sleep(0.05)


def family(pid: int) -> list[int]:
    """A process and all it has started."""
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            children = Path(f"/proc/{parent}/task/{task}/children").read_text()
            found += map(int, children.split())
    return found


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--nats-url", f"nats://me:{MARK}@127.0.0.1:1"),
        ("--nats-url", f"nats://{MARK}@127.0.0.1:1"),
        ("--nats-creds", f"-----BEGIN NATS USER JWT----- {MARK}"),
    ],
)
@pytest.mark.parametrize("command", [("run", "x.py"), ("call", "x"), ("config",), ("gateway",)])
def test_no_flag_takes_a_secret(command, flag, value, provider_command):
    done = provider_command(*command, flag, value)
    assert done.returncode == 2
    assert b"no secret in a flag" in done.stderr
    assert MARK.encode() not in done.stdout + done.stderr


def test_there_is_no_flag_for_a_secret(provider_command):
    for command in ("run", "call", "gateway"):
        said = provider_command(command, "--help", COLUMNS="200").stdout.decode()
        for word in ("password", "token", "api-key"):
            assert f"--nats-{word}" not in said
            assert f"--http-{word}" not in said
