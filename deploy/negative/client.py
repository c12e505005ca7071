"""Has every picture of a folder made into its negative, over gRPC.

    python3 client.py [server:port [input [output]]]

It sends the files as they are, and is answered with files; nothing is pickled on the way.
"""

# ruff: noqa: INP001, T201  a program of its own, which tells people what it does

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE / "grpc_compiled"))

import grpc  # noqa: E402  the folder of what was compiled has to be known first
import image_transform_pb2  # noqa: E402
import image_transform_pb2_grpc  # noqa: E402

SIZE = (320, 180)
PATIENCE = 60.0
"""Seconds to wait for an answer."""
MOST_BYTES = 64 * 1024 * 1024


def main(
    server: str = "server:13000",
    source: str | Path = HERE / "input",
    target: str | Path = HERE / "output",
) -> int:
    """Send one picture after the other; the number of those that could not be made."""
    bound = [(f"grpc.max_{way}_message_length", MOST_BYTES) for way in ("send", "receive")]
    failed = 0
    with grpc.insecure_channel(server, options=bound) as channel:
        service = image_transform_pb2_grpc.EncodeServiceStub(channel)
        for picture in sorted(Path(source).iterdir()):
            if picture.name.startswith("."):
                continue
            question = image_transform_pb2.sourceImage(
                image=picture.read_bytes(), width=SIZE[0], height=SIZE[1]
            )
            try:
                answer = service.GetEncode(question, timeout=PATIENCE, wait_for_ready=True)
            except grpc.RpcError as error:
                failed += 1
                print(f"{picture.name}: {error.code().name}: {error.details()}")
                continue
            (Path(target) / picture.name).write_bytes(answer.image)
            print(f"{picture.name}: done")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
