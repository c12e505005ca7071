"""From paths to something that can be called, and again when the files change."""

from __future__ import annotations

import contextlib
import os
import py_compile
import sys
import time

import pytest

from provider.worker.loader import LoadError, Program

HANDLE = """
def handle(command, arg):
    return {!r}
"""


def ask(program, command="x", argument=None, *, present=True):
    return program.call(command, argument, present)


def save_atomically(code, name, text):
    other = code.write(name + ".tmp", text)
    os.replace(other, code.path(name))


# --- the contract ---------------------------------------------------------------------------------


def test_the_built_in_main_calls_handle_with_command_and_argument(code, load):
    code.write("dispatch.py", "def handle(command, arg): return [command, arg]")
    program = load()
    assert ask(program, "py.x", 5) == ["py.x", 5]
    assert ask(program, "py.x", None, present=False) == ["py.x", None]


def test_a_dispatch_folder_is_a_package_with_relative_imports(code, load):
    code.write("served/__init__.py", "from .parts import add\ndef handle(c, a): return add(a)")
    code.write("served/parts.py", "def add(a): return a + 1")
    program = load("served")
    assert ask(program, "x", 1) == 2
    assert set(program.folders.tracked) == {"served", "served.parts"}


def test_handle_may_be_anything_that_can_be_called_with_two_arguments(code, load):
    code.write("dispatch.py", "class H:\n    def __call__(self, *all): return all\nhandle = H()")
    assert ask(load(), "x", 1) == ("x", 1)


def test_a_builtin_that_does_not_tell_its_arity_is_accepted(code, load):
    code.write("dispatch.py", "handle = min")
    assert ask(load(), "b", "a") == "a"


@pytest.mark.parametrize("name", ["json", "cbor2", "provider"])
def test_a_program_named_like_a_library_is_served_and_the_library_stays(code, load, name):
    code.write(f"{name}.py", f"import {name}\ndef handle(c, a): return {name}.__name__, __name__")
    program = load(f"{name}.py")
    assert ask(program) == (name, f"dispatch_{name}")
    assert program.folders.hidden(code.path(f"{name}.py")) == []


MAIN = """
    import importlib
    from . import dispatch
    calls = []
    def main(command, arg):
        calls.append((command, arg))
        if command == "reload":
            importlib.reload(dispatch)
            return True
        return dispatch.handle(command, arg.get("arg"))
"""


@pytest.fixture
def main(code):
    """A folder with a main and a dispatch, as the ancestor had them."""
    code.write("python_main/__init__.py", MAIN)
    code.write("python_main/dispatch.py", HANDLE.format(1))
    return lambda load: load("python_main/dispatch.py", "python_main")


def test_a_main_folder_imports_its_dispatch_relatively(load, main):
    program = main(load)
    assert ask(program, "x", 5) == 1
    assert ask(program, "y", None, present=False) == 1
    calls = sys.modules["python_main"].calls
    assert calls == [("x", {"arg": 5}), ("y", {})]


def test_a_main_file_imports_its_dispatch_absolutely(code, load):
    code.write(
        "serve_it.py", "import told\ndef main(command, arg): return told.handle(command, arg)"
    )
    code.write("told.py", "def handle(command, arg): return [command, arg]")
    program = load("told.py", "serve_it.py")
    assert ask(program, "x", 1) == ["x", {"arg": 1}]
    assert program.state().programs == [code.path("serve_it.py"), code.path("told.py")]


def test_a_main_needs_no_dispatch(code, load):
    code.write("alone.py", "def main(command, arg): return command")
    program = load(None, "alone.py")
    assert ask(program, "x") == "x"
    assert program.state().programs == [code.path("alone.py")]


def test_a_dispatch_outside_the_main_folder_is_found(code, load):
    code.write("main_folder/__init__.py", "import elsewhere\nmain = elsewhere.handle")
    code.write("other/elsewhere.py", HANDLE.format("found"))
    assert ask(load("other/elsewhere.py", "main_folder")) == "found"


def test_what_was_loaded_is_told_as_a_map(code, load):
    code.write("dispatch.py", "import helper\n" + HANDLE.format(1))
    code.write("helper.py", "")
    code.write("queue.py", "")
    program = Program(None, code.path("dispatch.py"))
    told = program.load().as_map()
    paths = [entry[0] for entry in told["files"]]
    assert paths == [code.path("dispatch.py"), code.path("helper.py")]
    assert told["files"][0][2] == os.path.getsize(code.path("dispatch.py"))
    assert told["programs"] == [code.path("dispatch.py")]
    assert sorted(told["modules"]) == ["dispatch", "helper"]
    assert told["hidden"] == [code.path("queue.py")]
    assert told["unfinished"] is False
    assert program.tracked_count == 2


