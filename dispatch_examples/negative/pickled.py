"""Pictures of Pillow as pickles, read without ever unpickling anything.

A pickle is a program, and `pickle.loads` runs it: whoever sends one runs what he likes. Pillow's
own pictures need little of that language, and only this little is read here: numbers, texts, bytes
and containers of them, one picture, and its state. The names of classes are compared with those of
pictures and never looked up; nothing is imported, called or made but plain values.

The rule of this file: what is not expected is refused, at the operation where it stands.
"""

import io
import itertools
import pickle  # to write them; reading is done here
import pickletools
import re

from limits import check_size, invalid, too_large
from PIL import Image

FIRST_BYTE = b"\x80"
PROTOCOLS = range(2, 6)
MOST_OPERATIONS = 10_000
"""Of a pickle. Pictures have some dozens, with a palette some hundreds."""

PICTURE = re.compile(
    r"PIL\.Image Image|PIL\.[A-Za-z0-9]{1,32}ImagePlugin [A-Za-z0-9]{1,32}ImageFile"
)
"""Modules and classes of pictures: the plain one, and those of a file that was opened."""
ENCODE, EMPTY = "_codecs encode", "__builtin__ bytes"
"""How protocol 2 writes bytes, which it does not have: as a text to encode, or as no argument."""

BITS = {
    "1": 1,
    **dict.fromkeys(["L", "P"], 8),
    **dict.fromkeys(["LA", "La", "PA", "I;16", "I;16L", "I;16B", "I;16N"], 16),
    **dict.fromkeys(["RGB", "YCbCr", "HSV", "LAB"], 24),
    **dict.fromkeys(["RGBA", "RGBa", "RGBX", "CMYK", "I", "F"], 32),
}
"""By mode, how many bits a pixel has; a row ends with a whole byte."""
WITH_PALETTE = ("P", "PA")
SAME_AS = {"I;16N": "I;16"}
"""Modes that Pillow does not always work with, and those with the same bytes."""

