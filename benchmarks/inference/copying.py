"""The plain copy: a gRPC server of two processes, of which neither looks at what it is sent.

    python -m benchmarks.inference.copying PORT

The rule of this file: it does what nobody can do without who has a second process, and no more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from benchmarks.inference.question import METHOD, MOST_BYTES, OPTIONS, grpc


async def copy(port: int) -> None:
    """Serve every call with its question, by way of a second process."""
    ours, others = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while data := others.recv(1 << 20):
            others.sendall(data)
        os._exit(0)
    others.close()
    reader, writer = await asyncio.open_connection(sock=ours, limit=MOST_BYTES)
    one = asyncio.Lock()

    async def infer(request: bytes, _context: Any) -> bytes:
        async with one:
            writer.write(request)
            answer, _ = await asyncio.gather(reader.readexactly(len(request)), writer.drain())
        return answer

    server = grpc().aio.server(options=OPTIONS)
    handler = grpc().unary_unary_rpc_method_handler(infer)
    service, _, method = METHOD.strip("/").partition("/")
    handlers = grpc().method_handlers_generic_handler(service, {method: handler})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(copy(int(sys.argv[1])))
