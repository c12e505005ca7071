"""The tensors of handlers: what the original's own tests of `pyovms` expect, and its traps."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from provider.worker.servables import exporting, pyovms
from provider.worker.servables.pyovms import Tensor, received
from tests.worker.test_worker_main import OLDEST_AND_OTHERS, interpreter

ROOT = Path(__file__).parents[2]
DATATYPES = {
    "float64": "FP64",
    "float32": "FP32",
    "float16": "FP16",
    "int64": "INT64",
    "int32": "INT32",
    "int16": "INT16",
    "int8": "INT8",
    "uint64": "UINT64",
    "uint32": "UINT32",
    "uint16": "UINT16",
    "uint8": "UINT8",
    "bool": "BOOL",
}


class TestOfABuffer:
    @pytest.mark.parametrize("dtype", DATATYPES)
    def test_an_array_keeps_all_it_is(self, dtype):
        array = np.random.default_rng(1).normal(size=(1, 3, 32)).astype(dtype)
        tensor = Tensor("input", array)
        view = memoryview(array)
        assert (tensor.name, tensor.shape, tensor.datatype) == (
            "input",
            (1, 3, 32),
            DATATYPES[dtype],
        )
        assert tensor.data.shape == array.shape
        assert tensor.data.format == view.format
        assert tensor.data.itemsize == array.itemsize
        assert tensor.data.strides == array.strides
        assert tensor.size == array.nbytes
        assert np.array_equal(np.array(tensor), array) and np.array(tensor).dtype == array.dtype
        assert memoryview(tensor) == view

    def test_integers_of_64_bits_keep_their_type_by_either_letter(self):
        assert {Tensor("x", np.zeros(1, letter)).datatype for letter in ("q", "l")} == {"INT64"}
        assert {Tensor("x", np.zeros(1, letter)).datatype for letter in ("Q", "L")} == {"UINT64"}
        assert Tensor("x", np.zeros(1, "i")).datatype == "INT32"

    def test_texts_of_numpy_keep_their_format_and_bytes(self):
        array = np.array(["one", "three"])
        tensor = Tensor("input", array)
        assert tensor.data.format == memoryview(array).format == tensor.datatype == "5w"
        assert bytes(tensor) == array.tobytes()

    def test_bytes_are_numbers_of_eight_bits(self):
        tensor = Tensor("input", b"hello")
        assert (tensor.datatype, tensor.shape) == ("UINT8", (5,))
        assert (tensor.data.format, tensor.data.strides) == ("B", (1,))
        assert bytes(tensor) == b"hello"

    def test_a_datatype_of_ones_own(self):
        array = np.arange(6, dtype="float32").reshape(2, 3)
        tensor = Tensor("input", array, datatype="my_type")
        assert tensor.datatype == "my_type"
        assert np.array_equal(np.frombuffer(tensor, "float32").reshape(tensor.shape), array)

    def test_a_shape_of_ones_own_changes_nothing_but_what_is_told(self):
        array = np.arange(6, dtype="int64").reshape(2, 3)
        tensor = Tensor("input", array, [6])
        assert tensor.shape == (6,)
        assert tensor.data.shape == (2, 3)
        assert tensor.datatype == "INT64"

    def test_both_of_ones_own_by_either_name_of_the_buffer(self):
        for tensor in (
            Tensor("x", b"1234", (2, 2), "my_type"),
            Tensor("x", buffer=b"1234", shape=(2, 2), datatype="my_type"),
            Tensor("x", data=b"1234", shape=(2, 2), datatype="my_type"),
        ):
            assert (tensor.shape, tensor.datatype, bytes(tensor)) == ((2, 2), "my_type", b"1234")

    @pytest.mark.parametrize(
        "view",
        [
            lambda array: array[:, ::2],
            lambda array: array.T,
            lambda array: array[::-1],
            np.asfortranarray,
            lambda array: array[1:, 1:],
        ],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
    def test_memory_that_is_not_in_one_piece_is_read_in_its_order(self, view, dtype):
        array = view(np.arange(12).reshape(3, 4).astype(dtype))
        tensor = Tensor("x", array)
        assert (tensor.shape, tensor.datatype) == (array.shape, DATATYPES[dtype])
        assert bytes(tensor) == array.tobytes()
        assert np.array_equal(np.array(tensor), array)
        assert np.array_equal(np.frombuffer(tensor, dtype).reshape(array.shape), array)

    def test_nothing_is_copied(self):
        array = np.zeros(4)
        tensor = Tensor("x", array)
        array[0] = 7
        assert np.frombuffer(tensor)[0] == 7
        assert tensor.ptr == array.ctypes.data
        assert tensor.ref_obj is array

    def test_it_is_read_only(self):
        tensor = Tensor("x", bytearray(b"123"))
        assert memoryview(tensor).readonly and tensor.data.readonly
        with pytest.raises((TypeError, BufferError)):
            io.BytesIO(b"456").readinto(tensor)
        with pytest.raises(AttributeError):
            tensor.name = "y"

    def test_what_was_read_from_it_outlives_it(self):
        class Owned(np.ndarray):
            pass

        array = np.arange(1000.0).view(Owned)
        owner = weakref.ref(array)
        tensor = Tensor("x", array)
        view = memoryview(tensor)
        del array, tensor
        gc.collect()
        assert view[999] == 999.0
        view.release()
        del view
        gc.collect()
        assert owner() is None

    @pytest.mark.parametrize(
        "arguments",
        [("x",), ("x", 5), ("x", "text"), (5, b""), ("x", b"", None, 5), ("x", b"", [None])],
    )
    def test_what_is_no_tensor_is_refused(self, arguments):
        with pytest.raises(TypeError):
            Tensor(*arguments)
        with pytest.raises(TypeError, match="one buffer"):
            Tensor("x", b"", data=b"")

    def test_it_says_what_it_is(self):
        shown = repr(Tensor("x", b"12"))
        assert shown == "Tensor('x', shape=(2,), datatype='UINT8')"


class TestOfARequest:
    @pytest.mark.parametrize("dtype", DATATYPES)
    @pytest.mark.parametrize("shape", [(2, 3), (), (0,), (2, 0, 3), (1,) * 33])
    def test_a_known_datatype_has_its_format_and_shape(self, dtype, shape):
        array = np.ones(shape, dtype)
        tensor = received("x", DATATYPES[dtype], shape, array.tobytes())
        expected = {"q": "q", "l": "q", "Q": "Q", "L": "Q"}
        form = array.dtype.char
        assert tensor.data.format in {form, expected.get(form, form), "l", "L"}
        assert tensor.shape == tensor.data.shape == shape
        assert np.array(tensor).dtype == array.dtype
        assert np.array_equal(np.array(tensor), array)

    def test_another_datatype_is_bytes(self):
        tensor = received("x", "my_string", (3, 7), b"hello")
        assert (tensor.datatype, tensor.shape) == ("my_string", (3, 7))
        assert (tensor.data.format, tensor.data.shape) == ("B", (5,))

    def test_without_numpy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "numpy", None)
        assert received("x", "INT32", (2, 2), bytes(16)).data.shape == (2, 2)
        empty = received("x", "INT64", (2, 0), b"")
        assert (empty.shape, empty.data.format, empty.size) == ((2, 0), "q", 0)
        half = received("x", "FP16", (2,), b"1234")
        assert (half.shape, half.data.format, bytes(half)) == ((2,), "B", b"1234")


SCRIPT = """
import array, gc, io, sys
sys.path.insert(0, {root!r})
from provider.worker.servables.pyovms import Tensor, received
tensor = Tensor("x", array.array("d", [1.5, 2.5]))
view = memoryview(tensor)
assert (view.format, view.shape, view.readonly, view[1]) == ("d", (2,), True, 2.5)
assert bytes(tensor) == array.array("d", [1.5, 2.5]).tobytes()
try:
    io.BytesIO(b"4").readinto(tensor)
