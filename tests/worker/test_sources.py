"""Imports from dispatch folders: from source, never over libraries, replaceable as a whole."""

from __future__ import annotations

import importlib
import json
import os
import py_compile
import sys
import time

import pytest

from provider.worker.sources import Folders, Replacement, Tracked


@pytest.fixture
def folders(code, imports):
    """The folder of the test, importable."""
    found = Folders([str(code.folder)])
    found.install()
    return found


def test_a_module_is_read_from_the_folder_and_tracked_with_its_text(code, folders):
    path = code.write("sources_a.py", "VALUE = 1\n")
    module = importlib.import_module("sources_a")
    assert module.VALUE == 1
    tracked = folders.tracked["sources_a"]
    assert (tracked.path, tracked.source) == (path, b"VALUE = 1\n")
    status = os.stat(path)
    assert tracked.signature == (status.st_mtime_ns, status.st_size, status.st_ino)


def test_bytecode_is_neither_read_nor_written(code, folders):
    # A .pyc that claims to belong to the new text, by time and size, but holds the old one.
    path = code.write("sources_b.py", "VALUE = 'old'\n")
    py_compile.compile(path)
    seen = os.stat(path)
    code.write("sources_b.py", "VALUE = 'new'\n")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert importlib.import_module("sources_b").VALUE == "new"
    caches = set((code.folder / "__pycache__").iterdir())
    code.write("sources_c.py", "")
    importlib.import_module("sources_c")
    assert set((code.folder / "__pycache__").iterdir()) == caches


def test_names_of_the_standard_library_and_of_the_worker_stay_theirs(code, folders):
    for name in ("json", "cbor2", "provider", "neotasker"):
        code.write(f"{name}.py", "MINE = True\n")
        assert folders.find_spec(name) is None
    assert importlib.import_module("json") is json
    assert not folders.tracked


def test_hidden_names_files_and_packages_of_reserved_names_but_not_the_program(code, folders):
    code.write("json.py", "")
    code.write("queue/__init__.py", "")
    code.write("token/readme.txt", "")
    code.write("helper.py", "")
    program = code.write("code.py", "")
    assert folders.hidden(program) == [code.path("json.py"), code.path("queue")]
    assert program in folders.hidden()


def test_a_folder_with_init_goes_before_a_file_of_the_same_name(code, folders):
    code.write("sources_d.py", "VALUE = 'file'\n")
    code.write("sources_d/__init__.py", "VALUE = 'folder'\n")
    assert importlib.import_module("sources_d").VALUE == "folder"


def test_roots_are_searched_in_order(code, imports):
    code.write("first/sources_e.py", "VALUE = 1\n")
    code.write("second/sources_e.py", "VALUE = 2\n")
    folders = Folders([code.path("first"), code.path("second")])
    folders.install()
    assert importlib.import_module("sources_e").VALUE == 1


def test_the_folders_close_the_path_for_child_processes(code, imports):
    code.write("outer/pack/__init__.py", "")
    Folders([code.path("root")], [code.path("outer/pack")]).install()
    assert sys.path[-2:] == [code.path("root"), code.path("outer")]


def test_only_submodules_of_a_package_folder_are_found(code, imports):
    code.write("sources_pack/__init__.py", "")
    code.write("sources_pack/sources_f.py", "")
    folders = Folders([], [code.path("sources_pack")])
    assert folders.find_spec("sources_f") is None
    assert folders.find_spec("sources_pack") is None
    spec = folders.find_spec("sources_pack.sources_f", [code.path("sources_pack")])
    assert spec is not None
    assert spec.origin == code.path("sources_pack/sources_f.py")
    assert folders.find_spec("sources_pack.absent", [code.path("sources_pack")]) is None


def test_packages_of_other_places_are_not_ours(code, folders):
    assert folders.find_spec("elsewhere.module", ["/somewhere/else"]) is None


@pytest.mark.parametrize("inside", ["site-packages/library", "library"])
def test_an_environment_kept_inside_the_folder_is_not_user_code(code, imports, inside):
    # `python -m venv venv` beside dispatch.py is what every tutorial says.
    code.write(f"venv/lib/{inside}/__init__.py", "")
    code.write(f"venv/lib/{inside}/part.py", "VALUE = 1\n")
    place = code.path(f"venv/lib/{inside}")
    prefix = sys.prefix
    try:
        if inside == "library":
            sys.prefix = code.path("venv")
        else:
            sys.path.append(code.path("venv/lib/site-packages"))
        folders = Folders([str(code.folder)])
    finally:
        sys.prefix = prefix
    assert folders.find_spec("library.part", [place]) is None