# --- what cannot be loaded ------------------------------------------------------------------------


def test_nothing_to_load_is_said():
    with pytest.raises(LoadError, match="neither PYTHON_MAIN nor PYTHON_DISPATCH"):
        Program(None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no function handle", "def handle(command, arg)"]),
        ("handle = 5", ["handle in", "is int, no function"]),
        ("def handle(): pass", ["cannot take two arguments", "handle(command, arg)"]),
        ("def handle(a): pass", ["cannot take two arguments"]),
        ("def handle(a, b, c): pass", ["missing a required argument: 'c'"]),
        ("def handle(*, command, arg): pass", ["cannot take two arguments"]),
        ("def handle(a, b, *, c): pass", ["missing a required", "'c'"]),
        ("\ndef handle(:\n", ["SyntaxError", "dispatch.py, line 2"]),
        ("x = 1\n  y = 2", ["IndentationError", "line 2"]),
        ("a = '\0'", ["null bytes"]),
        ("import no_such_module", ["no_such_module", "installed in the environment", sys.prefix]),
        ("from os import no_such_name", ["no_such_name", "in the environment", sys.prefix]),
        ("import sys\nsys.exit(3)", ["it called sys.exit(3)"]),
        ("raise ValueError('why')", ["ValueError: why"]),
        ("raise KeyboardInterrupt", ["KeyboardInterrupt"]),
        ("class E(BaseException):\n    def __str__(self): raise SystemExit\nraise E", ["E"]),
        (
            "class E:\n    def __repr__(self): raise SystemExit\nimport sys\nsys.exit(E())",
            ["it called sys.exit(<E that cannot be printed>)"],
        ),
        ("def __getattr__(name): raise KeyError(name)", ["KeyError: 'handle'"]),
        ("raise ValueError('\\ud800')", ["ValueError: ?"]),
    ],
)
def test_each_fault_of_a_program_is_named(code, load, text, words):
    code.write("dispatch.py", text)
    with pytest.raises(LoadError) as caught:
        load()
    for word in [*words, code.path("dispatch.py")]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "def handle(*all): pass",
        "def handle(a, b, c=1, **more): pass",
        "handle = lambda command, *rest: None",
    ],
)
def test_each_signature_that_takes_two_arguments_is_accepted(code, load, text):
    code.write("dispatch.py", text)
    load()


def test_a_main_without_main_is_named(code, load):
    code.write("lonely.py", "def handle(command, arg): pass")
    with pytest.raises(LoadError, match=r"lonely\.py has no function main; add: def main\("):
        load(None, "lonely.py")


def test_the_traceback_begins_in_the_users_file(code, load):
    code.write("dispatch.py", "import helper")
    code.write("helper.py", "def deep():\n    raise ValueError('why')\ndeep()")
    with pytest.raises(LoadError) as caught:
        load()
    lines = caught.value.traceback.splitlines()
    assert code.path("dispatch.py") in lines[1]
    assert lines[-1] == "ValueError: why"
    assert "provider/worker" not in caught.value.traceback


# --- reload ---------------------------------------------------------------------------------------


def test_an_edit_is_loaded_and_names_what_was_executed(code, load):
    code.write("dispatch.py", HANDLE.format(1))
    program = load()
    code.write("dispatch.py", HANDLE.format(22))
    assert program.reload(force=False).modules == ["dispatch"]
    assert ask(program) == 22


def test_an_edit_of_equal_length_and_time_is_loaded(code, load):
    path = code.write("dispatch.py", HANDLE.format(1))
    seen = os.stat(path)
    program = load()
    code.write("dispatch.py", HANDLE.format(2))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    program.reload(force=False)
    assert ask(program) == 2


def test_an_old_edit_of_equal_length_and_time_is_loaded(code, load):
    path = code.write("dispatch.py", HANDLE.format(1))
    os.utime(path, (1, 1))
    program = load()
    code.write("dispatch.py", HANDLE.format(2))
    os.utime(path, (1, 1))
    program.reload(force=False)
    assert ask(program) == 2


