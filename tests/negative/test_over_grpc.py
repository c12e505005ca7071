"""Over gRPC: the client of the original gets its picture, and who errs the status that says so."""

from __future__ import annotations

import io
import os
import pickle
import shlex
import subprocess
import sys

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image, ImageOps

from tests.conftest import PATIENCE, clean_environment
from tests.documents import ROOT, commands
from tests.negative.conftest import FOLDER, NAME, file_of, opened, picture
from tests.negative.test_containers import of

CLIENT = """\
from PIL import Image
import numpy as np
import pickle
import grpc
import sys

sys.path.append("/usr/app/grpc_compiled")
import image_transform_pb2
import image_transform_pb2_grpc

def run():
    channel = grpc.insecure_channel('server:13000')
    stub = image_transform_pb2_grpc.EncodeServiceStub(channel)
    image_np = np.array(Image.open('/usr/app/input/eiffel-tower.jpg'))
    image = Image.fromarray(image_np.astype('uint8')) # Transforming np array image into Pillow's Image class
    query = image_transform_pb2.sourceImage(
        image=pickle.dumps(image),
        width=320,
        height=180
    )
    response = stub.GetEncode(query)
    image_transformed = pickle.loads(response.image)
    image_transformed.save('/usr/app/output/eiffel-tower-transformed.jpg')

if __name__ == "__main__":
    run()
"""  # noqa: E501  as it was published
"""The client of the original."""

NO_PICTURE = "this is no PNG, JPEG or WebP file, and no pickle of a picture of Pillow's"

STAGE = """\
import builtins, runpy, sys

folder, program = sys.argv[1:]
real = builtins.open

def opened(file, *more, **options):
    if isinstance(file, str):
        file = file.replace("/usr/app/", folder + "/", 1)
    return real(file, *more, **options)

builtins.open = opened
sys.path.append(folder + "/grpc_compiled")
runpy.run_path(program, run_name="__main__")
"""
"""Runs a program as it is, with a folder of the test's for /usr/app of its container."""


def compiled(folder) -> None:
    """The stubs of the service, made as the original says."""
    (folder / "grpc_compiled").mkdir()
    outputs = [f"--{kind}_out={folder}/grpc_compiled" for kind in ("python", "grpc_python")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I.", *outputs, "image_transform.proto"],
        cwd=FOLDER,
        check=True,
        timeout=2 * PATIENCE,
    )


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """What is in /usr/app of the client's container: input, output and the compiled stubs."""
    folder = tmp_path_factory.mktemp("app")
    compiled(folder)
    (folder / "input").mkdir()
    (folder / "output").mkdir()
    return folder


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    # What is on this machine is not reached by way of a proxy.
    environment = clean_environment(no_proxy="127.0.0.1", NO_PROXY="127.0.0.1")
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def provider(start_module_provider):
    """Started as in the container, but for the port."""
    [command] = of("server", "CMD")
    flags = [word for word in command[2:] if word != "--embedded-nats"]
    flags[flags.index("--grpc") + 1] = "127.0.0.1:0"
    flags[flags.index("--proto") + 1] = str(ROOT / flags[flags.index("--proto") + 1])
    return start_module_provider(None, *flags)


@pytest.fixture(scope="module")
def address(provider):
    return provider.events("ready")[-1]["grpc"]


@pytest.fixture(scope="module")
def get_encode(address):
    """Calls the service: `get_encode(image, width, height)`."""
    file = descriptor_pb2.FileDescriptorProto(name="negative_of_the_tests.proto", package="t")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in (("Asked", ("image", "width", "height")), ("Answer", ("image",))):
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            kind = kinds.TYPE_BYTES if field == "image" else kinds.TYPE_INT32
            message.field.add(name=field, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    asked, answer = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))
        for name in ("Asked", "Answer")
    )
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        method = channel.unary_unary(
            "/flavienbwk.EncodeService/GetEncode",
            request_serializer=asked.SerializeToString,
            response_deserializer=answer.FromString,
        )
        yield (
            lambda image=b"", width=4, height=3: (
                method(asked(image=image, width=width, height=height), timeout=PATIENCE).image
            )
        )


