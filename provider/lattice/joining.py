"""How the provider joins a lattice: what it takes from the host that launched it, if one did.

The rule of this file: a host decides who the provider is and how it reaches NATS; what is served is
decided by the environment first. Seeds go from the host data to where they sign and to no text.
Pure: the environment comes as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provider.errors import StartError
from provider.lattice.host_data import DEFAULT_URL, HostData, Login, level_of, merge_config
from provider.settings.load import Launch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.nats_options import NatsOptions
    from provider.settings import Settings

_LOGIN = ("nats_user", "nats_password", "nats_token", "nats_creds", "nats_nkey", "nats_jwt")
"""The settings that are a login; one of a host stands in place of them all."""


@dataclass(frozen=True, slots=True)
class Joining:
    """What a host that launched us said, taken apart.

    Attributes:
        data: as it came.
        login: to NATS, None for an anonymous connection.
        launch: what it says about settings.
        notes: what was said and does not count, for the log.
    """

    data: HostData
    login: Login | None
    launch: Launch
    notes: tuple[str, ...]


def join(data: HostData, environ: Mapping[str, str]) -> Joining:
    """Take apart what a host says.

    Args:
        data: of the host.
        environ: of the process, for RUST_LOG: the hint of hosts that name no level of logs.

    Raises:
        StartError: the host speaks a protocol we do not, its login cannot be used, or its
            `config_json` cannot be read.
    """
    if data.speaks_wrpc:
        raise StartError(
            "this host is one of wasmCloud 1.0 or later, which calls providers over wRPC; this "
            "provider speaks the wasmbus protocol of hosts up to 0.82"
        )
    login = data.login()
    merged = merge_config(data.config_json, data.link_definitions)
    launch = Launch(
        place=_place(data),
        config={
            name: (given.value, f"host data {given.source}")
            for name, given in merged.variables.items()
        },
        rest=_rest(environ),
        settled=frozenset(_LOGIN if login else ()),
    )
    return Joining(data, login, launch, merged.notes)


def _place(data: HostData) -> dict[str, tuple[object, str]]:
    place: dict[str, tuple[object, str]] = {
        "nats_url": (data.lattice_rpc_url.strip() or DEFAULT_URL, "lattice_rpc_url"),
        "lattice": (data.lattice_rpc_prefix, "lattice_rpc_prefix"),
        "key": (data.provider_key, "provider_key"),
        "link_name": (data.link_name, "link_name"),
        "cluster_issuers": (tuple(sorted(data.cluster_issuers)), "cluster_issuers"),
    }
    if data.level:
        place["log_level"] = data.level, "log_level"
    if data.structured_logging:
        place["log_format"] = "json", "structured_logging"
    return {name: (value, f"host data {member}") for name, (value, member) in place.items()}


def _rest(environ: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    # As the original: the host was on this very server a moment ago, so an address where nobody
    # answers is wrong, and a process that ended is easier to see than one that waits.
    rest: dict[str, tuple[object, str]] = {"wait": (False, "launched by a host")}
    level = level_of(environ.get("RUST_LOG"))
    if level:
        rest["log_level"] = level, "environment RUST_LOG"
    return rest


def check_program(settings: Settings, program: str | None) -> None:
    """See that a provider launched by a host has something to serve.

    Args:
        settings: with what the host said.
        program: given in another way, if any.

    Raises:
        StartError: it has not.
    """
    if not (program or settings.python_dispatch or settings.python_main or settings.models):
        raise StartError(
            "PYTHON_DISPATCH is not set: name the file that contains handle(command, arg) in the "
            "configuration given to the host with the provider (config_json), as in\n"
            '  {"python_dispatch": "/srv/shop/dispatch.py"}\n'
            "or in the environment of the host, where it passes that on"
        )


def nats_options(options: NatsOptions, settings: Settings, joining: Joining) -> NatsOptions:
    """The connection the host wants: its login, unless a flag gave another.

    Args:
        options: that the settings make.
        settings: the same.
        joining: what the host said.
    """
    # Of these settings only flags are left where the host has a login.
    own = any(getattr(settings, name) is not None for name in _LOGIN)
    return replace(options, by_host=True, login=None if own else joining.login)
