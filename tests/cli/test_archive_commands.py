"""Archives at the command line: what is packed is what a host finds, and what is wrong is told."""

from __future__ import annotations

import gzip
import io
import json
import re
import stat
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from provider import __version__
from provider.cli import app
from provider.lattice import archive, seed_file, tokens
from provider.lattice.nkeys import KeyPair, Kind
from provider.settings import KNOBS
from tests.conftest import write

VARIABLES = {knob.variable for knob in KNOBS.values()}
HERE = archive.this_target()
LINE = re.compile(
    r"(.*): provider (V\w{55}), revision (\d+), for ([\w, -]+), with (none|\d+) of your (.*)\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a program, which is where commands are given."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dispatch.py", "def handle(command, arg): return arg")
    return tmp_path


def here(*arguments: object, **variables: str):
    """Run a command in this process; only the launcher's interpreter is one of its own."""
    environment = {**dict.fromkeys(VARIABLES), "COLUMNS": "120", **variables}
    done = CliRunner(env=environment).invoke(app, list(map(str, arguments)), prog_name="provider")
    assert "Traceback" not in done.stderr
    return done


def pack(*arguments: object, **variables: str):
    """Pack `shop.par.gz`; what was said, and what is in it."""
    done = here("pack", *arguments, "--output", "shop.par.gz", **variables)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    return done.stderr, archive.read(Path("shop.par.gz").read_bytes())


def refused(code: int, reason: str, *arguments: object) -> str:
    done = here(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.stderr
    assert reason in " ".join(done.stderr.split())
    return done.stderr


def carried(found: archive.Archive, target: str = HERE) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(found.targets[target])) as content:
        return {
            name.removeprefix("program/"): content.read(name).decode()
            for name in content.namelist()
            if name.startswith("program/")
        }


def manifest(found: archive.Archive) -> dict:
    with zipfile.ZipFile(io.BytesIO(found.targets[HERE])) as content:
        return json.loads(content.read("launch.json"))


# --- pack ----------------------------------------------------------------------------------------


def test_what_is_packed(folder):
    before = int(time.time())
    said, found = pack("dispatch.py")
    assert archive.verify(found, time.time()) == ()
    assert set(found.targets) == {HERE}
    assert found.targets[HERE].startswith(f"#!{sys.executable} -P\n".encode())
    assert carried(found) == {"dispatch.py": "def handle(command, arg): return arg"}
    assert manifest(found) == {"program": "dispatch.py", "settings": {}}
    assert found.about.name == "Python"
    assert found.about.vendor == "unknown"
    assert found.about.ver == __version__
    assert found.about.capid == "wasmcloud:example:python"
    assert found.about.rev is not None
    assert before <= found.about.rev <= time.time()
    assert stat.S_IMODE((folder / "shop.par.gz").stat().st_mode) == 0o644
    assert sorted(path.name for path in folder.iterdir()) == ["dispatch.py", "keys", "shop.par.gz"]
    made, last = said.splitlines(keepends=True)[:2], said.splitlines(keepends=True)[2]
    account, provider = (
        seed_file.read(folder / "keys" / f"{name}.nk") for name in ("account", "shop")
    )
    assert made == [
        f"made the account key {account.public}, its seed is in keys/account.nk\n",
        f"made the provider key {provider.public}, its seed is in keys/shop.nk\n",
    ]
    assert LINE.fullmatch(last).groups() == (
        "shop.par.gz",
        provider.public,
        str(found.about.rev),
        HERE,
        "1",
        "files",
    )
    assert account.seed not in said
    assert provider.seed not in said
    assert (found.issuer, found.provider_key) == (account.public, provider.public)


def test_keys_are_made_once_and_every_pack_is_a_new_revision():
    _, first = pack("dispatch.py")
    said, second = pack("dispatch.py")
    assert "made" not in said
    assert (second.issuer, second.provider_key) == (first.issuer, first.provider_key)
    assert second.about.rev > first.about.rev
    _, third = pack("dispatch.py", "--revision", 2**31 - 9)
    assert third.about.rev == 2**31 - 9
    _, fourth = pack("dispatch.py")
    assert fourth.about.rev == 2**31 - 8


def test_no_revision_is_left():
    pack("--revision", 2**31 - 1)
    refused(
        1, "the revision 2147483648 is not between 1 and 2147483647", "pack", "-o", "shop.par.gz"
    )


def test_what_the_claims_are_told():
    said, found = pack(
        *("--name", "Shop", "--vendor", "Us", "--version", "1.2", "--revision", 7),
        *("--contract-id", "us:shop", "--target", "aarch64-linux", "--target", "x86_64-macos"),
    )
    about = found.about
    assert (about.name, about.vendor, about.ver, about.rev) == ("Shop", "Us", "1.2", 7)
    assert about.capid == "us:shop"
    assert set(found.targets) == {"aarch64-linux", "x86_64-macos"}
    assert "for aarch64-linux, x86_64-macos, with none of your code" in said


def test_the_contract_is_a_setting(folder):
    assert pack(PROVIDER_CONTRACT_ID="us:shop")[1].about.capid == "us:shop"
    write(folder / "my.env", "PROVIDER_CONTRACT_ID=file:shop")
    assert pack("--env-file", "my.env")[1].about.capid == "file:shop"


def test_an_archive_without_compression():
    assert here("pack", "--output", "shop.par").exit_code == 0
    with tarfile.open("shop.par", "r:") as file:
        assert file.getnames() == ["claims.jwt", f"{HERE}.bin"]


def test_keys_elsewhere(folder):
    (folder / "out").mkdir()
    assert here("pack", "-o", "out/a.par.gz").exit_code == 0
    assert here("pack", "-o", "out/b.par.gz", "--keys", "safe").exit_code == 0
    given = ("--account-seed", "safe/account.nk", "--provider-seed", "mine.nk")
    assert here("pack", "-o", "out/c.par.gz", *given).exit_code == 0
    seeds = {path.relative_to(folder).as_posix() for path in folder.rglob("*.nk")}
    assert seeds == {
        "out/keys/account.nk",
        "out/keys/a.nk",
        "safe/account.nk",
        "safe/b.nk",
        "mine.nk",
    }
    found = {
        name: archive.read((folder / "out" / f"{name}.par.gz").read_bytes()) for name in ("b", "c")
    }
    assert found["b"].issuer == found["c"].issuer
    assert found["c"].provider_key == seed_file.read(folder / "mine.nk").public


def test_a_seed_of_the_wrong_kind(folder):
    seed_file.write(folder / "user.nk", KeyPair.generate(Kind.USER))
    refused(
        1,
        "error: user.nk holds a seed of kind U; it must be A (account)",
        *("pack", "-o", "x.par.gz", "--account-seed", "user.nk"),
    )
    assert not (folder / "x.par.gz").exists()


def test_a_folder_with_all_it_needs_but_its_keys(folder):
    write(folder / "prices.py", "")
    pack(".")
    # The keys and the archive lie in the folder now.
    said, found = pack(".")
    assert set(carried(found)) == {"dispatch.py", "prices.py"}
    assert "with 2 of your files" in said


def test_a_program_that_stays_where_it_is(folder):
    _, found = pack("dispatch.py", "--in-place")
    assert manifest(found) == {
        "program": "",
        "settings": {"PYTHON_DISPATCH": str(folder / "dispatch.py")},
    }
    assert carried(found) == {}


def test_settings_that_are_packed(folder):
    (folder / "venv" / "bin").mkdir(parents=True)
    (folder / "venv" / "bin" / "python").symlink_to(sys.executable)
    said, found = pack(
        "--venv-path",
        "venv",
        "--set",
        "PROVIDER_CONCURRENCY=4",
        "--set",
        "PROVIDER_NAME=a",
    )
    assert manifest(found)["settings"] == {
        "PROVIDER_CONCURRENCY": "4",
        "PROVIDER_NAME": "a",
        "VENV_PATH": str(folder / "venv"),
    }
    assert "warning" not in said


@pytest.mark.parametrize(
    ("code", "reason", "arguments"),
    [
        (1, "absent.py does not exist", ["absent.py"]),
        (1, "PYTHON_DISPATCH names absent.py, which does not exist", ["absent.py", "--in-place"]),
        (2, "--in-place needs a program", ["--in-place"]),
        (2, "--set: 'PROVIDER_NAM' is no setting", ["--set", "PROVIDER_NAM=x"]),
        (2, "--set: 'PROVIDER_NAME' is no setting", ["--set", "PROVIDER_NAME"]),
        (2, "--set: NATS_PASSWORD is secret", ["--set", "NATS_PASSWORD=x"]),
        (2, "expected a whole number", ["--set", "PROVIDER_CONCURRENCY=many"]),
        (2, "x86_64-windows is no machine a launcher runs on", ["--target", "x86_64-windows"]),
        (2, "toaster-linux is no machine a launcher runs on", ["--target", "toaster-linux"]),
        (2, "Invalid value for '--revision'", ["--revision", "0"]),
        (2, "Invalid value for '--revision'", ["--revision", "2147483648"]),
        (1, "cannot write", ["--keys", "keys", "--output", "absent/x.par.gz"]),
        (1, "has unusual characters", ["--python", "/a\x07b"]),
    ],
)
def test_what_cannot_be_packed(folder, code, reason, arguments):
    refused(code, reason, "pack", "--output", "shop.par.gz", *arguments)
    assert not (folder / "shop.par.gz").exists()
    assert not list(folder.glob("tmp*"))


def test_an_archive_that_cannot_be_put_in_its_place(folder):
    (folder / "x.par.gz").mkdir()
    refused(1, "cannot write x.par.gz: Is a directory", "pack", "--output", "x.par.gz")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["dispatch.py", "keys", "x.par.gz"]


def test_an_interpreter_that_is_on_another_machine(folder):
    said, found = pack("--python", "/opt/provider/bin/python", "--venv-path", "/opt/shop")
    assert found.targets[HERE].startswith(b"#!/opt/provider/bin/python -P\n")
    assert said.count("is not on this machine; it has to be on the host's") == 2
    assert "warning: /opt/shop/bin/python is not" in said
    assert "warning: /opt/provider/bin/python is not" in said


def test_an_interpreter_that_would_not_do(folder):
    write(folder / "python", "#!/bin/sh\nexit 1").chmod(0o755)
    said, found = pack("--python", "python")
    assert found.targets[HERE].startswith(f"#!{folder}/python -P\n".encode())
    assert f"warning: {folder}/python cannot import the provider here" in said
    write(folder / "python", "no program").chmod(0o755)
    said, _ = pack("--python", "python")
    assert f"warning: {folder}/python cannot be executed here: " in said


# --- inspect -------------------------------------------------------------------------------------


def test_what_is_shown():
    pack("dispatch.py", "--revision", 7, "--vendor", "Ünser Laden")
    found = archive.read(Path("shop.par.gz").read_bytes())
    done = here("inspect", "shop.par.gz")
    assert (done.exit_code, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows.pop("issued").endswith("Z")
    assert rows == {
        "name": "Python",
        "vendor": "Ünser Laden",
        "version": __version__,
        "revision": "7",
        "contract": "wasmcloud:example:python",
        "provider": found.provider_key,
        "issuer": found.issuer,
        "expires": "never",
        "target": f"{HERE}  {len(found.targets[HERE])} bytes",
    }


def test_what_is_shown_as_json():
    pack("--revision", 7)
    found = archive.read(Path("shop.par.gz").read_bytes())
    done = here("inspect", "shop.par.gz", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "name": "Python",
        "vendor": "unknown",
        "version": __version__,
        "revision": 7,
        "contract_id": "wasmcloud:example:python",
        "provider_key": found.provider_key,
        "issuer": found.issuer,
        "issued_at": found.issued_at,
        "not_before": None,
        "expires": None,
        "targets": {HERE: len(found.targets[HERE])},
        "others": [],
        "problems": [],
    }


def strange(folder: Path, body: dict, *members: tuple[str, bytes], signer: KeyPair | None = None):
    """An archive of somebody else's, its claims as given."""
    issuer = KeyPair.from_raw(Kind.ACCOUNT, b"\x09" * 32)
    claim = {
        "iat": 1_700_000_000,
        "iss": issuer.public,
        "sub": KeyPair.from_raw(Kind.SERVICE, b"\x04" * 32).public,
        "wascap": {"vendor": "v", "target_hashes": {}},
        **body,
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        jwt = tokens.sign(claim, signer or issuer).encode()
        for name, data in (("claims.jwt", jwt), *members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (folder / "x.par.gz").write_bytes(gzip.compress(made.getvalue()))


def test_everything_wrong_is_told_at_once(folder):
    strange(
        folder,
        {"exp": 1_700_000_005, "nbf": 2**40},
        ("x86_64-linux.bin", b"x"),
        signer=KeyPair.generate(Kind.ACCOUNT),
    )
    reasons = [
        "No hash for 'x86_64-linux' in the claims",
        "The issuer did not sign the claims",
        "The claims expired",
        "The claims do not count yet",
    ]
    done = here("inspect", "x.par.gz")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [f"error: {reason}" for reason in reasons]
    assert "expires    2023-11-14T22:13:25Z\n" in done.stdout
    done = here("inspect", "x.par.gz", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["problems"] == reasons


def test_a_byte_changed_after_packing(folder):
    pack("dispatch.py")
    plain = bytearray(gzip.decompress((folder / "shop.par.gz").read_bytes()))
    plain[plain.index(b"dispatch.py")] ^= 1
    (folder / "shop.par.gz").write_bytes(plain)
    done = here("inspect", "shop.par.gz")
    assert done.exit_code == 1
    assert done.stderr == f"error: File hash and verify hash do not match for '{HERE}'\n"


def test_nothing_of_a_stranger_steers_the_terminal(folder):
    evil = "\x1b]0;owned\x07\x9b31m\r\u202e"
    strange(
        folder,
        {
            "iss": evil,
            "sub": evil * 100,
            "nbf": 2**63 - 1,
            "wascap": {
                **dict.fromkeys(("name", "vendor", "ver", "capid"), evil),
                "target_hashes": {evil: evil},
            },
        },
        ("x86_64-linux.bin", b"x"),
        ("world.wasm", b""),
    )
    done = here("inspect", "x.par.gz")
    assert done.exit_code == 1
    shown = done.stdout + done.stderr
    assert all(line.isprintable() for line in shown.splitlines())
    assert max(map(len, shown.splitlines())) < 3000
    assert "name       \\x1b]0;owned\\x07\\x9b31m\\r\\u202e\n" in shown
    assert f"from       {2**63 - 1} s after 1970\n" in shown
    assert "besides    world\n" in shown
    done = here("inspect", "x.par.gz", "--json")
    assert json.loads(done.stdout)["name"] == evil


@pytest.mark.parametrize("rev", [2**31, -(2**31) - 1, 1.5, "7"])
def test_a_revision_no_host_reads(folder, rev):
    wascap = {"vendor": "v", "target_hashes": {}, "rev": rev}
    strange(folder, {"wascap": wascap}, ("x86_64-linux.bin", b"x"))
    refused(1, "x.par.gz is no provider archive: its claims cannot be read", "inspect", "x.par.gz")


def test_bombs_and_garbage(folder):
    bomb = folder / "bomb.par.gz"
    bomb.write_bytes(gzip.compress(bytes(9 << 20)))
    sized = ("inspect", "bomb.par.gz", "--max-size")
    refused(
        1, "bomb.par.gz is no provider archive: it is larger than 8388608 bytes", *sized, "8MiB"
    )
    refused(1, "no provider archive: it is larger than 1024 bytes", *sized, "1KiB")
    refused(2, "--max-size: a size such as", *sized, "large")
    with bomb.open("wb") as file:
        file.truncate(1 << 40)  # and the default is no such size
    refused(1, "it is larger than 268435456 bytes", "inspect", "bomb.par.gz")
    write(folder / "x.par", "garbage")
    refused(1, "x.par is no provider archive: it is no tar archive", "inspect", "x.par")
    refused(2, "cannot read absent.par: No such file", "inspect", "absent.par")
    refused(2, "cannot read .: Is a directory", "inspect", ".")
    strange(folder, {})
    refused(1, "Not enough files found in provider archive", "inspect", "x.par.gz")
    strange(folder, {}, ("../x.bin", b""))
    refused(1, "'../x.bin' is no name of a file in an archive", "inspect", "x.par.gz")


@pytest.mark.parametrize("command", ["pack", "inspect"])
def test_help_teaches_by_example(command):
    done = here(command, "--help")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"provider {command} " in done.stdout.partition("Options")[0].partition("Usage")[2]
