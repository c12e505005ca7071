"""Almost what was meant: inputs of the corpus with a little of them changed, from a seed.

The rule of this file: the same seed makes the same inputs, on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.target import CORPUS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_ODD = (b"\0", b"\xff", b"\r\n", b"\n", b"9" * 20, b"%", b'"', b"[", b"{", b"\x9f", b"\xbf")


def inputs(chance: random.Random, *targets: str) -> Iterator[bytes]:
    """Inputs of these targets without end, some whole and most of them damaged."""
    known = [
        path.read_bytes() for target in targets for path in sorted((CORPUS / target).iterdir())
    ]
    while True:
        yield damaged(chance, chance.choice(known), chance.choice(known))


def damaged(chance: random.Random, data: bytes, other: bytes) -> bytes:
    """An input with up to four places changed; one of five stays whole.

    Args:
        chance: decides.
        data: to damage.
        other: that pieces are taken from.
    """
    made = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        place = chance.randrange(len(made) + 1)
        kind = chance.randrange(6)
        if kind == 0 and made:  # a bit
            made[place % len(made)] ^= 1 << chance.randrange(8)
        elif kind == 1:  # something is missing
            del made[place : place + chance.randrange(1, 9)]
        elif kind == 2:  # the end is missing
            del made[place:]
        elif kind == 3:  # something odd
            made[place:place] = chance.choice(_ODD)
        elif kind == 4:  # a piece of another
            start = chance.randrange(len(other) + 1)
            made[place:place] = other[start : start + chance.randrange(1, 40)]
        else:  # a piece again
            made[place:place] = made[place : place + chance.randrange(1, 40)]
    return bytes(made)
