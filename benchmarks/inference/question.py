"""What an inference is asked, and what its answer must have.

The rule of this file: both are bytes of the protocol, made and read by everybody's client of it;
nothing of the provider is in them.
"""

from __future__ import annotations

import array
import importlib
import struct
from typing import Any

MOST_BYTES = 64 * 1024 * 1024
"""Bytes of the longest message."""
FLOATS = 10_000_000 // 4
"""Numbers in the tensor."""
METHOD = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = [
    ("grpc.max_receive_message_length", MOST_BYTES),
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.enable_http_proxy", 0),
]
"""Of servers and channels of gRPC."""


def grpc() -> Any:
    """The library, which has no types."""
    return importlib.import_module("grpc")


def messages() -> Any:
    """The messages of the protocol, as everybody's client has them."""
    return importlib.import_module("tritonclient.grpc.service_pb2")


def question(cell: str) -> tuple[bytes, bytes]:
    """The message, and the contents of the one output its answer must have.

    Args:
        cell: `text` or `tensor`.
    """
    request = messages().ModelInferRequest(model_name=cell)
    if cell == "text":
        text = b"Make this text uppercase."
        request.inputs.add(name="value", datatype="BYTES", shape=[1])
        contents, expected = (struct.pack("<I", len(each)) + each for each in (text, text.upper()))
    else:
        request.inputs.add(name="value", datatype="FP32", shape=[FLOATS])
        floats = array.array("f", range(1, FLOATS + 1))
        contents = floats.tobytes()
        expected = array.array("f", [2 * each for each in floats]).tobytes()
    request.raw_input_contents.append(contents)
    return request.SerializeToString(), expected


def is_right(answer: bytes, expected: bytes) -> bool:
    """Whether an answer has what it must have, said in either of the protocol's two ways."""
    read = messages().ModelInferResponse.FromString(answer)
    if read.raw_output_contents:
        return bool(read.raw_output_contents[0] == expected)
    [output] = read.outputs
    if output.contents.bytes_contents:
        return bool(output.contents.bytes_contents[0] == expected[4:])
    return array.array("f", output.contents.fp32_contents).tobytes() == expected
