"""Which operation a model is, whatever becomes of the program meanwhile."""

from __future__ import annotations

import cbor2
import pytest

from provider.doors.backend import Described, Health
from provider.doors.kserve.models import MOST_PREFIXED, BackendModels
from provider.errors import BadResult, CallError, CallTimeout, Unavailable
from provider.kserve.tensors import About, InferRequest, Tensor
from provider.wire.values import Limits

INTEGER, TEXT = {"type": "integer"}, {"type": "string"}


def told(name, signature="(x)", *, free=True, streams=False):
    return {"name": name, "free": free, "signature": signature, "doc": "", "streams": streams}


class Backend:
    """One whose program changes when the test says so."""

    wants_headers = False
    outdated = False

    def __init__(self, *operations, argument=INTEGER):
        self.known = Described(1, operations)
        self.next = self.known
        self.argument = argument
        self.asked = 0
        self.calls = []
        self.started = True
        self.trouble = None
        self.result = None

    def described(self):
        return self.known

    async def refresh(self):
        self.known = self.next
        return self.known

    async def schemas(self):
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return {each["name"]: {"argument": self.argument} for each in self.known.operations}

    async def health(self):
        return Health(live=True, ready=self.started, started=self.started)

    async def call(self, call):
        self.calls.append(call)
        return cbor2.dumps(call.operation) if self.result is None else self.result


def models(backend):
    return BackendModels(backend, Limits())


def request(model="f"):
    return InferRequest(model, inputs=[Tensor("x", "INT8", (1,), b"\5")])


async def test_a_name_nobody_knows_is_asked_for_again():
    backend = Backend()
    backend.next = Described(2, (told("f"),))
    assert await models(backend).ready("f")


async def test_what_is_saved_is_read_before_the_request():
    backend = Backend(told("old"))
    backend.next = Described(2, (told("f"),))
    backend.outdated = True
    with pytest.raises(CallError) as caught:
        await models(backend).ready("old")
    assert caught.value.code == 404


async def test_what_is_known_of_a_model_is_that_of_its_load():
    backend = Backend(told("f"))
    asked = models(backend)
    for _ in range(2):
        assert (await asked.metadata("f")).inputs[0].datatype == "INT64"
    assert backend.asked == 1
    backend.known, backend.argument = Described(2, (told("f"),)), TEXT
    assert (await asked.metadata("f")).inputs[0].datatype == "BYTES"
    assert backend.asked == 2


async def test_a_prefix_is_the_callers_where_the_author_left_it_free():
    backend = Backend(told("f"), told("a.g", free=False))
    asked = models(backend)
    await asked.infer(request("any.where.f"), About())
    assert backend.calls[0].operation == "any.where.f"
    assert (await asked.metadata("x.f")).name == "x.f"
    assert await asked.ready("a.g")
    for name in ("g", "b.g", "x.a.g", "any.f.x"):
        with pytest.raises(CallError) as caught:
            await asked.ready(name)
        assert caught.value.code == 404


async def test_names_that_callers_make_up_are_not_kept_for_ever():
    asked = models(Backend(told("f")))
    for number in range(MOST_PREFIXED + 100):
        await asked.metadata(f"{number}.f")
    assert len(asked._made) <= MOST_PREFIXED + 1


async def test_before_the_program_is_loaded_there_is_no_saying():
    backend = Backend()
    backend.started = False
    with pytest.raises(Unavailable, match="being loaded"):
        await models(backend).infer(request(), About())
    assert not await models(backend).server_ready()


async def test_what_nobody_can_say_is_said():
    backend = Backend(told("f"))
    backend.trouble = CallTimeout("the worker did not say")
    asked = models(backend)
    assert await asked.ready("f")
    with pytest.raises(CallTimeout, match="did not say"):
        await asked.infer(request(), About())
    backend.trouble = None
    assert (await asked.infer(request(), About())).outputs


async def test_a_call_has_what_is_known_of_its_request():
    backend = Backend(told("f"))
    await models(backend).infer(request(), About("id", 5.0, {"a": "b"}))
    [call] = backend.calls
    assert (call.id, call.timeout, call.headers) == ("id", 5.0, {"a": "b"})
    assert (call.payload, call.encoding) == (b"\5", 0)


async def test_a_result_that_is_none_is_not_the_fault_of_who_asked():
    backend = Backend(told("f"))
    backend.result = b"\xa1\x61"
    with pytest.raises(BadResult, match="the result cannot be read: "):
        await models(backend).infer(request(), About())


async def test_without_inputs_there_is_no_argument():
    backend = Backend(told("f"), argument={"type": "null"})
    await models(backend).infer(InferRequest("f"), About())
    assert (backend.calls[0].payload, backend.calls[0].encoding) == (b"", 2)
