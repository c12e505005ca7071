"""What providers say of themselves over NATS.

The rule of this file: it asks as anybody may, `$SRV.STATS` of the service protocol of NATS.
"""

from __future__ import annotations

import json

import nats

from benchmarks.measuring.processes import PATIENCE


async def requests_of(url: str, name: str) -> int:
    """How many requests a provider has had.

    Args:
        url: of the NATS server.
        name: of the provider.

    Raises:
        nats.errors.Error: nobody answers.
    """
    client = await nats.connect(url)
    try:
        message = await client.request(f"$SRV.STATS.{name}", timeout=PATIENCE)
    finally:
        await client.close()
    return int(json.loads(message.data)["endpoints"][0]["num_requests"])
