"""Messages of gRPC to requests, and answers to messages.

The rule of this file: the bytes of large tensors are not copied on their way through: they are
slices of the message that came, and parts of the one that goes. Protobuf sees what is around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from provider.kserve import tensors
from provider.kserve.faults import fault
from provider.kserve.schema import message_class
from provider.kserve.tensors import BYTES, VERSION, InferRequest, InferResponse, Wanted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider.kserve.tensors import Data, ModelMetadata, Tensor

LARGE = 16 * 1024
"""Bytes from which on a message is looked through before protobuf reads it."""
MOST_FIELDS = 16 * 1024
"""Fields of a message that are looked through."""
_RAW_INPUT = 7
_RAW_OUTPUT_KEY = b"\x32"
"""Field 6 of ModelInferResponse, of bytes."""
_RESPONSE_KEY = b"\x12"
"""Field 2 of ModelStreamInferResponse, a message."""
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_PARAMETERS = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}


def read(name: str, data: bytes) -> Any:
    """A message.

    Args:
        name: of its type.
        data: as it came.

    Raises:
        CallError: it is none.
    """
    try:
        return message_class(name).FromString(data)
    except DecodeError as error:
        raise fault("INVALID_MESSAGE_STRUCTURE", f"it cannot be read: {error!s:.200}") from None


def read_infer(data: bytes) -> InferRequest:
    """The request in a ModelInferRequest.

    Raises:
        CallError: it is none, or its tensors are not what they claim to be.
    """
    head, contents = (data, None) if len(data) < LARGE else apart(data)
    message = read("ModelInferRequest", head)
    tensors.check_many(
        inputs=len(message.inputs),
        outputs=len(message.outputs),
        parameters=len(message.parameters),
        raw_input_contents=len(message.raw_input_contents),
    )
    if contents is None:
        contents = list(message.raw_input_contents)
    version = message.model_version
    if version and not (version.isascii() and version.isdigit()):
        raise fault("MODEL_VERSION_INVALID_FORMAT", f"{version:.100}")
    if contents and len(contents) != len(message.inputs):
        raise fault(
            "INVALID_MESSAGE_STRUCTURE",
            f"{len(contents)} raw_input_contents for {len(message.inputs)} inputs",
        )
    return InferRequest(
        message.model_name,
        message.id,
        [
            _input(each, contents[place] if contents else None)
            for place, each in enumerate(message.inputs)
        ],
        _parameters(message.parameters),
        [Wanted(each.name) for each in message.outputs],
    )


def apart(data: bytes) -> tuple[bytes, list[Data] | None]:
    """A ModelInferRequest without its raw contents, and those, as slices of it.

    One of very many fields is left as it is, without any slices.

    Raises:
        CallError: it is no message.
    """
    view = memoryview(data)
    kept: list[memoryview] = []
    found: list[Data] = []
    begin = place = fields = 0
    end = len(data)
    while place < end:
        start = place
        fields += 1
        if fields > MOST_FIELDS:
            return data, None
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 2:
            size, place = _varint(data, place)
            place += size
        elif kind in (1, 5):
            size, place = 0, place + (8 if kind == 1 else 4)
        else:
            raise fault("INVALID_MESSAGE_STRUCTURE", f"it cannot be read: wire type {kind}")
        if place > end:
            raise fault("INVALID_MESSAGE_STRUCTURE", "it cannot be read: it ends within a field")
        if kind == 2 and key >> 3 == _RAW_INPUT:
            kept.append(view[begin:start])
            found.append(view[place - size : place])
            begin = place
    kept.append(view[begin:end])
    return b"".join(kept), found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70 and place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise fault("INVALID_MESSAGE_STRUCTURE", "it cannot be read: a number without an end")


def _input(message: Any, raw: Data | None) -> Tensor:
    name, datatype, shape = message.name, message.datatype, tuple(message.shape)
    if raw is not None:
        if message.HasField("contents"):
            raise fault(
                "INVALID_MESSAGE_STRUCTURE", f"{name:.256} has contents beside raw_input_contents"
            )
        return tensors.raw(name, datatype, shape, raw)
    items = tensors.count(shape, name)
    contents = message.contents
    member = _CONTENTS.get(datatype)
    if member is None:
        raise fault(
            "INVALID_PRECISION",
            f"{datatype or 'no datatype'} of {name:.256} travels in raw_input_contents only",
        )
    strange = [each.name for each, _ in contents.ListFields() if each.name != member]
    if strange:
        raise fault(
            "INVALID_MESSAGE_STRUCTURE",
            f"{name:.256} of {datatype} has {strange[0]}; its contents are {member}",
        )
    given = getattr(contents, member)
    if datatype == BYTES and len(given) > tensors.MOST_TEXTS:
        raise fault(
            "INVALID_VALUE_COUNT",
            f"{name:.256} has {len(given)} items of {BYTES}; there may be {tensors.MOST_TEXTS}",
        )
    if datatype == BYTES:
        return tensors.Tensor(name, datatype, shape, tensors.prefixed(given))
    if len(given) != items:
        raise fault(
            "INVALID_VALUE_COUNT",
            f"{name:.256} of shape {list(shape)} has {items} items; there are {len(given)}",
        )
    try:
        data = tensors.packed(datatype, given)
    except OverflowError:
        raise fault("INVALID_PRECISION", f"{name:.256} has an item beyond {datatype}") from None
    return tensors.Tensor(name, datatype, shape, data)


def _parameters(told: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in told.items():
        choice = value.WhichOneof("parameter_choice")
        found[name] = getattr(value, choice) if choice else None
    return found


def write_infer(response: InferResponse) -> list[bytes | memoryview]:
    """A ModelInferResponse, in parts that belong one after another."""
    message = message_class("ModelInferResponse")(
        model_name=response.model, model_version=VERSION, id=response.id
    )
    parts: list[bytes | memoryview] = [b""]
    for name, value in response.parameters.items():
        member = _PARAMETERS.get(type(value), "string_param")
        if member == "int64_param" and not -(2**63) <= value < 2**63:
            member = "uint64_param"
        setattr(message.parameters[name], member, value)
    for tensor in response.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        parts += (_RAW_OUTPUT_KEY + _number(len(tensor.data)), tensor.data)
    parts[0] = message.SerializeToString()
    return parts


def write_streamed(response: InferResponse) -> bytes:
    """A ModelStreamInferResponse with an answer."""
    parts = write_infer(response)
    size = sum(map(len, parts))
    return b"".join([_RESPONSE_KEY + _number(size), *parts])


def write_stream_error(text: str) -> bytes:
    """A ModelStreamInferResponse that says what was wrong with one message."""
    message = message_class("ModelStreamInferResponse")(error_message=text)
    written: bytes = message.SerializeToString()
    return written


def write_metadata(told: ModelMetadata) -> bytes:
    """A ModelMetadataResponse."""
    message = message_class("ModelMetadataResponse")(
        name=told.name, versions=[VERSION], platform=told.platform
    )
    for tensor in told.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    for tensor in told.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    written: bytes = message.SerializeToString()
    return written


def write(name: str, /, **fields: Any) -> bytes:
    """A message of plain fields."""
    written: bytes = message_class(name)(**fields).SerializeToString()
    return written


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)
