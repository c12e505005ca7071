"""An AsyncAPI 3.0 document of a provider, for tools that make clients and pages from it.

The rule of this file: a pure function of what a provider says of itself. Only what can be called by
subject is in it, in JSON, with its errors as `docs/protocol.md` has them. Source: AsyncAPI 3.0.0
(https://www.asyncapi.com/docs/reference/specification/v3.0.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider import __version__
from provider.referenced import free_key, keep
from provider.wire.address import SERVICE_QUEUE, Address, is_subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_JSON = "application/json"


def document(
    address: Address,
    operations: Sequence[Mapping[str, Any]],
    schemas: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The document, as what JSON has types for.

    Args:
        address: where the provider is.
        operations: as `client.Python.operations` has them.
        schemas: as `client.Python.schema` has them.
    """
    made: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {
            "title": address.name,
            "version": __version__,
            "description": "Python functions, called by operation name over NATS. The header "
            "Nats-Service-Error-Code marks an answer as an error.",
        },
        "defaultContentType": _JSON,
        "channels": {},
        "operations": {},
        "components": {"schemas": {"error": _ERROR}, "messages": {}},
    }

    def is_taken(key: str) -> bool:
        return key in made["channels"] or f"{key}.answer" in made["channels"]

    for operation in operations:
        name = str(operation["name"])
        if is_subject(name):
            key = free_key(name, is_taken)
            _add(made, address, operation, key, schemas.get(name, {}))
    return made


def _add(
    made: dict[str, Any],
    address: Address,
    operation: Mapping[str, Any],
    key: str,
    schemas: Mapping[str, Any],
) -> None:
    shared, messages = made["components"]["schemas"], made["components"]["messages"]
    for part in ("argument", "result"):
        title = f"{key}.{part}"
        messages[title] = {
            "name": title,
            "contentType": _JSON,
            "payload": keep(shared, title, schemas.get(part, {})),
        }
    messages[f"{key}.error"] = {
        "name": f"{key}.error",
        "contentType": _JSON,
        "payload": {"$ref": "#/components/schemas/error"},
    }
    channel, answers = {"$ref": f"#/channels/{key}"}, {"$ref": f"#/channels/{key}.answer"}
    made["channels"][key] = {
        "address": address.operation(str(operation["name"])),
        "messages": {"argument": {"$ref": f"#/components/messages/{key}.argument"}},
        "bindings": {"nats": {"queue": SERVICE_QUEUE}},
    }
    made["channels"][f"{key}.answer"] = {
        "address": None,
        "messages": {
            part: {"$ref": f"#/components/messages/{key}.{part}"} for part in ("result", "error")
        },
    }
    summary, _, description = str(operation["doc"]).partition("\n")
    made["operations"][key] = {
        "action": "receive",
        "title": f"{operation['name']}{operation['signature']}",
        **({"summary": summary} if summary else {}),
        **({"description": description.strip()} if description.strip() else {}),
        "channel": channel,
        "messages": [{"$ref": f"#/channels/{key}/messages/argument"}],
        "reply": {
            "channel": answers,
            "messages": [
                {"$ref": f"#/channels/{key}.answer/messages/{part}"} for part in ("result", "error")
            ],
        },
    }


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "code", "message"],
            "properties": {
                "kind": {"type": "string"},
                "code": {"type": "integer", "minimum": 400, "maximum": 599},
                "message": {"type": "string"},
                "type": {"type": "string"},
                "traceback": {"type": "string"},
                "retry_after_ms": {"type": "integer", "minimum": 0},
                "details": {},
            },
        }
    },
}