except (TypeError, BufferError):
    pass
else:
    raise AssertionError("written")
del tensor
gc.collect()
assert view.tolist() == [1.5, 2.5]
assert memoryview(received("x", "INT64", (1, 2), bytes(16))).shape == (1, 2)
for _ in range(10000):
    bytes(memoryview(Tensor("x", b"abc")))
assert Tensor("x", b"abc").ptr
print("read")
"""


@pytest.mark.parametrize("version", OLDEST_AND_OTHERS)
def test_on_another_python(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    ran = subprocess.run(
        [python, "-I", "-c", SCRIPT.format(root=str(ROOT))],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (ran.stdout, ran.stderr) == (b"read\n", b"")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the class says so itself")
def test_where_no_class_can_be_made_in_c_bytes_and_numpy_read_it_still(monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    code = Path(exporting.__file__).read_text()
    names: dict = {"__name__": "without_ctypes"}
    exec(compile(code, "exporting.py", "exec"), names)
    plain = names["Exporting"](b"12", memoryview(b"12"))
    assert bytes(plain) == b"12"
    assert np.array(plain).tolist() == [49, 50]
    with pytest.raises(TypeError):
        memoryview(plain)


def test_handlers_import_one_name():
    assert pyovms.__all__ == ["Tensor"]