def test_a_save_by_rename_is_loaded(code, load):
    code.write("dispatch.py", HANDLE.format(1))
    program = load()
    save_atomically(code, "dispatch.py", HANDLE.format(2))
    program.reload(force=False)
    assert ask(program) == 2


def test_a_touch_reloads_nothing_and_tells_the_new_time(code, load):
    path = code.write("dispatch.py", HANDLE.format(1))
    program = load()
    module = sys.modules["dispatch"]
    os.utime(path, (5, 5))
    told = program.reload(force=False)
    assert told.modules == []
    assert told.files[0][1][0] == 5_000_000_000
    assert sys.modules["dispatch"] is module


def test_one_save_is_one_reload(code, load):
    code.write("dispatch.py", HANDLE.format(1))
    program = load()
    code.write("dispatch.py", HANDLE.format(2))
    assert program.reload(force=False).modules
    assert not program.reload(force=False).modules


def test_a_program_that_is_gone_serves_on_until_it_is_back(code, load):
    path = code.write("dispatch.py", HANDLE.format(1))
    program = load()
    os.unlink(path)
    for force in (False, True):
        with pytest.raises(LoadError, match=r"dispatch\.py is gone"):
            program.reload(force=force)
    assert ask(program) == 1
    code.write("dispatch.py", HANDLE.format(1))
    assert program.reload(force=False).modules == []
    os.unlink(path)
    code.write("dispatch.py", HANDLE.format(2))
    assert program.reload(force=False).modules == ["dispatch"]
    assert ask(program) == 2


def test_a_helper_executes_its_importers_and_no_other(code, load):
    code.write("dispatch.py", "import middle, model\ndef handle(c, a): return middle.inner.VALUE")
    code.write("middle.py", "import inner")
    code.write("inner.py", "VALUE = 1")
    code.write("model.py", "WEIGHTS = object()")
    program = load()
    weights = sys.modules["model"].WEIGHTS
    code.write("inner.py", "VALUE = 2")
    assert program.reload(force=False).modules == ["dispatch", "inner", "middle"]
    assert ask(program) == 2
    assert sys.modules["model"].WEIGHTS is weights
    assert sys.modules["dispatch"].model.WEIGHTS is weights


@pytest.mark.parametrize(
    "statement",
    [
        "from pack import part",
        "from pack.part import VALUE",
        "import pack.part",
        "import pack.part as part",
    ],
)
def test_a_submodule_edit_is_seen_however_it_is_imported(code, load, statement):
    code.write("pack/__init__.py", "")
    code.write("pack/part.py", "VALUE = 1")
    code.write("pack/model.py", "")
    where = {"VALUE": "VALUE", "part": "pack.part.VALUE"}[statement.split(".")[-1].split()[-1]]
    where = "part.VALUE" if statement.endswith(("import part", "as part")) else where
    code.write("dispatch.py", f"{statement}\nimport pack.model\ndef handle(c, a): return {where}")
    program = load()
    kept = sys.modules["pack.model"], sys.modules["pack"]
    code.write("pack/part.py", "VALUE = 2")
    assert program.reload(force=False).modules == ["dispatch", "pack.part"]
    assert ask(program) == 2
    assert (sys.modules["pack.model"], sys.modules["pack"]) == kept


def test_an_edit_of_a_package_program_keeps_submodules_that_import_each_other(code, load):
    code.write("served/__init__.py", "from . import model\ndef handle(c, a): return 1")
    code.write("served/model.py", "from . import config\nfrom .config import SIZE\nW = object()")
    code.write("served/config.py", "SIZE = 1")
    program = load("served")
    model = sys.modules["served.model"]
    code.write("served/__init__.py", "from . import model\ndef handle(c, a): return model.W")
    assert program.reload(force=False).modules == ["served"]
    assert ask(program) is model.W


def test_modules_that_import_each_other_are_executed_together(code, load):
    code.write("dispatch.py", "import a\ndef handle(c, x): return a.VALUE, a.b.a is a")
    code.write("a.py", "import b\nVALUE = 1")
    code.write("b.py", "import a")
    program = load()
    code.write("a.py", "import b\nVALUE = 2")
    assert program.reload(force=False).modules == ["a", "b", "dispatch"]
    assert ask(program) == (2, True)


