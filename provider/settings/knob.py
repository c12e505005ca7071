"""One knob: how its field is declared, and what there is to say about it.

The rule of this file: it knows the form of the table and none of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from provider.errors import clip
from provider.servers import MASK, mask_url
from provider.settings.kinds import (
    CREDENTIAL,
    SECRET,
    SWITCH,
    URLS,
    Kind,
    is_given,
    is_surely_a_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic.fields import FieldInfo


def knob(
    variable: str,
    group: str,
    help: str,  # noqa: A002  the word of the command line
    *,
    default: object = None,
    flag: str | None = "",
    ge: int | None = None,
    gt: int | None = None,
    le: int | None = None,
) -> Any:
    """A field: its flag is its name with dashes unless `flag` says otherwise; None is no flag."""
    return Field(
        default,
        validation_alias=variable,
        description=help,
        json_schema_extra={"group": group, "flag": flag},
        ge=ge,
        gt=gt,
        le=le,
    )


@dataclass(frozen=True)
class Knob:
    """One row of the table: what there is to say about a knob.

    Attributes:
        field: name of the field of `Settings`.
        variable: name in the environment and in `.env`.
        flag: on the command line, as `--lattice` or `--wait/--no-wait`; None where a value in a
            list of processes would give a secret away.
        group: one of `GROUPS`.
        help: one or two sentences for users.
        default: as text; empty when unset.
        kind: how its values are written.
        bounds: such as "from 1 to 256"; empty when there are none.
    """

    field: str
    variable: str
    flag: str | None
    group: str
    help: str
    default: str
    kind: Kind
    bounds: str

    @property
    def secret(self) -> bool:
        """Whether the value is never shown."""
        return self.kind is SECRET

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off, and its flag takes no value."""
        return self.kind is SWITCH

    @property
    def file_variable(self) -> str | None:
        """The variable that names a file with the value, for secrets and credentials."""
        return f"{self.variable}_FILE" if self.secret or self.kind is CREDENTIAL else None

    @property
    def reads_file(self) -> bool:
        """Whether the value is what is in that file now; a credential is read when it is needed."""
        return self.secret

    @property
    def expects(self) -> str:
        """What a right value looks like."""
        return f"{self.kind.expects}, {self.bounds}" if self.bounds else self.kind.expects

    def holds_secret(self, value: object) -> bool:
        """Whether a value somebody gave must not be seen, or has a part that must not."""
        if self.kind is URLS:
            return mask_url(str(value)) != str(value)
        return self.secret or (self.kind is CREDENTIAL and is_given(value))

    def write(self, value: object) -> str:
        """A value of this knob as a person would write it; empty for None, masked if secret."""
        return "" if value is None else self.kind.write(value)

    def show(self, value: object) -> str:
        """A value somebody gave, right or wrong: quoted, cut short, and masked if secret."""
        if self.secret or (self.kind is CREDENTIAL and not is_surely_a_path(value)):
            return MASK
        text = mask_url(str(value)) if self.kind is URLS else str(value)
        return repr(clip(text, 200))


def knobs_of(fields: Mapping[str, FieldInfo]) -> dict[str, Knob]:
    """The rows of a table, by name of the field.

    Args:
        fields: each made with `knob`.
    """
    knobs = {}
    for field, info in fields.items():
        extra: Any = info.json_schema_extra
        (kind,) = (item for item in info.metadata if isinstance(item, Kind))
        flag: str | None = extra["flag"]
        if flag == "":
            flag = "--" + field.replace("_", "-")
            if kind is SWITCH:
                flag += "/--no-" + flag.removeprefix("--")
        knobs[field] = Knob(
            field=field,
            variable=str(info.validation_alias),
            flag=flag,
            group=extra["group"],
            help=str(info.description),
            default="" if info.default is None else kind.write(info.default),
            kind=kind,
            bounds=_bounds(info.metadata),
        )
    return knobs


def _bounds(metadata: Iterable[object]) -> str:
    found = {
        word: getattr(item, word)
        for item in metadata
        for word in ("ge", "gt", "le")
        if hasattr(item, word)
    }
    if "le" in found:
        return f"from {found['ge']} to {found['le']}"
    if "ge" in found:
        return f"at least {found['ge']}"
    return f"more than {found['gt']}" if found else ""
