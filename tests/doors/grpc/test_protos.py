"""`.proto` files, compiled."""

from __future__ import annotations

import pytest

from provider.doors.grpc.protos import compiled
from provider.errors import StartError

PROTO = 'syntax = "proto3"; package {0}; message In {{}} service {1} {{ rpc Do(In) returns (In); }}'


def written(folder, name, text):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def names(protos):
    return [service.full_name for service in protos.services]


def test_services_of_all_files_that_are_named(tmp_path):
    one = written(tmp_path / "a", "one.proto", PROTO.format("p", "One"))
    two = written(tmp_path / "b", "two.proto", PROTO.format("q.r", "Two"))
    assert sorted(names(compiled([one, two, one]))) == ["p.One", "q.r.Two"]


def test_a_file_without_a_package(tmp_path):
    text = PROTO.format("p", "One").replace("package p;", "")
    assert names(compiled([written(tmp_path, "one.proto", text)])) == ["One"]


def test_imports_from_beside_and_from_protobuf_come_first_and_are_not_served(tmp_path):
    written(tmp_path, "types.proto", PROTO.format("types", "Hidden"))
    text = """
        syntax = "proto3";
        import "types.proto";
        import "google/protobuf/empty.proto";
        service Own { rpc Do(types.In) returns (google.protobuf.Empty); }
    """
    protos = compiled([written(tmp_path, "own.proto", text)])
    assert names(protos) == ["Own"]
    assert len(protos.files) == 3
    assert b"own.proto" in protos.files[-1]


def test_files_where_we_are_are_not_taken(tmp_path, monkeypatch):
    own = written(tmp_path / "a", "own.proto", PROTO.format("right", "Own"))
    written(tmp_path / "b", "own.proto", PROTO.format("wrong", "Own"))
    written(tmp_path / "b", "grpc_tools.py", "raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path / "b")
    assert names(compiled([own])) == ["right.Own"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'syntax = "proto3";\nmessage In { in32 a = 1; }\n',
            r'own\.proto:2:14: "in32" is not defined',
        ),
        ("\0\xff", r"cannot compile PROVIDER_PROTO: \S+own\.proto:1:1: Invalid"),
        ('syntax = "proto3"; import "nothing.proto";', r"nothing\.proto: File not found"),
        ('syntax = "proto3"; message In {}', r"own\.proto has no service"),
        ("", "has no service"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path, text, says):
    with pytest.raises(StartError, match=says) as raised:
        compiled([written(tmp_path, "own.proto", text)])
    assert "WARNING" not in str(raised.value)


def test_two_files_of_one_name(tmp_path):
    paths = [written(tmp_path / each, "own.proto", PROTO.format("p", each)) for each in "AB"]
    with pytest.raises(StartError, match="two files of PROVIDER_PROTO have one name"):
        compiled(paths)


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(StartError, match=r"gone\.proto"):
        compiled([tmp_path / "gone.proto"])
