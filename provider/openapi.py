"""An OpenAPI 3.1 document of what can be called over HTTP.

The rule of this file: a pure function of what a program says of itself. It has the routes of its
author and `POST /call/` with the name of each operation, in JSON, and errors as problem documents.
Source: OpenAPI 3.1.1 (https://spec.openapis.org/oas/v3.1.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider import __version__
from provider.referenced import free_key, keep
from provider.wire.route import ANY, METHODS, read_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_JSON, _PROBLEM = "application/json", "application/problem+json"
_SIMPLE = frozenset({"integer", "number", "boolean", "string", "null", "array"})
BEARER, API_KEY = "bearer", "api_key"


def document(
    operations: Sequence[Mapping[str, Any]],
    schemas: Mapping[str, Mapping[str, Any]],
    *,
    security: Iterable[str] = (),
    title: str = "Python functions",
) -> dict[str, Any]:
    """The document, as what JSON has types for.

    Args:
        operations: as `Described.operations` has them.
        schemas: JSON Schema of `argument` and `result`, by name of the operation.
        security: ways of which callers have to take one, of `BEARER` and `API_KEY`.
        title: of the document.
    """
    made: dict[str, Any] = {
        "openapi": "3.1.1",
        "info": {
            "title": title,
            "version": __version__,
            "description": "Every operation is called with POST /call/ and its name; the body is "
            "the argument. Some have routes of their own.",
        },
        "paths": {},
        "components": {"schemas": {"problem": _PROBLEM_SCHEMA}, "responses": _RESPONSES},
    }
    ways = [way for way in security if way in _SECURITY]
    if ways:
        made["components"]["securitySchemes"] = {way: _SECURITY[way] for way in ways}
        made["security"] = [{way: []} for way in ways]
    writer = _Writer(made)
    for operation in operations:
        writer.add_routes(operation, schemas.get(str(operation["name"]), {}))
    for operation in operations:
        writer.add_call(operation, schemas.get(str(operation["name"]), {}))
    return made


class _Writer:
    """Fills a document.

    Args:
        made: the document.
    """

    def __init__(self, made: dict[str, Any]) -> None:
        self._paths: dict[str, Any] = made["paths"]
        self._shared: dict[str, Any] = made["components"]["schemas"]
        self._schemas: dict[str, dict[str, Any]] = {}
        """Of each operation, where its schemas are found."""
        self._templates: dict[Any, tuple[str, tuple[str, ...]]] = {}
        """By shape: two templates of one shape are one path here."""
        self._ids: set[str] = set()

    def add_call(self, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        """The operation, called by its name."""
        argument, result = self._of(operation, schemas)
        name = str(operation["name"])
        told = self._told(operation, f"call.{name}", "call")
        shape = schemas.get("argument", {})
        if shape.get("type") != "null":
            needed = bool(shape.get("required")) or ("type" in shape and _is_needed(shape))
            told["requestBody"] = _body(argument, needed=needed)
        told["responses"] = _responses(200, result, streams=bool(operation["streams"]))
        self._paths[f"/call/{quote(name, safe='')}"] = {"post": told}

    def add_routes(self, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        """The routes of the operation."""
        for route in operation.get("http") or ():
            template = read_template(route["path"])
            path, names = self._templates.setdefault(
                template.shape, (route["path"].replace(":path}", "}"), template.names)
            )
            item = self._paths.setdefault(path, {})
            methods = METHODS if route["method"] == ANY else (route["method"],)
            for method in methods:
                if method.lower() not in item:
                    item[method.lower()] = self._route(
                        operation,
                        schemas,
                        route,
                        method,
                        list(zip(template.names, names, strict=True)),
                    )

    def _route(
        self,
        operation: Mapping[str, Any],
        schemas: Mapping[str, Any],
        route: Mapping[str, Any],
        method: str,
        names: list[tuple[str, str]],
    ) -> dict[str, Any]:
        told = self._told(operation, f"{method.lower()}.{operation['name']}", "routes")
        if route["raw"]:
            told["parameters"] = [
                {"name": shown, "in": "path", "required": True, "schema": {"type": "string"}}
                for _, shown in names
            ]
            told["responses"] = {"default": {"description": "whatever the function answers"}}
            if method in {"POST", "PUT", "PATCH"}:
                told["requestBody"] = {"content": {"*/*": {"schema": {}}}}
            return told
        argument, result = self._of(operation, schemas)
        shape = self._shared.get(argument["$ref"].rpartition("/")[2], {})
        properties, needed = _parameters(route, shape)
        told["parameters"] = [
            {"name": shown, "in": "path", "required": True, "schema": properties.pop(name, {})}
            for name, shown in names
        ]
        if method in {"GET", "DELETE"}:
            for name, schema in properties.items():
                kinds = set(route["parameters"].get(name, {}).get("types", ()))
                if kinds <= _SIMPLE:
                    told["parameters"].append(
                        {"name": name, "in": "query", "required": name in needed, "schema": schema}
                    )
        elif properties:
            if route["whole"]:
                told["requestBody"] = _body(argument, needed=bool(needed))
            else:
                told["requestBody"] = _body(
                    _rest(shape, properties, needed), needed=not needed.isdisjoint(properties)
                )
        told["responses"] = _responses(route["status"], result, streams=bool(operation["streams"]))
        return told

    def _told(self, operation: Mapping[str, Any], key: str, tag: str) -> dict[str, Any]:
        key = free_key(key, self._ids.__contains__)
        self._ids.add(key)
        summary, _, description = str(operation["doc"]).partition("\n")
        return {
            "operationId": key,
            "tags": [tag],
            "summary": summary or f"{operation['name']}{operation['signature']}"[:200],
            **({"description": description.strip()} if description.strip() else {}),
            "x-operation": f"{operation['name']}{operation['signature']}",
        }

    def _of(
        self, operation: Mapping[str, Any], schemas: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """References to the schemas of argument and result, which are put where those lead."""
        name = str(operation["name"])
        known = self._schemas.get(name)
        if known is None:
            key = free_key(name, lambda key: f"{key}.argument" in self._shared)
            known = {
                part: keep(self._shared, f"{key}.{part}", schemas.get(part, {}))
                for part in ("argument", "result")
            }
            self._schemas[name] = known
        return known["argument"], known["result"]


def _parameters(
    route: Mapping[str, Any], shape: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Schemas of the parameters by name, and the names of those that are needed."""
    if not route["whole"]:
        return dict(shape.get("properties", {})), set(shape.get("required", ()))
    properties: dict[str, Any] = {name: dict(shape) for name in route["parameters"]}
    return properties, set(properties) if "default" not in shape else set()


