"""Pickles of pictures are read, all others refused, and nothing in any of them is ever run."""

from __future__ import annotations

import codecs
import io
import os
import pickle
import pickletools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from provider.dispatch import OperationError
from tests.negative.conftest import ANSWERED_AS, MODES, file_of, nothing_is_done, opened, picture

PROTOCOLS = (2, 3, 4, 5)
HEAD = b"\x80\x04\x8c\x09PIL.Image\x8c\x05Image\x93)\x81"
"""The picture itself, before its state."""


def framed(body: bytes, length: int | None = None) -> bytes:
    """A pickle of protocol 4 in one frame."""
    return b"\x80\x04\x95" + struct.pack("<Q", len(body) if length is None else length) + body


def with_state(state: list, **replaced: bytes) -> bytes:
    """A pickle of a picture with this state, whatever is in it."""
    return HEAD + pickle.dumps(state, 3)[2:-1] + b"b."


def state(info=None, mode="RGB", size=(4, 3), palette=None, pixels=bytes(36)) -> list:
    return [{} if info is None else info, mode, size, palette, pixels]


# --- pictures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_is_answered_with_a_plain_one_in_the_same_protocol(example, mode, protocol):
    answer = example.ask(pickle.dumps(picture(mode), protocol))
    assert answer[:2] == bytes([0x80, protocol])
    names = {
        argument
        for operation, argument, _ in pickletools.genops(answer)
        if operation.name in ("GLOBAL", "SHORT_BINUNICODE", "REDUCE")
    }
    mode = ANSWERED_AS.get(mode, mode)
    assert names <= {"PIL.Image Image", "PIL.Image", "Image", "_codecs encode", mode, None}
    assert pickle.loads(answer).mode == mode


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("kind", "made", "options"),
    [
        ("JPEG", JpegImagePlugin.JpegImageFile, {"dpi": (72, 72), "comment": b"c" * 300}),
        ("PNG", PngImagePlugin.PngImageFile, {"dpi": (72, 72)}),
        ("WEBP", WebPImagePlugin.WebPImageFile, {"lossless": True}),
        ("GIF", GifImagePlugin.GifImageFile, {}),
    ],
)
def test_pictures_of_opened_files_are_pictures(example, kind, made, options, protocol):
    mode = "P" if kind == "GIF" else "RGB"
    asked = opened(file_of(picture(mode, (40, 30)), kind, **options))
    assert type(asked) is made
    answer = pickle.loads(example.ask(pickle.dumps(asked, protocol), *asked.size))
    assert type(answer) is Image.Image
    plain = Image.frombytes(asked.mode, asked.size, asked.tobytes())
    if mode == "P":
        plain.putpalette(asked.getpalette())
    expected = pickle.loads(example.ask(pickle.dumps(plain), *asked.size))
    assert answer.convert("RGB").tobytes() == expected.convert("RGB").tobytes()


def test_a_large_picture_lies_outside_of_the_frames(example):
    asked = pickle.dumps(picture("RGB", (300, 200)), 4)
    frames = [op for op, _, _ in pickletools.genops(asked) if op.name == "FRAME"]
    assert len(frames) == 2
    assert pickle.loads(example.ask(asked, 30, 20)).size == (30, 20)


def test_what_else_is_known_of_a_picture_is_left_out(example):
    asked = picture()
    asked.info = {"comment": "x", "exif": b"y", "icc_profile": b"z", "n": [1.5, None, True, {}]}
    assert pickle.loads(example.ask(pickle.dumps(asked))).info == {"icc_profile": b"z"}


def test_no_bytes_are_bytes(example):
    asked = picture()
    asked.info = {"exif": b""}
    data = pickle.dumps(asked, 2)
    assert b"__builtin__" in data
    assert pickle.loads(example.ask(data)).size == (4, 3)


# --- attacks --------------------------------------------------------------------------------------


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_is_not_run(example, tmp_path, protocol):
    path = tmp_path / "ran"
    attack = Runs(path)
    hidden = picture()
    hidden.info = {"comment": attack}
    for asked in (attack, [attack], hidden, {"image": picture(), "x": attack}):
        data = pickle.dumps(asked, protocol)
        with nothing_is_done():
            refusal = example.outcome(data)
        assert isinstance(refusal, OperationError)
        assert refusal.code == 422
        if protocol >= 2 and asked is not hidden:
            assert "the pickle names '" in refusal.message
    assert not path.exists()
    pickle.loads(pickle.dumps(attack))  # as whoever unpickles would have found out
    assert path.exists()


