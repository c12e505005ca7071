"""`.proto` files, compiled when the provider starts.

The rule of this file: the compiler is a process of its own, so that what it says of a file is read
and told, and its memory is gone when it is done. A file may import files beside it, and those that
come with protobuf.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool

from provider import inspection
from provider.errors import StartError, clip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PATIENCE = 60.0
"""Seconds the compiler may take."""
MOST_TEXT = 2000
"""Characters of what it says."""

_LOGGED = re.compile(r"WARNING: All log messages|[IWEF]\d{4} ")
"""How lines of the compiler begin that are its log."""

_pb: Any = descriptor_pb2


@dataclass(frozen=True, slots=True)
class Protos:
    """What was compiled.

    Attributes:
        files: serialized `FileDescriptorProto`s, each after those it imports.
        pool: of all of them.
        services: descriptors of the services of the files that were named.
    """

    files: tuple[bytes, ...]
    pool: Any
    services: tuple[Any, ...]


def compiled(paths: Sequence[Path]) -> Protos:
    """Compile these files.

    Args:
        paths: of `.proto` files.

    Raises:
        StartError: they cannot be compiled, or have no service.
    """
    named = {os.path.realpath(path): path.name for path in paths}
    if len(set(named.values())) != len(named):
        raise StartError("two files of PROVIDER_PROTO have one name; give one of them another name")
    files = _pb.FileDescriptorSet.FromString(_described(list(named))).file
    pool = descriptor_pool.DescriptorPool()
    serialized = tuple(file.SerializeToString() for file in files)
    for file in serialized:
        pool.AddSerializedFile(file)
    ours = set(named.values())
    services = tuple(
        pool.FindServiceByName(".".join(filter(None, (file.package, service.name))))
        for file in files
        if file.name in ours
        for service in file.service
    )
    if not services:
        raise StartError(f"{', '.join(sorted(ours))} has no service (PROVIDER_PROTO)")
    return Protos(serialized, pool, services)


def _described(paths: list[str]) -> bytes:
    """The serialized `FileDescriptorSet` of these files and all they import."""
    if find_spec("grpc_tools") is None:
        raise StartError("a .proto needs its compiler: pip install 'python-provider[grpc]'")
    folders = dict.fromkeys(os.path.dirname(path) for path in paths)
    with tempfile.TemporaryDirectory(prefix="provider-") as folder:
        written = os.path.join(folder, "set")
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"--proto_path={each}" for each in folders),
            "--include_imports",
            f"--descriptor_set_out={written}",
            *(os.path.basename(path) for path in paths),
        ]
        try:
            # In the empty folder, or modules would be found that happen to be where we are.
            done = subprocess.run(
                command,
                cwd=folder,
                env=inspection.without_secrets(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StartError(f"the compiler of .proto files failed: {error}") from None
        if done.returncode or not os.path.exists(written):
            said = (done.stderr or done.stdout).decode("utf-8", "replace")
            lines = [line for line in said.splitlines() if not _LOGGED.match(line)]
            text = clip("\n".join(lines).strip(), MOST_TEXT)
            raise StartError(f"cannot compile PROVIDER_PROTO: {text}")
        with open(written, "rb") as file:
            return file.read()
