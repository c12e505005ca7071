"""The commands about provider archives, from which wasmCloud hosts start the provider.

The rule of this file: pack says everything it made and shows no seed; inspect believes nothing an
archive says of itself, and shows nothing of it that could steer a terminal.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003  typer evaluates the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provider import __version__
from provider.cli.form import AsJson, EnvFile, NoEnvFile, app, fail, json_line, load_settings
from provider.errors import ExitCode, ProviderError, StartError, clip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.lattice.archive import Archive, Limits
    from provider.lattice.launcher import Cargo
    from provider.lattice.nkeys import KeyPair, Kind

CODE, LAUNCHER, CLAIMS, KEYS = "Your code", "Launcher", "Claims", "Keys"


@app.command()
def pack(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="The archive; compressed when it ends in .gz.", metavar="FILE"
        ),
    ],
    program: Annotated[
        Path | None,
        typer.Argument(
            help="The dispatch program the archive carries: a file, or a folder with all it "
            "needs. Without one, the host names it (PYTHON_DISPATCH).",
            show_default=False,
        ),
    ] = None,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place",
            help="Carry no copy: serve the program from where it lies on this machine.",
            rich_help_panel=CODE,
        ),
    ] = False,
    venv_path: Annotated[
        Path | None,
        typer.Option(
            "--venv-path",
            help="The virtual environment whose Python runs your code, on the host's machine.",
            rich_help_panel=CODE,
            show_default=False,
        ),
    ] = None,
    more: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any other setting, as PROVIDER_CONCURRENCY=4; may be repeated. What the host "
            "says and what stands in the environment outranks it.",
            rich_help_panel=CODE,
            show_default=False,
            metavar="VARIABLE=VALUE",
        ),
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(
            "--python",
            help="The interpreter that has the provider installed, on the host's machine.",
            rich_help_panel=LAUNCHER,
            show_default="the one of this installation",
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="A kind of machine it is for, as aarch64-linux; may be repeated.",
            rich_help_panel=LAUNCHER,
            show_default="the kind of this machine",
            metavar="NAME",
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Its name, for people.", rich_help_panel=CLAIMS)
    ] = "Python",
    vendor: Annotated[
        str, typer.Option("--vendor", help="Who made it.", rich_help_panel=CLAIMS)
    ] = "unknown",
    version: Annotated[
        str, typer.Option("--version", help="Its version, for people.", rich_help_panel=CLAIMS)
    ] = __version__,
    revision: Annotated[
        int | None,
        typer.Option(
            "--revision",
            min=1,
            max=2**31 - 1,  # as in archive.MAX_REVISION
            help="The number hosts tell versions by: what they know by it they do not read again.",
            rich_help_panel=CLAIMS,
            show_default="seconds since 1970",
            metavar="NUMBER",
        ),
    ] = None,
    contract_id: Annotated[
        str | None,
        typer.Option(
            "--contract-id",
            help="The contract it fulfils. [PROVIDER_CONTRACT_ID]",
            rich_help_panel=CLAIMS,
            show_default="wasmcloud:example:python",
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="The folder with the seeds; what is missing is made.",
            rich_help_panel=KEYS,
            show_default="keys, beside the archive",
            metavar="FOLDER",
        ),
    ] = None,
    account_seed: Annotated[
        Path | None,
        typer.Option(
            "--account-seed",
            help="File with the seed that signs the archive.",
            rich_help_panel=KEYS,
            show_default="account.nk in that folder",
            metavar="FILE",
        ),
    ] = None,
    provider_seed: Annotated[
        Path | None,
        typer.Option(
            "--provider-seed",
            help="File with the seed whose public key the provider is known by.",
            rich_help_panel=KEYS,
            show_default="in that folder, named as the archive",
            metavar="FILE",
        ),
    ] = None,
    env_file: EnvFile = None,
    no_env_file: NoEnvFile = False,
) -> None:
    """Make an archive (`.par.gz`) that a wasmCloud host starts the provider from.

    What it holds is small: a launcher for a provider that is installed on the host's machine, and
    a copy of your program. Keys are made where they are missing; keep them, for a new provider
    key is a new provider.

    ```
    provider pack dispatch.py --output shop.par.gz
    provider pack shop --output shop.par.gz --venv-path .venv --version 1.2.0
    ```
    """
    from provider.lattice import archive, launcher
    from provider.lattice.nkeys import Kind

    settings = load_settings({"contract_id": contract_id}, env_file, no_env_file=no_env_file)
    interpreter = os.path.abspath(python) if python else sys.executable
    folder = keys or output.parent / "keys"
    account_file = account_seed or folder / "account.nk"
    provider_file = provider_seed or folder / f"{output.name.partition('.')[0]}.nk"
    try:
        cargo = _cargo(program, in_place, venv_path, more or [], (account_file, provider_file))
        started = launcher.make(interpreter, cargo)
        targets = target or [archive.this_target()]
        for each in targets:
            if each not in archive.TARGETS or each.endswith("windows"):
                fail(
                    f"--target: {each} is no machine a launcher runs on; those are "
                    + ", ".join(t for t in archive.TARGETS if not t.endswith("windows")),
                    ExitCode.USAGE,
                )
        now = int(time.time())
        issuer = _key(account_file, Kind.ACCOUNT, "account")
        provider_key = _key(provider_file, Kind.SERVICE, "provider").public
        about = archive.Description(
            name=name,
            capid=settings.contract_id or "",
            vendor=vendor,
            rev=_next_revision(output, now) if revision is None else revision,
            ver=version,
        )
        data = archive.write(
            dict.fromkeys(targets, started),
            about,
            issuer=issuer,
            provider_key=provider_key,
            issued_at=now,
            compress=output.suffix == ".gz",
        )
        _write(output, data)
    except ProviderError as error:
        fail(str(error), ExitCode.FAILED)
    for warning in _doubts(interpreter, venv_path):
        typer.echo(f"warning: {warning}", err=True)
    carried = f"{len(cargo.files)} of your files" if cargo.files else "none of your code"
    typer.echo(
        f"{output}: provider {provider_key}, revision {about.rev}, for {', '.join(targets)}, "
        f"with {carried}",
        err=True,
    )


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="The archive.", metavar="FILE")],
    max_size: Annotated[
        str, typer.Option("--max-size", help="The most it may be, unpacked.")
    ] = "256MiB",
    as_json: AsJson = False,
) -> None:
    """Show what a provider archive holds, and check its hashes, its signature and its dates.

    Ends with 1 when anything is wrong.

    ```
    provider inspect shop.par.gz
    provider inspect shop.par.gz --json
    ```
    """
    from provider.lattice import archive

    limits = archive.Limits(size=_size(max_size))
    try:
        found = _read(file, limits)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", ExitCode.USAGE)
    except archive.ArchiveError as error:
        fail(f"{file} is no provider archive: {_plain(str(error))}", ExitCode.FAILED)
    problems = archive.verify(found, time.time())
    if as_json:
        typer.echo(json_line({**_as_map(found), "problems": list(problems)}))
    else:
        for label, text in _rows(found):
            typer.echo(f"{label:<9}  {_plain(text)}")
    for problem in problems:
        typer.echo(f"error: {_plain(problem)}", err=True)
    if problems:
        raise typer.Exit(ExitCode.FAILED)


def _read(file: Path, limits: Limits) -> Archive:
    """The archive in a file, of which no more is read than may be in it."""
    from provider.lattice import archive

    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size > limits.size:
            raise archive.ArchiveError(f"it is larger than {limits.size} bytes")
        return archive.read(opened.read(limits.size + 1), limits)


# --- Made ----------------------------------------------------------------------------------------


def _cargo(
    program: Path | None,
    in_place: bool,
    venv_path: Path | None,
    more: list[str],
    seeds: tuple[Path, ...],
) -> Cargo:
    """What the launcher carries."""
    from provider.lattice.cargo import collect
    from provider.lattice.launcher import Cargo

    settings = _settings(more)
    if venv_path is not None:
        settings["VENV_PATH"] = os.path.abspath(venv_path)
    if program is None:
        if in_place:
            fail("--in-place needs a program", ExitCode.USAGE)
        return Cargo(settings=settings)
    if not in_place:
        return collect(program, settings, without=seeds)
    from provider.host import contract

    setup = contract.resolve(venv=None, main=None, dispatch=str(program))
    return Cargo(settings={**settings, "PYTHON_DISPATCH": setup.program})


def _settings(given: list[str]) -> dict[str, str]:
    """The settings of `--set`, checked."""
    from provider.settings import KNOBS, load

    knobs = {knob.variable: knob for knob in KNOBS.values()}
    settings = {}
    for text in given:
        variable, equals, value = text.partition("=")
        if not equals or variable not in knobs:
            fail(f"--set: {clip(variable, 80)!r} is no setting, as in NAME=VALUE", ExitCode.USAGE)
        if knobs[variable].secret:
            fail(f"--set: {variable} is secret, and an archive is not", ExitCode.USAGE)
        settings[variable] = value
    try:
        load(environ=settings, env_file=False)
    except StartError as error:
        fail(f"--set: {error}", ExitCode.USAGE)
    return settings


def _key(path: Path, kind: Kind, word: str) -> KeyPair:
    from provider.lattice import seed_file

    pair, made = seed_file.read_or_make(path, kind)
    if made:
        typer.echo(f"made the {word} key {pair.public}, its seed is in {path}", err=True)
    return pair


def _next_revision(output: Path, now: int) -> int:
    """The time, and above the revision of the archive that is replaced.

    Hosts before 1.0 keep an executable by key and revision, and never look at another one.
    """
    from provider.lattice import archive

    try:
        replaced = _read(output, archive.Limits()).about.rev or 0
    except (OSError, archive.ArchiveError):
        return now
    return max(now, replaced + 1)


def _write(output: Path, data: bytes) -> None:
    from provider.lattice.archive import ArchiveError

    try:
        descriptor, beside = tempfile.mkstemp(dir=output.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.chmod(beside, 0o644)
            os.replace(beside, output)
        except OSError:
            os.unlink(beside)
            raise
    except OSError as error:
        raise ArchiveError(f"cannot write {output}: {error.strerror}") from None


def _doubts(interpreter: str, venv_path: Path | None) -> Iterator[str]:
    """What would not work on this machine, which need not be the host's."""
    for path in (venv_path / "bin" / "python" if venv_path else None, interpreter):
        if path and not os.access(path, os.X_OK):
            yield f"{path} is not on this machine; it has to be on the host's"
    if not os.access(interpreter, os.X_OK):
        return
    try:
        done = subprocess.run(
            [interpreter, "-P", "-c", "import provider.lattice.launcher"],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"{interpreter} cannot be executed here: {error}"
        return
    if done.returncode:
        yield (
            f"{interpreter} cannot import the provider here, with an environment as empty as "
            "a host's; install it there before the host starts it"
        )


# --- Shown ---------------------------------------------------------------------------------------


def _size(text: str) -> int:
    from provider.units import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        fail(f"--max-size: {error}", ExitCode.USAGE)


def _rows(found: Archive) -> Iterator[tuple[str, str]]:
    about = found.about
    yield "name", about.name or "-"
    yield "vendor", about.vendor
    yield "version", about.ver or "-"
    yield "revision", "-" if about.rev is None else str(about.rev)
    yield "contract", about.capid or "-"
    yield "provider", found.provider_key
    yield "issuer", found.issuer
    yield "issued", _date(found.issued_at)
    if found.not_before is not None:
        yield "from", _date(found.not_before)
    yield "expires", "never" if found.expires is None else _date(found.expires)
    for name, data in found.targets.items():
        yield "target", f"{name}  {len(data)} bytes"
    for name in found.others:
        yield "besides", name


def _as_map(found: Archive) -> dict[str, Any]:
    about = found.about
    return {
        "name": about.name,
        "vendor": about.vendor,
        "version": about.ver,
        "revision": about.rev,
        "contract_id": about.capid,
        "provider_key": found.provider_key,
        "issuer": found.issuer,
        "issued_at": found.issued_at,
        "not_before": found.not_before,
        "expires": found.expires,
        "targets": {name: len(data) for name, data in found.targets.items()},
        "others": list(found.others),
    }


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s after 1970"


def _plain(text: str) -> str:
    """A text of a stranger's, without what would steer a terminal."""
    text = clip(text, 400)
    return text if text.isprintable() else repr(text)[1:-1]