def tower() -> Image.Image:
    """A picture of the size the original's has."""
    made = Image.linear_gradient("L").resize((640, 359)).convert("RGB")
    made.paste((200, 30, 10), (100, 100, 300, 200))
    return made


def test_the_client_of_the_original_gets_its_picture(app, address):
    tower().save(app / "input" / "eiffel-tower.jpg", quality=95)
    (app / "client.py").write_text(CLIENT.replace("server:13000", address))
    run("-c", STAGE, str(app), str(app / "client.py"))
    made = Image.open(app / "output" / "eiffel-tower-transformed.jpg")
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (320, 180))
    asked = Image.open(app / "input" / "eiffel-tower.jpg")
    expected = ImageOps.invert(asked.resize((320, 180), Image.Resampling.BICUBIC))
    as_jpeg = opened(file_of(expected, "JPEG"))
    assert made.tobytes() == as_jpeg.tobytes()


def test_the_client_of_the_container_has_its_folder_done(tmp_path, app, address):
    for folder in ("input", "output"):
        (tmp_path / folder).mkdir()
    for kind in ("png", "jpeg", "webp"):
        tower().save(tmp_path / "input" / f"tower.{kind}")
    (tmp_path / "input" / "words.txt").write_text("no picture")
    os.symlink(app / "grpc_compiled", tmp_path / "grpc_compiled")
    client = tmp_path / "client.py"
    client.write_text((ROOT / "deploy" / "negative" / "client.py").read_text())
    done = run(str(client), address, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "tower.jpeg: done",
        "tower.png: done",
        "tower.webp: done",
        f"words.txt: INVALID_ARGUMENT: {NO_PICTURE}",
    ]
    for kind in ("png", "jpeg", "webp"):
        made = opened((tmp_path / "output" / f"tower.{kind}").read_bytes())
        assert (made.format, made.size) == (kind.upper(), (320, 180))


def test_pictures_go_there_and_back(get_encode):
    asked = picture("RGB", (40, 30))
    answer = pickle.load(io.BytesIO(get_encode(pickle.dumps(asked), 40, 30)))
    assert answer.tobytes() == ImageOps.invert(asked).tobytes()


@pytest.mark.parametrize(
    ("image", "size", "status", "reason"),
    [
        (b"", (4, 3), "INVALID_ARGUMENT", "this is no PNG, JPEG or WebP file"),
        (b"\x80\x02cos\nsystem\n.", (4, 3), "INVALID_ARGUMENT", "the pickle names 'os system'"),
        (b"", (0, 3), "INVALID_ARGUMENT", "is 0 by 3 pixels"),
        (b"", (-1, -1), "INVALID_ARGUMENT", "is -1 by -1 pixels"),
        (b"", (2**31 - 1, 1), "RESOURCE_EXHAUSTED", "a side has at most 65535"),
        (b"", (5000, 5000), "RESOURCE_EXHAUSTED", "25000000 in all; at most 16777216"),
    ],
)
def test_what_does_not_fit_has_its_status(get_encode, image, size, status, reason):
    with pytest.raises(grpc.RpcError) as raised:
        get_encode(image, *size)
    assert (raised.value.code().name, reason in raised.value.details()) == (status, True)


def test_the_same_operation_is_there_by_name(provider):
    answer = provider.call(NAME, {"image": file_of(picture(), "PNG"), "width": 2, "height": 1})
    assert opened(answer["image"]).size == (2, 1)


def test_the_readme_starts_it_as_the_container_does():
    [started] = [
        shlex.split(command) for command, _ in commands(FOLDER / "README.md") if "--grpc" in command
    ]
    [command] = of("server", "CMD")
    assert started == [word.replace("0.0.0.0:", "") for word in command]