OPERATIONS = {each.code: (each.name, each.arg) for each in pickletools.opcodes}
"""By their codes, the names of all there are and what reads their argument."""
LONGEST_NAME = 100
MARK = object()
PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
"""Operations that put their argument on the stack."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": MARK}


class Global(str):
    """The name of a module and that of something in it."""

    __slots__ = ()


class Picture:
    """What stands for the picture while its pickle is read."""

    state = None


def read(data):
    """The picture in a pickle, and the protocol to answer in.

    Raises:
        OperationError: with the code 422, this is no pickle of a picture, or with 413, it is one
            that is too large.
    """
    reader = Reader(data)
    reader.read()
    return picture_of(reader.picture.state), reader.protocol


def write(image, protocol):
    """A pickle of a picture, which the caller may well unpickle: it is of the plain class."""
    return pickle.dumps(image, protocol)


class Reader:
    """Reads the operations of one pickle."""

    def __init__(self, data):
        self.size = len(data)
        self.file = io.BytesIO(data)
        self.stack = []
        self.memo = {}
        self.protocol = 0
        self.frame_end = None
        self.picture = None

    def read(self):
        """Read all of it; there is a picture with a state, then."""
        try:
            for count in itertools.count():
                if count == MOST_OPERATIONS:
                    raise too_large(f"the pickle has more than {MOST_OPERATIONS} operations")
                if self.step(count) == "STOP":
                    break
        except (ValueError, IndexError) as error:  # of what is cut off, or of an empty stack
            raise invalid(f"the pickle is broken: {str(error)!a:.200}") from None
        if self.stack != [self.picture] or self.picture is None or self.picture.state is None:
            raise invalid("the pickle is of something else than a picture of Pillow")
        if self.file.tell() != self.size or self.frame_end not in (None, self.size):
            raise invalid("the pickle does not end where its last operation stands")

    def step(self, count):
        """Do the next operation, if it is one of those a picture has; its name."""
        position = self.file.tell()
        code = self.file.read(1).decode("latin1")
        name, argument_of = OPERATIONS.get(code, ("", None))
        do = getattr(self, f"do_{name.lower()}", None)
        if do is None and name not in {*PLAIN, *CONSTANTS, "PROTO", "FRAME", "STOP"}:
            if not code:
                raise invalid("the pickle is broken: it ends before its end is said")
            shown = name or f"of the code {code!a}"
            raise invalid(f"the pickle has the operation {shown}, which no picture needs")
        self.check_frame(name, position)
        # What is refused has not been read so far: these readers make what the bytes say.
        argument = argument_of.reader(self.file) if argument_of and name != "GLOBAL" else None
        if do is not None:
            do(argument)
        elif name == "PROTO":
            if count or argument not in PROTOCOLS:
                raise invalid(f"the pickle has protocol {argument}; protocols 2 to 5 are read")
            self.protocol = argument
        elif name in PLAIN:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name == "FRAME":
            self.frame_end = self.file.tell() + argument
            if self.frame_end > self.size:
                raise invalid("the pickle is broken: a frame is longer than what is there")
        return name

    def check_frame(self, name, position):
        """An operation lies within a frame or outside of it, and frames in no other."""
        if self.frame_end is None or position == self.frame_end:
            self.frame_end = None
        elif position > self.frame_end or name == "FRAME":
            raise invalid("the pickle is broken: a frame ends within an operation")

    # --- names, which are compared and never looked up

    def do_global(self, _):
        lines = [self.file.readline(LONGEST_NAME) for _ in range(2)]
        if not all(line.endswith(b"\n") for line in lines):
            raise invalid("the pickle is broken: a name has no end")
        self.named(*(line[:-1].decode("ascii") for line in lines))

    def do_stack_global(self, _):
        name, module = self.pop(str), self.pop(str)
        self.named(module, name)

    def named(self, module, name):
        name = f"{module} {name}"
        if not (PICTURE.fullmatch(name) or name in (ENCODE, EMPTY)):
            raise invalid(f"the pickle names {name!a:.100}; only pictures of Pillow are read")
        self.stack.append(Global(name))

    def do_newobj(self, _):
        arguments, name = self.pop(tuple), self.pop(Global)
        if arguments or not PICTURE.fullmatch(name) or self.picture is not None:
            raise invalid("the pickle makes something else than one picture")
        self.picture = Picture()
        self.stack.append(self.picture)

    def do_reduce(self, _):
        arguments, name = self.pop(tuple), self.pop(Global)
        if name == EMPTY and arguments == ():
            self.stack.append(b"")
        elif name == ENCODE and len(arguments) == 2 and arguments[1] == "latin1":
            if type(arguments[0]) is not str:
                raise invalid("the pickle encodes what is no text")
            self.stack.append(arguments[0].encode("latin1"))
        else:
            raise invalid("the pickle calls something, and nothing is called for it")

    def do_build(self, _):
        state, picture = self.pop(list), self.pop(Picture)
        if picture.state is not None:
            raise invalid("the pickle has two states for its picture")
        picture.state = state
        self.stack.append(picture)

    # --- containers

    def do_empty_list(self, _):
        self.stack.append([])

    def do_empty_dict(self, _):
        self.stack.append({})

    def do_append(self, _):
        item = self.pop(object)
        self.top(list).append(item)

    def do_appends(self, _):
        items = self.since_mark()
        self.top(list).extend(items)

    def do_setitem(self, _):
        value, key = self.pop(object), self.pop(str)
        self.top(dict)[key] = value

    def do_setitems(self, _):
        items = self.since_mark()
        if len(items) % 2 or not all(type(key) is str for key in items[::2]):
            raise invalid("the pickle has a map with other keys than texts")
        self.top(dict).update(zip(items[::2], items[1::2], strict=True))

    def do_tuple(self, _):
        self.stack.append(tuple(self.since_mark()))

    def do_tuple1(self, _):
        self.stack.append((self.pop(object),))

    def do_tuple2(self, _):
        second, first = self.pop(object), self.pop(object)
        self.stack.append((first, second))

    def do_tuple3(self, _):
        third, second, first = self.pop(object), self.pop(object), self.pop(object)
        self.stack.append((first, second, third))

    # --- the memo: a map, so that a large number in it takes no more room than a small one

    def do_memoize(self, _):
        self.memo[len(self.memo)] = self.top(object)

    def do_binput(self, number):
        self.memo[number] = self.top(object)

    do_long_binput = do_binput

    def do_binget(self, number):
        if number not in self.memo:
            raise invalid(f"the pickle is broken: it has no memo {number}")
        self.stack.append(self.memo[number])

    do_long_binget = do_binget

    # --- the stack

    def pop(self, kind):
        """Take the top off, which must be of this kind."""
        top = self.top(kind)
        del self.stack[-1]
        return top

    def top(self, kind):
        """What is on top, which must be of this kind."""
        top = self.stack[-1]
        if top is MARK or not (kind is object or type(top) is kind):
            raise invalid(f"the pickle is broken: an operation finds no {kind.__name__}")
        return top

    def since_mark(self):
        """Take off what lies above the newest mark, and the mark."""
        items = []
        while (item := self.stack.pop()) is not MARK:
            items.append(item)
        items.reverse()
        return items


def picture_of(state):
    """The picture with the state Pillow gives pictures: what is known of it, and its pixels."""
    if len(state) < 5:  # pictures of opened files have more, such as their names
        raise invalid(f"the picture has {len(state)} parts; expected 5")
    info, mode, size, palette, pixels = state[:5]
    if type(info) is not dict or type(mode) is not str or type(pixels) is not bytes:
        raise invalid("the picture is not made of a map, a mode, a size, a palette and bytes")
    if mode not in BITS:
        raise invalid(f"the picture has the mode {mode!a:.40}; there are {', '.join(BITS)}")
    if type(size) is not tuple or [type(side) for side in size] != [int, int]:
        raise invalid("the picture's size is not two integers")
    check_size(*size, "the picture in the pickle")
    expected = (size[0] * BITS[mode] + 7) // 8 * size[1]
    if len(pixels) != expected:
        raise invalid(
            f"the picture has {len(pixels)} bytes of pixels; "
            f"{size[0]} by {size[1]} of the mode {mode} are {expected}"
        )
    image = Image.frombytes(SAME_AS.get(mode, mode), size, pixels)
    if mode in WITH_PALETTE:
        set_palette(image, palette)
    elif palette is not None:
        raise invalid(f"the picture has a palette, and the mode {mode} has none")
    image.info = info
    return image


def set_palette(image, palette):
    """Give the picture a palette from its pickle, where that has one."""
    if palette is None:
        return
    if (
        type(palette) is not list
        or len(palette) > 768
        or len(palette) % 3
        or not all(type(part) is int and 0 <= part <= 255 for part in palette)
    ):
        raise invalid("the picture's palette is not up to 256 times three numbers from 0 to 255")
    if palette:
        image.putpalette(palette)
