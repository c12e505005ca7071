"""The table of settings: one field of `Settings` is one knob.

The fields are in `serving`, `reaching` and `answering`, by subject; here they are one table. The
rule of this file: all that is said about a knob elsewhere (`.env.example`,
docs/configuration.md, `--help`, `provider config`, the texts of errors) is made from its field.
Nothing is read here; that is what `load` is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import ConfigDict, PrivateAttr

from provider.servers import parse_servers
from provider.settings.answering import Answering
from provider.settings.knob import Knob, knobs_of
from provider.settings.reaching import Reaching
from provider.settings.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT = "default"
"""The source of a value that nobody gave."""

GROUPS = {
    "Your code": "Which functions are served, and by which Python.",
    "NATS": "Where the NATS server is and how to be let in. "
    "The names and meanings are those of the `nats` command.",
    "Address": "The subjects the provider answers on.",
    "Lattice": "Signed calls, as wasmCloud hosts and actors make them. "
    "A host says most of this itself when it launches the provider.",
    "Calls": "How long a call may take, how many may wait and how many run.",
    "HTTP": "Calls over HTTP, from `provider run --http` or from `provider gateway`.",
    "gRPC": "Calls over gRPC, from `provider run --grpc` or from `provider gateway`.",
    "Limits": "How large a message and the values in it may be.",
    "Worker": "The process that runs your code.",
    "Reload": "What happens when your code is edited.",
    "Logs": "What is written to standard error.",
}
"""The groups of knobs in the order of the documentation, and what each is about."""


class Settings(Answering, Reaching, Serving):
    """The value of every knob, checked. Made by `load`; built by hand it reads nothing.

    Attributes:
        sources: where each field's value came from, such as "flag --lattice",
            "environment NATS_URL", ".env NATS_URL", "context production" or "default".
        unknown: variables that begin with PROVIDER_ and are none of ours, each followed by the
            nearest name where one is near.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=False,
        hide_input_in_errors=True,
        defer_build=False,
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _unknown: tuple[str, ...] = PrivateAttr(default=())

    @property
    def sources(self) -> Mapping[str, str]:
        """Field to place; "code" where settings were built by hand."""
        return {
            field: self._sources.get(field, "code" if field in self.model_fields_set else DEFAULT)
            for field in KNOBS
        }

    @property
    def unknown(self) -> tuple[str, ...]:
        """For a warning: most are misspelt."""
        return self._unknown

    @property
    def nats_url_given(self) -> bool:
        """Whether somebody chose the NATS server, rather than leaving it to the default."""
        return self.sources["nats_url"] != DEFAULT

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The servers of `nats_url` one by one, each with its scheme. May hold passwords."""
        return parse_servers(self.nats_url)

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        for field, row in KNOBS.items():
            yield field, row.write(getattr(self, field))


_ORDER = list(GROUPS)
KNOBS: Mapping[str, Knob] = dict(
    sorted(knobs_of(Settings.model_fields).items(), key=lambda named: _ORDER.index(named[1].group))
)
"""The table, by name of the field, in the order of the documentation."""


# --- Showing -------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of `provider config`."""

    variable: str
    value: str
    source: str
    help: str


def rows(settings: Settings) -> list[Row]:
    """Every setting as text, in the order of the documentation, secrets masked."""
    sources = settings.sources
    return [
        Row(row.variable, row.write(getattr(settings, field)), sources[field], row.help)
        for field, row in KNOBS.items()
    ]