def bytes_of(claim: int, size: str = "<I", name: bytes = b"B") -> bytes:
    return b"\x80\x04" + name + struct.pack(size, claim) + b"abc"


def doubled(number: int) -> bytes:
    """A list with nine times the memo of this number, which is the memo of the next."""
    return b"](" + b"h%c" % number * 9 + b"eq%c" % (number + 1)


DEEP = b"".join(b"]" for _ in range(9_000)) + b"a" * 8_999
ATTACKS = {
    "a file of its own": (
        b"\x80\x04cPIL.Image\nopen\n(V/etc/passwd\ntR.",
        422,
        "names 'PIL.Image open'",
    ),
    "another name": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", 422, "names 'os system'"),
    "a name with dots": (b"\x80\x04\x8c\x09PIL.Image\x8c\x0cImage.__init\x93.", 422, "names '"),
    "a name beside": (b"\x80\x04\x8c\x0fos.ImageFile\nPI\x8c\x05Image\x93.", 422, "names '"),
    "encoding otherwise": (b"\x80\x02c_codecs\nencode\nX\1\0\0\0aX\3\0\0\0zip\x86R.", 422, "calls"),
    "bytes of a number": (b"\x80\x02c__builtin__\nbytes\nK\xff\x85R.", 422, "calls something"),
    "calling a picture": (b"\x80\x02cPIL.Image\nImage\n)R.", 422, "calls something"),
    "making no picture": (b"\x80\x02c_codecs\nencode\n)\x81.", 422, "something else than one"),
    "picture with arguments": (b"\x80\x02cPIL.Image\nImage\nK\1\x85\x81.", 422, "than one picture"),
    "two pictures": (HEAD + HEAD[2:] + b".", 422, "something else than one picture"),
    "no picture": (b"\x80\x04N.", 422, "something else than a picture"),
    "no state": (HEAD + b".", 422, "something else than a picture"),
    "a list of one": (b"\x80\x04]" + with_state(state())[2:-1] + b"a.", 422, "than a picture"),
    "two states": (HEAD + b"]b]b.", 422, "two states"),
    "a state that is a map": (HEAD + b"}b.", 422, "finds no list"),
    "a registered extension": (b"\x80\x02\x82\x01.", 422, "EXT1"),
    "a persistent id": (b"\x80\x02K\x01Q.", 422, "BINPERSID"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", 422, "INST"),
    "an object": (b"\x80\x02(o.", 422, "OBJ"),
    "made with keywords": (b"\x80\x04\x92.", 422, "NEWOBJ_EX"),
    "a buffer from elsewhere": (b"\x80\x05\x97.", 422, "NEXT_BUFFER"),
    "a byte array": (b"\x80\x05\x96" + bytes(8) + b".", 422, "BYTEARRAY8"),
    "no operation": (b"\x80\x04\xff.", 422, "the operation of the code '\\xff'"),
    "nothing after it": (b"\x80\x04", 422, "ends before its end is said"),
    "a name without end": (b"\x80\x04c" + b"PIL" * 1_000, 422, "a name has no end"),
    "a text with escapes": (b"\x80\x02S'\\d'\n.", 422, "the operation STRING"),
    "protocol 6": (b"\x80\x06N.", 422, "protocol 6"),
    "protocol 1": (b"\x80\x01N.", 422, "protocol 1"),
    "protocol twice": (b"\x80\x04\x80\x04N.", 422, "protocol 4"),
    "bytes that are not there": (bytes_of(2**32 - 1), 422, "broken"),
    "more of them": (bytes_of(2**63 - 1, "<Q", b"\x8e"), 422, "broken"),
    "and more": (bytes_of(2**64 - 1, "<Q", b"\x8e"), 422, "broken"),
    "text that is not there": (bytes_of(2**32 - 1, "<I", b"X"), 422, "broken"),
    "a number that is not there": (bytes_of(2**31 - 1, "<i", b"\x8b"), 422, "LONG4"),
    "a large memo": (HEAD + b"r\xff\xff\xff\xff.", 422, "than a picture"),
    "a memo that is not there": (b"\x80\x04j\xff\xff\xff\xff.", 422, "no memo 4294967295"),
    "many operations": (b"\x80\x04" + b"}" * 1_000_000 + b".", 413, "more than 10000 operations"),
    "many marks": (b"\x80\x04" + b"(" * 1_000_000 + b".", 413, "more than 10000 operations"),
    "many memos": (b"\x80\x04N" + b"\x94" * 1_000_000 + b".", 413, "more than 10000 operations"),
    "many names": (b"\x80\x04" + b"cPIL.Image\nImage\n" * 20_000 + b".", 413, "operations"),
    "nested lists": (b"\x80\x04" + DEEP[:9_990] + b".", 422, "than a picture"),
    "nested tuples": (b"\x80\x04)" + b"\x85" * 9_990 + b".", 422, "than a picture"),
    "a tuple as a key": (b"\x80\x04})" + b"\x85" * 9_000 + b"Ns.", 422, "finds no str"),
    "keys of all kinds": (b"\x80\x04}(K\1Nu.", 422, "other keys than texts"),
    "an odd key": (b"\x80\x04}(X\0\0\0\0u.", 422, "other keys than texts"),
    "a list of itself": (b"\x80\x04]q\0h\0a.", 422, "than a picture"),
    "billions of laughs": (
        b"\x80\x04]q\0"
        + b"".join(b"](" + b"h%c" % n * 9 + b"eq%c" % (n + 1) for n in range(99))
        + b".",
        422,
        "than a picture",
    ),
    "a mark as a value": (b"\x80\x04(\x85.", 422, "finds no object"),
    "an empty stack": (b"\x80\x04\x85.", 422, "broken"),
    "no mark": (b"\x80\x04]e.", 422, "broken"),
    "no end": (HEAD, 422, "broken"),
    "only a beginning": (b"\x80", 422, "broken"),
    "more after the end": (with_state(state()) + b"N", 422, "does not end where"),
    "a frame too long": (framed(HEAD[2:] + b".", 2**64 - 1), 422, "a frame is longer"),
    "a frame a byte too long": (framed(b"N.", 3), 422, "a frame is longer"),
    "a frame too short": (framed(b"X\1\0\0\0aN.", 3), 422, "a frame ends within"),
    "a frame in a frame": (framed(framed(b"N.")[2:]), 422, "a frame ends within"),
    "no text in text": (b"\x80\x04X\1\0\0\0\xff.", 422, "broken"),
    "text that is no latin": (
        b"\x80\x02c_codecs\nencode\nX\3\0\0\0\xe2\x82\xacX\6\0\0\0latin1\x86R.",
        422,
        "broken",
    ),
    "encoding no text": (b"\x80\x02c_codecs\nencode\nNX\6\0\0\0latin1\x86R.", 422, "no text"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_with_the_reason(example, name):
    data, code, reason = ATTACKS[name]
    with nothing_is_done():
        refusal = example.outcome(data)
    assert isinstance(refusal, OperationError)
    assert (refusal.code, reason in refusal.message) == (code, True), refusal.message
    assert refusal.message.isprintable()
    assert len(refusal.message) < 400
    assert example.refused(data) == (code, refusal.message)


STATES = {
    "few parts": (state()[:4], 422, "has 4 parts"),
    "no map": (state(info=[]), 422, "not made of"),
    "pixels that are text": (state(pixels="x" * 36), 422, "not made of"),
    "a mode that is none": (state(mode="RGBQ"), 422, "the mode 'RGBQ'"),
    "a mode that is no text": (state(mode=7), 422, "not made of"),
    "a long mode": (state(mode="\u2028" * 9_000), 422, "has the mode"),
    "a size of one": (state(size=(4,)), 422, "not two integers"),
    "a size that is a list": (state(size=[4, 3]), 422, "not two integers"),
    "a size of booleans": (state(size=(True, True), pixels=bytes(3)), 422, "not two integers"),
    "a size of fractions": (state(size=(4.0, 3.0)), 422, "not two integers"),
    "no pixels": (state(size=(0, 0), pixels=b""), 422, "is 0 by 0 pixels"),
    "less than none": (state(size=(-4, -3)), 422, "is -4 by -3 pixels"),
    "many pixels": (state(size=(2**31 - 1, 2**31 - 1)), 413, "a side has at most 65535"),
    "an enormous number": (state(size=(2**2000, 1)), 413, "a side has at most 65535"),
    "a few too many": (state(size=(4097, 4096)), 413, "16781312 in all; at most 16777216"),
    "a byte less": (
        state(pixels=bytes(35)),
        422,
        "35 bytes of pixels; 4 by 3 of the mode RGB are 36",
    ),
    "a byte more": (state(pixels=bytes(37)), 422, "37 bytes of pixels"),
    "bits that do not fill bytes": (state(mode="1", size=(9, 2), pixels=bytes(3)), 422, "1 are 4"),
    "a palette for no reason": (state(palette=[0, 0, 0]), 422, "the mode RGB has none"),
    "a palette for grey": (state(mode="L", pixels=bytes(12), palette=[]), 422, "L has none"),
    **{
        f"a palette of {name}": (state(mode="P", pixels=bytes(12), palette=palette), 422, "palette")
        for name, palette in {
            "bytes": bytes(6),
            "four": [1, 2, 3, 4],
            "too many": [0] * 771,
            "too much": [256, 0, 0],
            "less than nothing": [-1, 0, 0],
            "booleans": [True, True, True],
            "texts": ["a", "b", "c"],
        }.items()
    },
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_is_refused_with_the_reason(example, name):
    parts, code, reason = STATES[name]
    data = with_state(parts)
    with nothing_is_done():
        refusal = example.outcome(data)
    assert isinstance(refusal, OperationError)
    assert (refusal.code, reason in refusal.message) == (code, True), refusal.message
    assert example.refused(data) == (code, refusal.message)


@pytest.mark.parametrize("strange", ["x", -1, 256, b"x" * 257, (1, 2), (1, 2, 300), [1, 2, 3], {}])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_clear_colour_that_is_none_is_not_minded(example, mode, strange):
    asked = picture(mode)
    plain = example.ask(pickle.dumps(asked))
    asked.info = {"transparency": strange, "icc_profile": 5}
    assert example.ask(pickle.dumps(asked)) == plain


# --- mutations ------------------------------------------------------------------------------------


class Careful(pickle.Unpickler):
    """Python's own, which finds nothing but what pictures are made of."""

    def find_class(self, module, name):
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        assert module.startswith("PIL.")
        assert name.startswith(("Image", "JpegImageFile")) or name.endswith("ImageFile")
        return Image.Image


def good() -> list[bytes]:
    found = [pickle.dumps(picture(mode), number) for mode in ("RGB", "P") for number in PROTOCOLS]
    jpeg = opened(file_of(picture("RGB", (8, 8)), "JPEG", dpi=(72, 72)))
    return [*found, *(pickle.dumps(jpeg, number) for number in PROTOCOLS)]


@st.composite
def mutated(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(good())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["change", "cut", "insert", "double", "end", "operation"])):
            case "change":
                data[at:end] = draw(st.binary(min_size=end - at, max_size=end - at))
            case "cut":
                del data[at:end]
            case "insert":
                data[at:at] = draw(st.binary(max_size=12))
            case "double":
                data[at:at] = data[at:end]
            case "end":
                del data[at:]
            case "operation":
                codes = [operation.code.encode("latin1") for operation in pickletools.opcodes]
                data[at : at + 1] = draw(st.sampled_from(codes))
    return bytes(data)


@given(data=mutated())
def test_a_changed_pickle_is_read_as_python_reads_it_or_refused(example, data):
    example.outcome(good()[0])
    with nothing_is_done():
        outcome = example.outcome(data, 4, 3)
    if isinstance(outcome, OperationError):
        assert outcome.code in (413, 422)
        assert outcome.message.isprintable()
        return
    assert pickle.loads(outcome).size == (4, 3)
    with nothing_is_done():
        read, _ = example.dispatch.module.pickled.read(data)
    same = Careful(io.BytesIO(data)).load()
    assert (read.mode, read.size, read.tobytes()) == (same.mode, same.size, same.tobytes())


@given(data=st.binary(max_size=200))
def test_any_bytes_after_the_first_are_refused(example, data):
    for beginning in (b"", b"\x80\x02", b"\x80\x04", HEAD):
        with nothing_is_done():
            outcome = example.outcome(beginning + data)
        assert isinstance(outcome, OperationError)
        assert outcome.code in (413, 422)