def test_deleted_names_are_gone(code, load):
    code.write("dispatch.py", "import helper\nEXTRA = 1\ndef handle(c, a): return EXTRA")
    code.write("helper.py", "EXTRA = 1")
    program = load()
    code.write("dispatch.py", "import helper\ndef handle(c, a): return EXTRA")
    code.write("helper.py", "OTHER = 1")
    program.reload(force=False)
    with pytest.raises(NameError):
        ask(program)
    assert not hasattr(sys.modules["helper"], "EXTRA")


def test_a_deleted_helper_is_gone(code, load):
    code.write("dispatch.py", "import pack.part\n" + HANDLE.format(1))
    code.write("pack/__init__.py", "")
    code.write("pack/part.py", "")
    program = load()
    os.unlink(code.path("pack/part.py"))
    with pytest.raises(LoadError, match=r"pack\.part"):
        program.reload(force=False)
    assert hasattr(sys.modules["pack"], "part")
    code.write("dispatch.py", "import pack\ndef handle(c, a): return hasattr(pack, 'part')")
    program.reload(force=False)
    assert ask(program) is False
    assert "pack.part" not in sys.modules


@pytest.mark.parametrize(
    "broken",
    ["def handle(:", "raise ValueError", "import absent_module", "import sys; sys.exit()", "x = 1"],
)
def test_a_broken_save_leaves_everything_as_it_was(code, load, broken):
    code.write("dispatch.py", "import helper\ndef handle(c, a): return helper.VALUE")
    code.write("helper.py", "VALUE = 1")
    program = load()
    modules = sys.modules["dispatch"], sys.modules["helper"]
    tracked = dict(program.folders.tracked)
    code.write("helper.py", "VALUE = 2")
    code.write("dispatch.py", f"import helper\nimport newcomer\n{broken}")
    code.write("newcomer.py", "")
    with pytest.raises(LoadError):
        program.reload(force=False)
    assert ask(program) == 1
    assert (sys.modules["dispatch"], sys.modules["helper"]) == modules
    assert "newcomer" not in sys.modules
    assert program.folders.tracked == tracked


def test_a_broken_helper_leaves_everything_as_it_was_and_its_repair_is_loaded(code, load):
    code.write("dispatch.py", "import helper\ndef handle(c, a): return helper.VALUE")
    code.write("helper.py", "VALUE = 1")
    program = load()
    code.write("helper.py", "VALUE = 2\nraise ValueError")
    for _ in range(2):
        with pytest.raises(LoadError, match="ValueError"):
            program.reload(force=False)
        assert ask(program) == 1
    code.write("helper.py", "VALUE = 3")
    program.reload(force=False)
    assert ask(program) == 3


def test_a_broken_save_taken_back_needs_no_reload(code, load):
    code.write("dispatch.py", HANDLE.format(1))
    program = load()
    code.write("dispatch.py", "broken(")
    with pytest.raises(LoadError):
        program.reload(force=False)
    code.write("dispatch.py", HANDLE.format(1))
    assert program.reload(force=False).modules == []
    assert ask(program) == 1


def test_files_of_a_failed_reload_are_told_with_what_they_looked_like(code, load):
    # Otherwise nobody would watch the new helper that is at fault.
    path = code.write("dispatch.py", HANDLE.format(1))
    program = load()
    assert not program.has_new_files
    code.write("dispatch.py", "import newcomer\n" + HANDLE.format(2))
    newcomer = code.write("newcomer.py", "raise ValueError")
    with pytest.raises(LoadError):
        program.reload(force=False)
    assert program.has_new_files
    files = dict(program.state().files)
    assert set(files) == {path, newcomer}
    assert files[path][1] == os.path.getsize(path)
    code.write("newcomer.py", "")
    assert program.reload(force=False).modules == ["dispatch", "newcomer"]
    assert not program.has_new_files
    assert ask(program) == 2


def test_an_empty_program_is_unfinished_and_nothing_happens(code, load):
    code.write("dispatch.py", "import helper\n" + HANDLE.format(1))
    code.write("helper.py", "")
    program = load()
    code.write("dispatch.py", "")
    told = program.reload(force=False)
    assert (told.modules, told.unfinished) == ([], True)
    code.write("helper.py", "VALUE = 1")  # a second file of the same save
    told = program.reload(force=False)
    assert (told.modules, told.unfinished) == ([], True)
    assert ask(program) == 1
    code.write("dispatch.py", HANDLE.format(2))
    assert program.reload(force=False).modules == ["dispatch"]
    assert ask(program) == 2