def test_a_folder_inside_an_environment_is_user_code_all_the_same(code, imports):
    code.write("venv/app/pack/part.py", "")
    prefix = sys.prefix
    try:
        sys.prefix = code.path("venv")
        folders = Folders([code.path("venv/app")])
    finally:
        sys.prefix = prefix
    assert folders.find_spec("pack.part", [code.path("venv/app/pack")]) is not None


def test_a_submodule_of_a_folder_without_init_is_tracked(code, folders):
    code.write("sources_space/part.py", "VALUE = 1\n")
    assert importlib.import_module("sources_space.part").VALUE == 1
    assert "sources_space.part" in folders.tracked


# --- what changed ---------------------------------------------------------------------------------


def test_nothing_has_changed_when_a_file_is_only_touched(code, folders):
    path = code.write("sources_g.py", "VALUE = 1\n")
    importlib.import_module("sources_g")
    os.utime(path, (1, 1))
    assert folders.changed() == (set(), set())
    assert folders.tracked["sources_g"].signature[0] == 1_000_000_000


def test_an_edit_of_the_same_length_with_the_same_times_is_a_change(code, folders):
    path = code.write("sources_h.py", "VALUE = 1\n")
    os.utime(path, (1, 1))
    importlib.import_module("sources_h")
    code.write("sources_h.py", "VALUE = 2\n")
    os.utime(path, (1, 1))
    assert folders.changed() == ({"sources_h"}, set())


def test_a_file_that_is_gone_has_changed(code, folders):
    path = code.write("sources_i.py", "VALUE = 1\n")
    importlib.import_module("sources_i")
    os.unlink(path)
    assert folders.changed() == ({"sources_i"}, set())


def test_a_file_that_has_just_become_empty_is_unfinished_and_later_a_change(code, folders):
    path = code.write("sources_j.py", "VALUE = 1\n")
    importlib.import_module("sources_j")
    code.write("sources_j.py", " \n")
    assert folders.changed() == (set(), {"sources_j"})
    before = time.time() - 3
    os.utime(path, (before, before))
    assert folders.changed() == ({"sources_j"}, set())


# --- who imports whom -----------------------------------------------------------------------------


def track(folders, **sources):
    for key, source in sources.items():
        name = key.replace("__", ".")
        file = "/__init__.py" if name.endswith(".init") else ".py"
        name = name.removesuffix(".init")
        folders.tracked[name] = Tracked(f"/{name}{file}", (0, 0, 0), source.encode())


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("import pack.sub", {"pack", "pack.sub"}),
        ("import pack.sub as s", {"pack.sub"}),
        ("from pack import sub", {"pack.sub"}),
        ("from pack import other", {"pack"}),
        ("from pack.sub import thing", {"pack.sub"}),
        ("from pack import *", {"pack"}),
        ("def f():\n    import pack", {"pack"}),
        ("try:\n    import pack\nexcept ImportError: pass", {"pack"}),
        ("import json, os.path", set()),
        ("from . import sub", set()),
        ("from .... import sub", set()),
        ("not python", set()),
        ("\0", set()),
    ],
)
def test_imports_are_read_from_the_text(text, used):
    folders = Folders([])
    track(folders, pack__init="", pack__sub="", user=text)
    assert folders.imported_by("user") == used


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("from . import b", {"pack.b"}),
        ("from .b import thing", {"pack.b"}),
        ("from . import thing", {"pack"}),
        ("from .inner import c", {"pack.inner.c"}),
    ],
)
def test_relative_imports_are_followed(text, used):
    folders = Folders([])
    sources = {"pack__init": text, "pack__a": text, "pack__b": "", "pack__inner__c": ""}
    track(folders, **sources)
    assert folders.imported_by("pack.a") == used
    # In a package's own text the dot is the package itself.
    assert folders.imported_by("pack") == used
    assert folders.imported_by("absent") == set()


