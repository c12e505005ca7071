"""JSON Schema as pydantic makes it, with our own account of what it has none for.

The rule of this file: it is imported only where pydantic is.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema

from provider.worker import firm


def described(hint: Any, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """The schema of a list of values of this hint.

    Raises:
        Exception: whatever pydantic says of the hint.
    """
    return _Describing().generate(firm.listed(hint), mode)


class _Describing(GenerateJsonSchema):
    """Bytes are base64 in the JSON form, and arrays lists."""

    def bytes_schema(self, schema: Any) -> dict[str, Any]:  # noqa: ARG002  pydantic names it
        return {"type": "string", "contentEncoding": "base64"}

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        """As it is checked: pydantic looks at the class only, not at what was made firm."""
        made = super().dataclass_schema(schema)
        fields = schema["schema"]
        while fields["type"] != "dataclass-args" and "schema" in fields:
            fields = fields["schema"]
        if self.mode == "validation" and fields.get("extra_behavior") == "forbid":
            made.setdefault("additionalProperties", False)
        return made

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002  pydantic names them
        return {}