def _rest(
    shape: Mapping[str, Any], properties: Mapping[str, Any], needed: set[str]
) -> dict[str, Any]:
    made = {**shape, "properties": dict(properties)}
    made["required"] = [name for name in shape.get("required", ()) if name in properties]
    if not needed.intersection(properties):
        del made["required"]
    return made


def _is_needed(shape: Mapping[str, Any]) -> bool:
    return "default" not in shape and "properties" not in shape


def _body(schema: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    return {"required": needed, "content": {_JSON: {"schema": schema}}}


def _responses(status: int, result: Mapping[str, Any], *, streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {_JSON: {"schema": result}}
    if streams:
        content |= {
            "text/event-stream": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        }
    good: dict[str, Any] = {"description": "the result"}
    if status not in (204, 205):
        good["content"] = content
    return {str(status): good, "default": {"$ref": "#/components/responses/problem"}}


_SECURITY: dict[str, dict[str, Any]] = {
    BEARER: {"type": "http", "scheme": "bearer"},
    API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_RESPONSES: dict[str, Any] = {
    "problem": {
        "description": "what went wrong",
        "headers": {
            "Retry-After": {
                "description": "seconds after which another try is sensible",
                "schema": {"type": "integer"},
            }
        },
        "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/problem"}}},
    }
}
_PROBLEM_SCHEMA: dict[str, Any] = {
    "description": "RFC 9457",
    "type": "object",
    "required": ["type", "title", "status", "detail", "kind", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "kind": {"type": "string"},
        "code": {"type": "integer"},
        "request_id": {"type": "string"},
        "exception": {"type": "string"},
        "traceback": {"type": "string"},
        "retry_after_ms": {"type": "integer", "minimum": 0},
        "details": {},
    },
}
