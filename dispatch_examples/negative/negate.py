"""Asks for the negative of a picture over NATS, and stores it beside the picture.

    python dispatch_examples/negative/negate.py tower.jpg --width 320 --height 180

The provider is looked for where NATS_URL says, or on this machine.
"""

import argparse
import os
from pathlib import Path

from provider.client import connect_sync


def main():
    """Read the picture, call once, and write what is answered."""
    asked = argparse.ArgumentParser(description="Ask for the negative of a picture.")
    asked.add_argument("picture", type=Path, help="a PNG, JPEG or WebP file")
    asked.add_argument("--width", type=int, default=320, help="of the answer, in pixels")
    asked.add_argument("--height", type=int, default=180)
    asked.add_argument("--lattice", default=os.environ.get("PROVIDER_LATTICE", "default"))
    asked.add_argument("--name", default=os.environ.get("PROVIDER_NAME", "python"))
    said = asked.parse_args()
    question = {"image": said.picture.read_bytes(), "width": said.width, "height": said.height}
    url = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
    with connect_sync(url, lattice=said.lattice, name=said.name) as python:
        answer = python.call("flavienbwk.EncodeService.GetEncode", question)
    made = said.picture.with_name(f"{said.picture.stem}-negative{said.picture.suffix}")
    made.write_bytes(answer["image"])
    print(made)


if __name__ == "__main__":
    main()