def test_a_helper_emptied_for_good_is_loaded(code, load):
    code.write("dispatch.py", "import helper\ndef handle(c, a): return hasattr(helper, 'VALUE')")
    path = code.write("helper.py", "VALUE = 1")
    program = load()
    code.write("helper.py", "")
    assert program.reload(force=False).unfinished
    past = time.time() - 3
    os.utime(path, (past, past))
    program.reload(force=False)
    assert ask(program) is False


def test_force_executes_everything_again(code, load):
    code.write("dispatch.py", "import helper\nimport pack.part\n" + HANDLE.format(1))
    code.write("helper.py", "")
    code.write("pack/__init__.py", "")
    code.write("pack/part.py", "")
    program = load()
    names = ["dispatch", "helper", "pack", "pack.part"]
    old = [sys.modules[name] for name in names]
    assert program.reload(force=True).modules == names
    assert not {id(module) for module in old} & {id(sys.modules[name]) for name in names}


def test_force_does_not_miss_a_helper_that_is_no_longer_used(code, load):
    code.write("dispatch.py", "import helper\n" + HANDLE.format(1))
    code.write("helper.py", "")
    program = load()
    code.write("dispatch.py", HANDLE.format(2))
    os.unlink(code.path("helper.py"))
    assert program.reload(force=True).modules == ["dispatch"]
    assert ask(program) == 2
    assert "helper" not in sys.modules


def test_a_helper_imported_in_a_function_is_tracked_and_renewed(code, load):
    code.write("dispatch.py", "def handle(c, a):\n    import late\n    return late.VALUE")
    code.write("late.py", "VALUE = 1")
    program = load()
    assert program.tracked_count == 1
    assert ask(program) == 1
    assert program.tracked_count == 2
    assert code.path("late.py") in dict(program.state().files)
    code.write("late.py", "VALUE = 2")
    program.reload(force=False)
    assert ask(program) == 2


def test_stale_bytecode_is_not_run_by_a_reload(code, load):
    path = code.write("dispatch.py", HANDLE.format(1))
    program = load()
    code.write("dispatch.py", HANDLE.format(7))
    py_compile.compile(path)
    seen = os.stat(path)
    code.write("dispatch.py", HANDLE.format(2))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    program.reload(force=False)
    assert ask(program) == 2


def test_no_bytecode_is_written(code, load):
    code.write("dispatch.py", "import helper\n" + HANDLE.format(1))
    code.write("helper.py", "")
    load().reload(force=True)
    assert not (code.folder / "__pycache__").exists()


def test_a_folder_behind_a_link_that_is_swapped_is_read_anew(code, imports):
    for number in (1, 2):
        code.write(f"release{number}/dispatch.py", "import helper\nhandle = lambda c, a: helper.V")
        code.write(f"release{number}/helper.py", f"V = {number}")
    os.symlink("release1", code.path("current"))
    program = Program(None, code.path("current/dispatch.py"))
    program.load()
    assert ask(program) == 1
    os.symlink("release2", code.path("next"))
    os.replace(code.path("next"), code.path("current"))
    program.reload(force=False)
    assert ask(program) == 2


# --- reload with a main of the user's -------------------------------------------------------------


def test_main_is_asked_to_reload_and_does_it_in_place(code, load, main):
    program = main(load)
    modules = sys.modules["python_main"], sys.modules["python_main.dispatch"]
    code.write("python_main/dispatch.py", HANDLE.format(2))
    assert program.reload(force=False).modules == ["python_main.dispatch"]
    assert ask(program) == 2
    assert (sys.modules["python_main"], sys.modules["python_main.dispatch"]) == modules
    assert sys.modules["python_main"].calls[0] == ("reload", {})
    assert program.reload(force=False).modules == []


def test_a_helper_of_the_dispatch_is_executed_when_main_reloads(code, load, main):
    code.write("python_main/dispatch.py", "from . import helper\nhandle = lambda c, a: helper.V")
    code.write("python_main/helper.py", "V = 1")
    program = main(load)
    code.write("python_main/helper.py", "V = 2")
    told = program.reload(force=False)
    assert told.modules == ["python_main.dispatch", "python_main.helper"]
    assert ask(program) == 2


def test_a_helper_that_main_holds_is_executed_in_place(code, load, main):
    code.write("python_main/__init__.py", MAIN.replace("import dispatch", "import dispatch, cfg"))
    code.write("python_main/dispatch.py", "from .cfg import V\nhandle = lambda c, a: V")
    code.write("python_main/cfg.py", "V = 1")
    program = main(load)
    held = sys.modules["python_main"].cfg
    code.write("python_main/cfg.py", "V = 2")
    program.reload(force=False)
    assert ask(program) == 2
    assert held.V == 2
    assert program.reload(force=False).modules == []


