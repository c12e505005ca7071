"""The messages of a streamed answer, and what its caller says meanwhile (docs/protocol.md).

The rule of this file: a chunk is wrapped as the bytes it came as. What a caller says is small, and
what cannot be read says nothing. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provider.errors import BadRequest, BadResult, CallError
from provider.wire import json_form
from provider.wire.values import Limits, Values, shown

if TYPE_CHECKING:
    from provider.wire.advance import Advance

MOST_SAID = 256
"""Most bytes of a message in which a caller says how far it is."""
_ID, _CHUNK, _SEQ, _END = b"\x62id", b"\x65chunk", b"\x63seq", b"\x63end"
_PROGRESS = b"\x68progress"
_PLAIN = Values(Limits())


def chunk_answer(chunk: bytes, number: int, request_id: bytes = b"") -> bytes:
    """The message around one encoded item.

    Args:
        chunk: one CBOR item, as the worker wrote it.
        number: of the chunk, from 0.
        request_id: `envelope.Request.id`.
    """
    head = b"\xa3" + _ID + request_id if request_id else b"\xa2"
    return head + _CHUNK + chunk + _SEQ + _PLAIN.encode(number)


def end_answer(count: int, request_id: bytes = b"") -> bytes:
    """The message that ends a stream of so many chunks."""
    head = b"\xa2" + _ID + request_id if request_id else b"\xa1"
    return head + _END + _PLAIN.encode(count)


def chunk_answer_json(chunk: bytes, number: int) -> bytes:
    """As `chunk_answer`, around a JSON text."""
    return b'{"chunk":%b,"seq":%d}' % (chunk, number)


def end_answer_json(count: int) -> bytes:
    """As `end_answer`, in JSON."""
    return b'{"end":%d}' % count


def progress_answer(told: Advance | None, request_id: bytes = b"") -> bytes:
    """The message that says how far a stream is; None: that it was accepted."""
    head = b"\xa2" + _ID + request_id if request_id else b"\xa1"
    return head + _PROGRESS + _PLAIN.encode(told)


def progress_answer_json(told: Advance | None) -> bytes:
    """As `progress_answer`, in JSON."""
    return b'{"progress":%b}' % json_form.encode(told, _PLAIN)


@dataclass(frozen=True)
class Said:
    """What a caller said of its stream.

    Attributes:
        credit: chunks it has taken since it last said so.
        cancel: whether it wants no more.
    """

    credit: int = 0
    cancel: bool = False


def read_said(data: bytes) -> Said:
    """What a caller says in this message: a CBOR map or JSON object with `credit` or `cancel`.

    Raises:
        BadRequest: nothing of that.
    """
    if len(data) > MOST_SAID:
        raise BadRequest(f"{len(data)} bytes about a stream; {{'credit': n}} takes few")
    is_json = data[:1] == b"{"
    said = json_form.decode(data, _PLAIN) if is_json else _PLAIN.decode(data)
    if isinstance(said, dict):
        credit, cancel = said.get("credit", 0), said.get("cancel", False)
        if type(credit) is int and credit >= 0 and type(cancel) is bool and (credit or cancel):
            return Said(credit, cancel)
    raise BadRequest(f"{shown(said)} about a stream; send {{'credit': n}} or {{'cancel': true}}")


def write_said(said: Said) -> bytes:
    """The message that says so, in CBOR."""
    return _PLAIN.encode({"cancel": True} if said.cancel else {"credit": said.credit})


class StreamReader:
    """Reads the messages of one streamed answer.

    Args:
        values: with one level of depth more than a chunk may have.

    Attributes:
        count: chunks read.
        ended: whether the end was among them, or an error.
        told: what the newest of them said of how far the stream is, None for nothing.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self.count = 0
        self.ended = False
        self.told: dict[str, Any] | None = None

    def read(self, data: bytes) -> list[Any]:
        """The chunk in a message, as a list of one; an empty list where there is none.

        A chunk that came before is none: a provider sends again what a broken connection may have
        taken along.

        Raises:
            CallError: the error that ended the stream.
            BadResult: the bytes are no part of a stream, or a part of it is missing.
        """
        self.told = None
        try:
            answer = self._values.decode(data)
        except BadRequest as error:
            raise BadResult(f"a part of the stream cannot be read: {error}") from None
        if isinstance(answer, dict):
            if "error" in answer:
                self.ended = True
                raise CallError.from_map(answer["error"])
            if "chunk" in answer:
                number = answer.get("seq")
                if type(number) is int and 0 <= number < self.count:
                    return []
                self._check(number)
                self.count += 1
                return [answer["chunk"]]
            if "end" in answer:
                self._check(answer["end"])
                self.ended = True
                return []
            if "progress" in answer:
                told = answer["progress"]
                self.told = told if isinstance(told, dict) else None
                return []
            if "result" in answer:
                self.ended = True
                raise BadResult("the provider does not stream: it answered with a result")
        raise BadResult("the answer is no part of a stream; is another service on this subject?")

    def _check(self, number: Any) -> None:
        if number != self.count:
            raise BadResult(
                f"chunk {self.count} of the stream is missing: {shown(number)} came instead"
            )
