"""The negative example in this process, and pictures to try it with."""

from __future__ import annotations

import contextlib
import io
import random
import resource
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

import provider.doors.grpc  # noqa: F401  it sees to it that processes with grpc can start others
from provider.dispatch import OperationError
from provider.errors import HandlerError
from provider.testing import in_process
from tests.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ROOT / "dispatch_examples" / "negative"
PROGRAM = FOLDER / "dispatch.py"
NAME = "flavienbwk.EncodeService.GetEncode"
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"),
    *("LAB", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)
ANSWERED_AS = {"I;16N": "I;16"}
"""The modes of answers that are others than those of the questions."""
PAGE = resource.getpagesize()


class Example:
    """The example, loaded with these variables in its environment.

    Attributes:
        dispatch: what `in_process.load` gives.
    """

    def __init__(self, dispatch) -> None:
        self.dispatch = dispatch

    def ask(self, image: bytes, width: int = 4, height: int = 3) -> bytes:
        asked = {"image": image, "width": width, "height": height}
        answer = self.dispatch.call(NAME, asked)
        assert list(answer) == ["image"]
        return answer["image"]

    def outcome(self, image: bytes, width: int = 4, height: int = 3) -> bytes | OperationError:
        """As `ask`, without the provider around it, and the refusal as a value."""
        try:
            return self.dispatch.module.get_encode(image, width, height)["image"]
        except OperationError as error:
            return error

    def refused(self, image: bytes, width: int = 4, height: int = 3) -> tuple[int, str]:
        """Code and message of the refusal, which is one on purpose."""
        with pytest.raises(HandlerError) as raised:
            self.ask(image, width, height)
        assert raised.value.type == "OperationError", raised.value.traceback
        return raised.value.code, raised.value.message


@contextlib.contextmanager
def loaded(**environment: str) -> Iterator[Example]:
    bound = Image.MAX_IMAGE_PIXELS
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            dispatch = stack.enter_context(in_process.load(PROGRAM))
        yield Example(dispatch)
    Image.MAX_IMAGE_PIXELS = bound


@pytest.fixture(scope="module")
def example():
    with loaded() as made:
        yield made


@pytest.fixture(scope="module")
def original():
    """The example as its ancestor was."""
    with loaded(NEGATIVE_LIKE_THE_ORIGINAL="on") as made:
        yield made


def picture(mode: str = "RGB", size: tuple[int, int] = (4, 3), seed: int = 1) -> Image.Image:
    """A picture of noise, always the same."""
    some = random.Random(f"{mode} {size} {seed}")
    empty = Image.new(mode, size)
    match mode:
        case "I":
            made = picture("I;16", size, seed).convert("I")
        case "F":
            made = Image.frombytes("L", size, some.randbytes(size[0] * size[1])).convert("F")
        case _:
            made = Image.frombytes(mode, size, some.randbytes(len(empty.tobytes())))
    if mode in ("P", "PA"):
        made.putpalette(some.randbytes(768))
    return made


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


DEEDS = {
    *("pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove"),
    *("subprocess.Popen", "socket.connect", "exec", "compile", "import", "open"),
}
"""Events of the interpreter's audit that are none of a reader's business."""


class Watch:
    """What this process does, while somebody looks."""

    def __init__(self) -> None:
        self.looks = self.hooked = False
        self.seen: list[str] = []

    def hear(self, event: str, arguments: tuple) -> None:
        if self.looks and event in DEEDS:
            self.seen.append(f"{event} {arguments!r:.200}")


WATCH = Watch()


@contextlib.contextmanager
def nothing_is_done(megabytes: int = 128) -> Iterator[None]:
    """Within, this process looks up no class, runs and opens nothing, and takes little memory."""
    if not WATCH.hooked:
        WATCH.hooked = True
        sys.addaudithook(WATCH.hear)  # which cannot be taken off again
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * PAGE
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20, hard))
    WATCH.seen.clear()
    WATCH.looks = True
    try:
        yield
    finally:
        WATCH.looks = False
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert WATCH.seen == []