def test_a_dispatch_imported_by_a_name_in_a_text_can_be_reloaded(code, load):
    code.write(
        "by_name.py",
        """
        import importlib
        named = [importlib.import_module("told_by_name")]
        def main(command, arg):
            if command == "reload":
                importlib.reload(named[0])
            return named[0].handle(command, arg)
        """,
    )
    code.write("told_by_name.py", HANDLE.format(1))
    program = load("told_by_name.py", "by_name.py")
    code.write("told_by_name.py", HANDLE.format(2))
    program.reload(force=False)
    assert ask(program) == 2


def test_without_a_named_dispatch_main_alone_decides_what_it_reads_again(code, load):
    code.write("deaf.py", "import aside\ndef main(command, arg): return aside.V")
    code.write("aside.py", "V = 1")
    program = load(None, "deaf.py")
    code.write("aside.py", "V = 2")
    assert program.reload(force=False).modules == ["aside"]
    assert ask(program) == 1
    # It is offered once.
    assert program.reload(force=False).modules == []
    code.write("aside.py", "V = 3")
    assert program.reload(force=False).modules == ["aside"]


def test_a_helper_that_is_gone_and_that_main_does_not_read_is_offered_again(code, load):
    code.write("deaf.py", "import aside\ndef main(command, arg): return aside.V")
    code.write("aside.py", "V = 1")
    program = load(None, "deaf.py")
    os.unlink(code.path("aside.py"))
    assert program.reload(force=False).modules == ["aside"]
    assert program.reload(force=False).modules == ["aside"]
    assert ask(program) == 1


def test_a_failing_reload_by_main_restores_what_the_modules_hold(code, load, main):
    program = main(load)
    dispatch = sys.modules["python_main.dispatch"]
    code.write(
        "python_main/dispatch.py", "from . import newcomer\nhandle = None\nADDED = 1\nraise OSError"
    )
    code.write("python_main/newcomer.py", "")
    with pytest.raises(LoadError, match=r"main\('reload', {}\) failed: OSError"):
        program.reload(force=False)
    assert ask(program) == 1
    assert sys.modules["python_main.dispatch"] is dispatch
    assert not hasattr(dispatch, "ADDED")
    assert not hasattr(sys.modules["python_main"], "newcomer")
    with pytest.raises(LoadError):
        program.reload(force=False)
    code.write("python_main/dispatch.py", HANDLE.format(3))
    program.reload(force=False)
    assert ask(program) == 3


def test_an_edit_of_main_itself_executes_it_afresh(code, load, main):
    program = main(load)
    dispatch = sys.modules["python_main.dispatch"]
    code.write("python_main/__init__.py", "from . import dispatch\nmain = lambda c, a: [dispatch]")
    assert program.reload(force=False).modules == ["python_main"]
    assert ask(program) == [dispatch]


def test_a_broken_main_leaves_the_old_one(code, load, main):
    program = main(load)
    code.write("python_main/__init__.py", "main = 5")
    with pytest.raises(LoadError, match=r"main in .* is int"):
        program.reload(force=False)
    assert ask(program) == 1


def test_force_asks_main_too(code, load, main):
    code.write("python_main/dispatch.py", "from . import helper\nhandle = lambda c, a: id(helper)")
    code.write("python_main/helper.py", "")
    program = main(load)
    before = sys.modules["python_main.helper"]
    program.reload(force=True)
    assert sys.modules["python_main.helper"] is not before
    assert sys.modules["python_main"].calls == [("reload", {})]


def test_a_main_that_exits_when_asked_to_reload_stays(code, load):
    code.write("leaver.py", "import sys\nmain = lambda c, a: sys.exit(1) if c == 'reload' else c")
    code.write("leaves.py", "")
    program = load("leaves.py", "leaver.py")
    with pytest.raises(LoadError, match=r"it called sys\.exit\(1\)"):
        program.reload(force=True)
    assert ask(program, "here") == "here"


def test_a_failed_import_is_not_remembered_by_the_import_system(code, load):
    code.write("dispatch.py", "import sometime_later")
    with contextlib.suppress(LoadError):
        load()
    assert "sometime_later" not in sys.modules
