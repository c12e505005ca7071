"""Which actors may call: the links, by the key of the actor.

The rule of this file: one link for each actor, and the first one stays until it is deleted,
whatever a second one says; hosts publish a link more than once. Nobody signs links, so what they
may take of our memory is bounded. Source: wasmbus-rpc 0.15 (`provider.rs`, `provider_main.rs`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provider.wire.wasmbus import LinkDefinition, WasmCloudEntity

DUPLICATE = "Ignoring duplicate link put"
DENIED = "put_link denied"


class Put(NamedTuple):
    """What became of a link.

    Attributes:
        stored: the actor may call from now on.
        note: for the log, empty when there is nothing to say.
    """

    stored: bool
    note: str = ""


class Links:
    """The links of this process. A container of the actors' keys.

    Args:
        initial: those in the host data, the last one of an actor counting.
        most: links held.
        most_bytes: memory their texts may take together, in bytes of UTF-8.
    """

    def __init__(
        self,
        initial: Iterable[LinkDefinition] = (),
        *,
        most: int = 10_000,
        most_bytes: int = 64 << 20,
    ) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._links: dict[str, LinkDefinition] = {}
        for link in initial:
            self.delete(link.actor_id)
            self._store(link)

    def put(self, link: LinkDefinition) -> Put:
        """Let an actor call, from linkdefs.put."""
        if link.actor_id in self._links:
            return Put(stored=False, note=DUPLICATE)
        if not link.actor_id:
            return Put(stored=False, note=f"{DENIED}: it names no actor")
        if len(self._links) >= self._most:
            return Put(stored=False, note=f"{DENIED}: there are {self._most} links already")
        if self._bytes + _size(link) > self._most_bytes:
            return Put(
                stored=False, note=f"{DENIED}: links would take over {self._most_bytes} bytes"
            )
        self._store(link)
        return Put(stored=True)

    def delete(self, actor_id: str) -> bool:
        """Let an actor call no more, from linkdefs.del; whether it could until now."""
        link = self._links.pop(actor_id, None)
        if link is None:
            return False
        self._bytes -= _size(link)
        return True

    def get(self, actor_id: str) -> LinkDefinition | None:
        """The link of an actor, None when there is none."""
        return self._links.get(actor_id)

    def __contains__(self, actor_id: object) -> bool:
        return actor_id in self._links

    def __iter__(self) -> Iterator[LinkDefinition]:
        return iter(list(self._links.values()))

    def __len__(self) -> int:
        return len(self._links)

    def _store(self, link: LinkDefinition) -> None:
        self._links[link.actor_id] = link
        self._bytes += _size(link)


def matches(link: LinkDefinition, target: WasmCloudEntity) -> bool:
    """Whether an invocation's target is what the link is for.

    The protocol does not ask for it, a strict provider may. An empty contract passes, because the
    test harness sends none.
    """
    return (
        target.public_key == link.provider_id
        and target.link_name == link.link_name
        and target.contract_id in (link.contract_id, "")
    )


def _size(link: LinkDefinition) -> int:
    texts = (link.actor_id, link.provider_id, link.link_name, link.contract_id)
    pairs = (text for pair in link.values.items() for text in pair)
    return sum(len(text.encode()) for text in (*texts, *pairs))
