"""The operations example: a tea shop that anybody on the NATS network can call.

Every function that says `@operation` can be called by its name. Save this file while the provider
runs, and the next call runs what you saved.
"""

import asyncio
from dataclasses import dataclass

from provider.dispatch import Context, OperationError, health, operation, startup

PRICES = {}


@startup
def load_prices():
    """Done before the first call; what takes long to load belongs here."""
    PRICES.update(tea=450, coffee=600, cake=350)


@health
def something_to_sell():
    """Asked between calls; False, or an exception, says that something is wrong."""
    return bool(PRICES)


@dataclass
class Line:
    """One line of an order."""

    item: str
    count: int = 1


@dataclass
class Receipt:
    """What a guest gets."""

    number: int
    cents: int


@operation
def price(item: str, count: int = 1) -> int:
    """What so many of an item cost, in cents."""
    if item not in PRICES:
        raise OperationError(f"there is no {item}", code=404, details=sorted(PRICES))
    return PRICES[item] * count


class Till:
    """Made once, when this file is loaded; what it knows, it knows until the next save."""

    def __init__(self):
        self.receipts = []

    @operation
    def order(self, lines: list[Line]) -> Receipt:
        """Order something."""
        cents = sum(price(line.item, line.count) for line in lines)
        receipt = Receipt(len(self.receipts) + 1, cents)
        self.receipts.append(receipt)
        return receipt

    @operation(name="till.takings")
    def takings(self) -> int:
        """What the orders came to so far, in cents."""
        return sum(receipt.cents for receipt in self.receipts)


@operation(cache=60)
def menu() -> list:
    """What there is; asked again within a minute, the provider answers by itself."""
    print("the menu is written")
    return sorted(PRICES)


@operation
def brew(cups: int):
    """Cup after cup. Who does not ask for a stream gets them all at once."""
    for cup in range(1, cups + 1):
        yield f"cup {cup}"


@operation(batch=32, wait=0.005)
def score(notes: list[str]) -> list:
    """Given the notes of several guests at once, answers each; here by their length."""
    return [len(note) % 5 + 1 for note in notes]


@operation
async def patience(context: Context) -> str:
    """How long the guest waits; what a call knows of itself is in its context."""
    await asyncio.sleep(0)
    return f"{context.operation} is waited for, {round(context.remaining)} seconds more"
