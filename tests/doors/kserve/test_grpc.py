"""Operations as models over gRPC, asked by Triton's clients."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from provider import __version__
from tests.conftest import PATIENCE
from tests.kserve_clients import raw, tensor

TEXT = np.array(["héllo"], dtype=object)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def stub(served):
    with grpc.insecure_channel(served.grpc_url) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def refused(work):
    """Status and text of what is refused."""
    with pytest.raises(InferenceServerException) as caught:
        work()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_the_server_lives_and_tells_its_name(served):
    assert served.grpc.is_server_live()
    assert served.grpc.is_server_ready()
    told = served.grpc.get_server_metadata(as_json=True)
    assert told == {"name": "python-provider", "version": __version__}


def test_a_model_is_ready_and_tells_its_tensors(served):
    assert served.grpc.is_model_ready("add")
    assert served.grpc.is_model_ready("add", "1")
    told = served.grpc.get_model_metadata("add", as_json=True)
    assert told == {
        "name": "add",
        "versions": ["1"],
        "platform": "python",
        "inputs": [
            {"name": "a", "datatype": "INVALID"},
            {"name": "b", "datatype": "INVALID"},
            {"name": "scale", "datatype": "INT64", "shape": ["1"]},
        ],
        "outputs": [
            {"name": "sum", "datatype": "INVALID"},
            {"name": "words", "datatype": "BYTES", "shape": ["-1"]},
        ],
    }


@pytest.mark.parametrize("name", ["nobody", ""])
def test_a_model_nobody_knows_is_not_found(served, name):
    status, text = refused(lambda: served.grpc.is_model_ready(name))
    assert (status, text[:38]) == ("NOT_FOUND", "Model with requested name is not found")
    status, text = refused(lambda: served.grpc.get_model_metadata(name))
    assert (status, text[:38]) == ("NOT_FOUND", "Model with requested name is not found")
    status, text = refused(lambda: served.grpc.infer(name, [tensor("x", X)]))
    assert status == "NOT_FOUND"
    assert text.startswith("Mediapipe graph definition with requested name is not found")


@pytest.mark.parametrize("size", [300, 70_000])
def test_a_name_that_no_operation_can_have_is_refused(served, size):
    status, text = refused(lambda: served.grpc.infer("x" * size + ".double", [tensor("x", X)]))
    assert (status, text) == ("INVALID_ARGUMENT", "operation is longer than 256 bytes")
    status, text = refused(lambda: served.grpc.get_model_metadata("x" * size + ".double"))
    assert (status, text) == ("INVALID_ARGUMENT", "operation is longer than 256 bytes")
    assert served.grpc.infer("double", [tensor("x", X)]).as_numpy("output0") is not None


def test_arrays_keep_their_type_and_shape(served):
    inputs = [tensor("a", X), tensor("b", X), tensor("scale", np.array([3]))]
    result = served.grpc.infer("add", inputs, request_id="7")
    got = result.as_numpy("sum")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, X * 6)
    assert result.as_numpy("words").tolist() == [b"float32", b"(2, 3)"]
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == ("add", "1", "7")


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f8"])
def test_every_type_of_numbers_goes_through(served, dtype):
    sent = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    got = served.grpc.infer("echo", [tensor("value", sent)]).as_numpy("output0")
    assert got.dtype == sent.dtype
    np.testing.assert_array_equal(got, sent)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1, 1, 1)])
def test_every_shape_goes_through(served, shape):
    got = served.grpc.infer("double", [tensor("x", np.ones(shape, "f4"))]).as_numpy("output0")
    np.testing.assert_array_equal(got, np.full(shape, 2, "f4"))


def test_ten_megabytes_go_through(serve):
    large = serve(
        """
        import numpy as np
        from provider.dispatch import operation

        @operation
        def double(x: np.ndarray) -> np.ndarray:
            return x * 2
        """,
        PROVIDER_GRPC_MAX_MESSAGE="64MiB",
    )
    sent = np.arange(2_500_000, dtype="f4")
    got = large.grpc.infer("double", [tensor("x", sent)]).as_numpy("output0")
    np.testing.assert_array_equal(got, sent * 2)


def test_texts_go_through(served):
    result = served.grpc.infer("shout", [tensor("text", TEXT)])
    assert result.as_numpy("output0").tolist() == ["HÉLLO".encode()]
    texts = np.array([["a", "b"], ["c", ""]], dtype=object)
    got = served.grpc.infer("echo", [tensor("value", texts)]).as_numpy("output0")
    assert got.tolist() == [[b"a", b"b"], [b"c", b""]]


def test_typed_contents_are_taken(stub):
    request = service_pb2.ModelInferRequest(model_name="count", id="9")
    given = request.inputs.add(name="n", datatype="INT32", shape=[1])
    given.contents.int_contents.append(3)
    answer = stub.ModelInfer(request, timeout=PATIENCE)
    assert answer.id == "9"
    assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
        ("output0", "INT64", [3])
    ]
    assert np.frombuffer(answer.raw_output_contents[0], "<i8").tolist() == [0, 1, 2]


def test_only_outputs_that_are_asked_for_come(served):
    from tritonclient.grpc import InferRequestedOutput

    inputs = [tensor("a", X), tensor("b", X)]
    result = served.grpc.infer("add", inputs, outputs=[InferRequestedOutput("words")])
    assert [each.name for each in result.get_response().outputs] == ["words"]
    status, _ = refused(
        lambda: served.grpc.infer("add", inputs, outputs=[InferRequestedOutput("other")])
    )
    assert status == "INVALID_ARGUMENT"


WRONG = "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("model", "inputs", "status", "text"),
    [
        ("shout", [tensor("foo", TEXT)], WRONG, "Unexpected input - foo is unexpected"),
        ("add", [tensor("a", X)], WRONG, "Invalid number of inputs"),
        ("double", [tensor("x", X)] * 2, "FAILED_PRECONDITION", "Failed to add packet"),
        ("double", [raw("x", [3], "FP32", b"1234")], WRONG, "Invalid content size"),
        ("double", [raw("x", [-1], "FP32", b"1234")], WRONG, "Invalid input shape"),
        ("double", [raw("x", [2**62] * 4, "INT8", b"1")], WRONG, "Invalid input shape"),
        ("shout", [raw("text", [5], "BYTES", b"hello")], WRONG, "Invalid content size"),
        ("count", [tensor("n", TEXT)], WRONG, "Invalid input precision"),
        ("count", [tensor("n", np.array([0.5]))], WRONG, "Input should be a valid integer"),
        ("count", [tensor("n", np.array([13]))], "UNKNOWN", "thirteen"),
        ("fail", [tensor("code", np.array([500]))], "UNKNOWN", "no luck"),
        ("fail", [tensor("code", np.array([404]))], "NOT_FOUND", "no luck"),
    ],
)
def test_what_goes_wrong_has_its_status(served, model, inputs, status, text):
    told, words = refused(lambda: served.grpc.infer(model, inputs))
    assert (told, words[: len(text)]) == (status, text)


def test_a_version_is_a_number(served):
    assert served.grpc.infer("shout", [tensor("text", TEXT)], model_version="3")
    status, text = refused(
        lambda: served.grpc.infer("shout", [tensor("text", TEXT)], model_version="x")
    )
    assert (status, text[:44]) == (
        "INVALID_ARGUMENT",
        "invalid model version format in request - x"[:44],
    )


def test_bytes_that_are_no_message_are_told_so(served):
    with grpc.insecure_channel(served.grpc_url) as channel:
        for name in ("ModelInfer", "ModelReady", "ModelMetadata"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff\xff\xff", timeout=PATIENCE)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert caught.value.details().startswith("Invalid message structure")


def test_the_methods_of_triton_alone_are_not_there(served):
    status, _ = refused(served.grpc.get_model_repository_index)
    assert status == "UNIMPLEMENTED"


def test_metadata_of_the_request_reaches_the_function(served):
    result = served.grpc.infer("seen", [], headers={"x-seen": "it was"})
    assert result.as_numpy("output0").tolist() == [b"it was"]


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_gives_each_item_when_it_is_there(served):
    with served.stream() as stream:
        stream.async_stream_infer("count", [tensor("n", np.array([3]))], request_id="a")
        for expected in range(3):
            result, error = stream.take()
            assert error is None
            assert result.as_numpy("output0").tolist() == [expected]
            assert result.get_response().id == "a"


def test_a_stream_goes_on_after_a_message_that_is_wrong(served):
    with served.stream() as stream:
        stream.async_stream_infer("shout", [tensor("text", TEXT)])
        assert stream.take()[0].as_numpy("output0").tolist() == ["HÉLLO".encode()]
        for wrong, text in (
            ([raw("text", [1], "BYTES", b"x")], "Invalid content size"),
            ([tensor("foo", TEXT)], "Unexpected input"),
            ([raw("text", [-1], "BYTES", b"x")], "Invalid input shape"),
        ):
            stream.async_stream_infer("shout", wrong)
            result, error = stream.take()
            assert result is None
            assert error.message().startswith(text)
        stream.async_stream_infer("double", [tensor("x", X)])
        assert "this stream is one of shout" in stream.take()[1].message()
        stream.async_stream_infer("shout", [tensor("text", TEXT)])
        assert stream.take()[1] is None


def test_a_function_that_fails_does_not_end_the_stream(served):
    with served.stream() as stream:
        stream.async_stream_infer("count", [tensor("n", np.array([13]))])
        assert [stream.take()[0].as_numpy("output0")[0] for _ in range(13)] == list(range(13))
        assert "thirteen" in stream.take()[1].message()
        stream.async_stream_infer("count", [tensor("n", np.array([1]))])
        assert stream.take()[0].as_numpy("output0").tolist() == [0]


def test_a_stream_of_a_model_nobody_knows_ends(served):
    with served.stream() as stream:
        stream.async_stream_infer("nobody", [tensor("x", X)])
        result, error = stream.take()
        assert result is None
        assert error.status() == "StatusCode.NOT_FOUND"


async def test_the_client_of_asyncio_is_answered(served):
    async with triton_aio.InferenceServerClient(served.grpc_url) as client:
        assert await client.is_model_ready("double")
        results = await asyncio.gather(
            *(client.infer("double", [tensor("x", X + n)]) for n in range(10))
        )
        for number, result in enumerate(results):
            np.testing.assert_array_equal(result.as_numpy("output0"), (X + number) * 2)

        async def messages():
            for n in (1, 2):
                yield {"model_name": "count", "inputs": [tensor("n", np.array([n]))]}

        got = []
        async for result, error in client.stream_infer(messages()):
            assert error is None
            got += result.as_numpy("output0").tolist()
        assert got == [0, 0, 1]


def test_a_model_that_is_saved_anew_is_answered_anew(serve):
    changing = serve("""
        from provider.dispatch import operation

        @operation
        def old(x: int) -> int:
            return x
        """)
    assert changing.grpc.infer("old", [tensor("x", np.array([1]))])
    assert changing.http.is_model_ready("old")
    program = changing.provider.environment["PYTHON_DISPATCH"]
    with open(program) as file:
        text = file.read()
    with open(program, "w") as file:
        file.write(text.replace("old(x: int) -> int", "new(y: str) -> str").replace(" x\n", " y\n"))
    result = changing.grpc.infer("new", [tensor("y", TEXT)])
    assert result.as_numpy("output0").tolist() == ["héllo".encode()]
    told = changing.http.get_model_metadata("new")
    assert told["inputs"] == [{"name": "y", "datatype": "BYTES", "shape": [1]}]
    assert not changing.http.is_model_ready("old")


def test_a_stream_that_is_given_up_stops_its_function(serve):
    endless = serve("""
        import itertools
        from provider.dispatch import operation

        @operation
        def numbers(first: int):
            try:
                yield from itertools.count(first)
            finally:
                print("stopped")
        """)
    with endless.stream() as stream:
        stream.async_stream_infer("numbers", [tensor("first", np.array([5]))])
        assert [stream.take()[0].as_numpy("output0")[0] for _ in range(3)] == [5, 6, 7]
        stream.stop_stream(cancel_requests=True)
    endless.provider.wait_for("printed", text="stopped")
    assert endless.grpc.is_server_ready()


def test_a_deadline_is_that_of_the_call(serve):
    waiting = serve("""
        import time
        from provider.dispatch import context, operation

        @operation
        def wait() -> None:
            while not context().cancelled:
                time.sleep(0.01)
            print("gave up")
        """)
    status, _ = refused(lambda: waiting.grpc.infer("wait", [], client_timeout=0.5))
    assert status == "DEADLINE_EXCEEDED"
    waiting.provider.wait_for("printed", text="gave up")