def test_relative_imports_climb():
    folders = Folders([])
    track(folders, pack__b="", pack__inner__c="from .. import b\nfrom ..b import x")
    assert folders.imported_by("pack.inner.c") == {"pack.b"}


def test_importers_are_found_through_chains_and_circles():
    folders = Folders([])
    track(
        folders,
        top="import middle",
        middle="import a",
        a="import b",
        b="import a",
        aside="",
    )
    assert folders.importers({"b"}) == {"a", "b", "middle", "top"}
    assert folders.importers({"aside"}) == {"aside"}


def test_inner_first_puts_what_is_imported_before_who_imports_it():
    folders = Folders([])
    track(folders, a="import b", b="import c", c="", x="import y", y="import x")
    assert folders.inner_first({"a", "b", "c"}) == ["c", "b", "a"]
    assert folders.inner_first({"a", "c"}) == ["c", "a"]
    assert folders.inner_first({"x", "y"}) == ["x", "y"]


# --- replacing ------------------------------------------------------------------------------------


def test_what_is_raised_puts_old_modules_tracking_and_attributes_back(code, folders):
    code.write("sources_k/__init__.py", "")
    code.write("sources_k/part.py", "VALUE = 1\n")
    code.write("sources_k/fresh.py", "")
    part = importlib.import_module("sources_k.part")
    package = sys.modules["sources_k"]
    tracked = dict(folders.tracked)
    code.write("sources_k/part.py", "import sources_k.fresh\nVALUE = 2\n")
    with pytest.raises(KeyboardInterrupt), Replacement(folders, {"sources_k.part"}):
        assert "sources_k.part" not in sys.modules
        assert not hasattr(package, "part")
        assert importlib.import_module("sources_k.part").VALUE == 2
        assert hasattr(package, "fresh")
        raise KeyboardInterrupt
    assert sys.modules["sources_k.part"] is part
    assert package.part is part
    assert "sources_k.fresh" not in sys.modules
    assert not hasattr(package, "fresh")
    assert folders.tracked == tracked
    assert set(folders.attempted) == {
        code.path(f"sources_k/{name}.py") for name in ("__init__", "part", "fresh")
    }


def test_success_keeps_the_new_modules_and_forgets_the_attempt(code, folders):
    code.write("sources_l.py", "VALUE = 1\n")
    old = importlib.import_module("sources_l")
    folders.attempted = {"x": (1, 2, 3)}
    with Replacement(folders, {"sources_l", "never_imported"}):
        new = importlib.import_module("sources_l")
    assert sys.modules["sources_l"] is new is not old
    assert not folders.attempted


def test_from_package_import_gets_the_new_submodule_of_an_old_package(code, folders):
    code.write("sources_m/__init__.py", "")
    code.write("sources_m/part.py", "VALUE = 1\n")
    importlib.import_module("sources_m.part")
    code.write("sources_m/part.py", "VALUE = 2\n")
    names = {}
    with Replacement(folders, {"sources_m.part"}):
        exec("from sources_m import part", names)
    assert names["part"].VALUE == 2
    assert sys.modules["sources_m"].part is names["part"]


def test_an_attribute_that_is_not_the_submodule_is_left_alone(code, folders):
    code.write("sources_n/__init__.py", "from . import part\npart = 'mine'\n")
    code.write("sources_n/part.py", "")
    package = importlib.import_module("sources_n")
    with Replacement(folders, {"sources_n.part"}):
        assert package.part == "mine"
    assert package.part == "mine"


def test_a_new_package_has_the_submodules_that_stay_as_attributes(code, folders):
    code.write("sources_o/__init__.py", "")
    code.write("sources_o/part.py", "")
    code.write("sources_o/deep/__init__.py", "")
    code.write("sources_o/deep/down.py", "")
    importlib.import_module("sources_o.deep.down")
    part = importlib.import_module("sources_o.part")
    old = sys.modules["sources_o"]
    with Replacement(folders, {"sources_o"}):
        new = importlib.import_module("sources_o")
    assert new is not old
    assert new.part is part
    assert new.deep is sys.modules["sources_o.deep"]
    assert not hasattr(new, "down")


def test_a_folder_that_cannot_be_listed_hides_nothing(tmp_path):
    assert Folders([str(tmp_path / "gone")]).hidden() == []
