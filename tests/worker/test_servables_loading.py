"""How handlers come, go, and are replaced when their files are saved."""

from __future__ import annotations

import json
import sys
import types

import pytest

from provider.errors import Unavailable
from provider.wire.servable import NOT_LOADED, status_of
from provider.worker.loader import LoadError
from tests.servables.making import (
    DOUBLE,
    GENERATE,
    INPUT,
    LOOPING,
    UPPER,
    asked,
    folder,
    graph,
    handler_of,
    node,
    save,
    serving,
    tensor,
)

PLAIN = graph(node("model.py"))


class TestLoading:
    def test_what_initialize_is_given(self, serve_graphs, tmp_path):
        handler = """
            import json
            from pyovms import Tensor

            class OvmsPythonModel:
                def initialize(self, kwargs):
                    self.kwargs = kwargs
                    return True

                def execute(self, inputs):
                    return [Tensor("output", json.dumps(self.kwargs).encode())]
        """
        text = graph(
            node("deep/model.py", "mine", ("B:input", "A:second"), more=LOOPING),
            inputs=("input", "second"),
        )
        served = serve_graphs({"m/deep/model.py": handler}, text)
        given = asked(tensor("input", b""), tensor("second", b""))
        ((output,),) = (each["outputs"] for each in served.stream("m", given))
        assert json.loads(output["data"]) == {
            "node_name": "mine",
            "input_names": ["input", "second", "loopback"],
            "output_names": ["output", "loopback"],
            "base_path": str(tmp_path / "m" / "deep"),
        }

    def test_equal_file_names_are_different_handlers(self, serve_graphs):
        served = serve_graphs(
            {"a/model.py": UPPER, "b/model.py": DOUBLE},
            a=graph(node("model.py")),
            b=graph(node("model.py")),
        )
        results = [served.call(name, asked(INPUT))["outputs"][0]["data"] for name in "ab"]
        assert results == [b"HELLO", b"hellohello"]

    def test_one_file_is_executed_once_for_two_objects(self, serve_graphs):
        handler = """
            from pyovms import Tensor

            made = []

            class OvmsPythonModel:
                def __init__(self):
                    made.append(self)

                def execute(self, inputs):
                    return [Tensor("output", bytes([made.index(self), len(made)]))]
        """
        again = graph(node("../m/model.py"))
        served = serve_graphs(handler, m=graph(node("model.py")), again=again)
        results = [served.call(name, asked(INPUT))["outputs"][0]["data"] for name in ("m", "again")]
        assert results == [b"\0\2", b"\1\2"]

    def test_a_handler_imports_what_is_beside_it(self, serve_graphs):
        handler = UPPER.replace("class", "import beside_the_handler as beside\n\n    class", 1)
        handler = handler.replace(".decode().upper().encode()", " + beside.WORD")
        files = {"m/model.py": handler, "m/beside_the_handler.py": "WORD = b' there'"}
        served = serve_graphs(files)
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hello there"

    def test_who_is_given_the_helper_of_another_is_warned(self, serve_graphs, tmp_path, capfd):
        handler = UPPER.replace("class", "import shared_helper\n\n    class", 1)
        files = {f"{name}/model.py": handler for name in "ab"}
        files |= {f"{name}/shared_helper.py": "" for name in "ab"}
        serve_graphs(files, a=PLAIN, b=PLAIN)
        assert capfd.readouterr().err == (
            f"{tmp_path}/b/shared_helper.py is not imported: another handler imported "
            f"{tmp_path}/a/shared_helper.py under that name; rename one of them\n"
        )

    def test_a_handler_may_have_the_name_of_a_library(self, serve_graphs):
        served = serve_graphs({"m/random.py": UPPER}, graph(node("random.py")))
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"HELLO"
        assert served._program.folders.hidden() == []

    @pytest.mark.parametrize(
        ("handler", "status", "says", "not_told"),
        [
            (None, "PYTHON_NODE_FILE_DOES_NOT_EXIST", "model.py does not exist", ""),
            ("x = (", "", "SyntaxError", "SyntaxError"),
            ("raise ValueError('secret')", "", "ValueError: secret", "secret"),
            ("import sys; sys.exit(3)", "", "sys.exit(3)", "exit"),
            ("import no_such_module", "", "no_such_module", "no_such"),
            ("class OtherModel: pass", "", "has no class OvmsPythonModel", ""),
            ("OvmsPythonModel = 5", "", "has no class OvmsPythonModel", ""),
            ("class OvmsPythonModel: pass", "", "has no method execute", ""),
            (
                handler_of("return []").replace(
                    "def execute", "def __init__(self, more): pass\n\n            def execute"
                ),
                "",
                "OvmsPythonModel() raised: TypeError",
                "TypeError",
            ),
            (
                handler_of("return []").replace(
                    "def execute", "def initialize(self, kwargs): 1 / 0\n\n            def execute"
                ),
                "",
                "initialize raised: ZeroDivisionError",
                "Division",
            ),
            (
                handler_of("return []").replace(
                    "def execute", "def initialize(self, **kwargs): pass\n\n            def execute"
                ),
                "",
                "initialize raised: TypeError",
                "TypeError",
            ),
        ],
    )
    def test_a_graph_that_does_not_load_is_not_there(
        self, serve_graphs, capfd, handler, status, says, not_told
    ):
        files = {"good/model.py": UPPER}
        if handler is not None:
            files["m/model.py"] = handler
        served = serve_graphs(files, m=graph(node("model.py")), good=graph(node("model.py")))
        status = status or "PYTHON_NODE_FILE_STATE_INITIALIZATION_FAILED"
        with pytest.raises(Unavailable) as caught:
            served.call("m", asked(INPUT))
        assert caught.value.message.startswith(f"Mediapipe is not loaded yet - {status}: ")
        if not_told:
            assert not_told not in caught.value.message
        assert status_of(caught.value.details).grpc == "UNAVAILABLE"
        written = capfd.readouterr().err
        assert f"servable m is not loaded: {status}: " in written
        assert says in written
        assert served.call("good", asked(INPUT))["outputs"][0]["data"] == b"HELLO"
        docs = {each["name"]: each["doc"] for each in described(served)}
        assert docs["m"].startswith(f"{NOT_LOADED}{status}")
        assert docs["good"] == "Servable: inputs input; outputs output"

    def test_half_a_module_is_none(self, serve_graphs):
        text = UPPER + "\n    raise ValueError"
        served = serve_graphs(text, m=PLAIN, again=graph(node("../m/model.py")))
        for name in ("m", "again"):
            with pytest.raises(Unavailable, match="importing it raised"):
                served.call(name, asked(INPUT))

    def test_callers_are_told_why_when_that_is_enabled(self, serve_graphs):
        served = serve_graphs("raise ValueError('secret')", tracebacks=True)
        with pytest.raises(Unavailable, match="ValueError: secret"):
            served.call("m", asked(INPUT))

    def test_a_graph_that_is_none_says_so(self, serve_graphs):
        served = serve_graphs(UPPER, "node {")
        with pytest.raises(Unavailable, match=r"MEDIAPIPE_GRAPH_CONFIG_FILE_INVALID: .*no graph"):
            served.call("m", asked(INPUT))

    def test_a_misnamed_initialize_is_no_fault(self, serve_graphs):
        handler = handler_of("return [Tensor('output', b'')]") + (
            "\n            def initialise(self):\n                raise ValueError\n"
        )
        assert serve_graphs(handler).call("m", asked(INPUT))["outputs"]

    def test_what_streams_is_known(self, serve_graphs):
        served = serve_graphs(
            {"a/model.py": GENERATE, "b/model.py": UPPER},
            a=graph(node("model.py", more=LOOPING)),
            b=graph(node("model.py")),
        )
        assert {each["name"]: each["streams"] for each in described(served)} == {
            "a": True,
            "b": False,
        }


def described(served):
    return [each.described() for each in served._program.operations.all]


class TestFinalize:
    HANDLER = """
        import os
        from pyovms import Tensor

        class OvmsPythonModel:
            def initialize(self, kwargs):
                self.file = os.path.join(kwargs["base_path"], kwargs["node_name"] + ".there")
                open(self.file, "w").close()

            def execute(self, inputs):
                return [Tensor("output", inputs[0])]

            def finalize(self):
                os.remove(self.file)
    """

    def test_at_the_end(self, tmp_path):
        config = folder(tmp_path, {"m/model.py": self.HANDLER}, m=graph(node("model.py")))
        with serving(config):
            assert (tmp_path / "m" / "pythonNode.there").exists()
        assert not (tmp_path / "m" / "pythonNode.there").exists()

    def test_when_another_node_does_not_load(self, tmp_path, serve_graphs):
        text = graph(
            node("model.py", "one", ("I:input",), ("O:middle",)),
            node("bad.py", "two", ("I:middle",), ("O:output",)),
        )
        handler = self.HANDLER.replace(
            "os.remove(", "os.rename(self.file, self.file + '.gone') or ("
        )
        served = serve_graphs({"m/model.py": handler, "m/bad.py": "1 / 0"}, text)
        with pytest.raises(Unavailable):
            served.call("m", asked(INPUT))
        assert [path.name for path in (tmp_path / "m").glob("*.there*")] == ["one.there.gone"]

    @pytest.mark.parametrize("signature", ["self", "self, more"])
    def test_what_it_raises_is_in_the_log(self, tmp_path, capfd, signature):
        handler = self.HANDLER.replace("finalize(self)", f"finalize({signature})")
        handler = handler.replace("os.remove(self.file)", "raise ValueError('at the end')")
        config = folder(
            tmp_path,
            {"m/model.py": handler, "good/model.py": self.HANDLER},
            m=graph(node("model.py")),
            good=graph(node("model.py")),
        )
        with serving(config):
            pass
        assert "finalize of the node pythonNode failed: " in capfd.readouterr().err
        assert not (tmp_path / "good" / "pythonNode.there").exists()


class TestReload:
    def reload(self, served, *, force=False):
        return served._program.reload(force=force)

    def test_a_saved_handler_takes_over_and_the_old_one_is_finalized(
        self, serve_graphs, tmp_path, capfd
    ):
        said = (
            UPPER + '\n        def finalize(self):\n            print("gone: upper", flush=True)\n'
        )
        served = serve_graphs(
            {"m/model.py": said, "other/model.py": said.replace('upper"', 'other"')},
            m=graph(node("model.py")),
            other=graph(node("model.py")),
        )
        save(tmp_path / "m" / "model.py", DOUBLE)
        loaded = self.reload(served)
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hellohello"
        assert served.call("other", asked(INPUT))["outputs"][0]["data"] == b"HELLO"
        assert capfd.readouterr().out == "gone: upper\n"
        assert str(tmp_path / "m" / "model.py") in loaded.programs

    def test_what_did_not_change_is_not_made_again(self, serve_graphs, tmp_path):
        counting = """
            from pyovms import Tensor

            made = []

            class OvmsPythonModel:
                def __init__(self):
                    made.append(self)

                def execute(self, inputs):
                    return [Tensor("output", bytes([made.index(self), len(made)]))]
        """
        files = {"m/model.py": UPPER, "other/model.py": counting}
        served = serve_graphs(files, m=PLAIN, other=PLAIN)
        for text in (DOUBLE, UPPER):
            save(tmp_path / "m" / "model.py", text)
            self.reload(served)
            assert served.call("other", asked(INPUT))["outputs"][0]["data"] == b"\0\1"

    def test_of_a_helper_too(self, serve_graphs, tmp_path):
        handler = UPPER.replace("class", "import helper_of_a_test\n\n    class", 1)
        handler = handler.replace(".decode().upper().encode()", " + helper_of_a_test.WORD")
        served = serve_graphs({"m/model.py": handler, "m/helper_of_a_test.py": "WORD = b' one'"})
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hello one"
        save(tmp_path / "m" / "helper_of_a_test.py", "WORD = b' other'")
        self.reload(served)
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hello other"

    def test_one_that_does_not_load_leaves_the_old_one(self, serve_graphs, tmp_path, capfd):
        served = serve_graphs(
            {"a/model.py": UPPER, "m/model.py": TestFinalize.HANDLER},
            a=graph(node("model.py")),
            m=graph(node("model.py")),
        )
        there = tmp_path / "m" / "pythonNode.there"
        there_too = tmp_path / "a" / "pythonNode.there"
        save(tmp_path / "a" / "model.py", TestFinalize.HANDLER)
        save(
            tmp_path / "m" / "model.py",
            "class OvmsPythonModel:\n  def initialize(self, kwargs): raise ValueError('boom')\n"
            "  execute = initialize\n",
        )
        with pytest.raises(
            LoadError, match=r"m: PYTHON_NODE_FILE_STATE.*ValueError: boom"
        ) as caught:
            self.reload(served)
        assert "ValueError: boom" in caught.value.traceback
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hello"
        assert served.call("a", asked(INPUT))["outputs"][0]["data"] == b"HELLO"
        assert there.exists()
        # What was made for nothing is gone again.
        assert not there_too.exists()
        save(tmp_path / "a" / "model.py", DOUBLE)
        save(tmp_path / "m" / "model.py", DOUBLE)
        self.reload(served)
        for name in "am":
            assert served.call(name, asked(INPUT))["outputs"][0]["data"] == b"hellohello"
        assert not there.exists()

    def test_what_did_not_load_is_tried_again(self, serve_graphs, tmp_path):
        served = serve_graphs("1 / 0")
        save(tmp_path / "m" / "model.py", "2 / 0")
        self.reload(served)
        with pytest.raises(Unavailable):
            served.call("m", asked(INPUT))
        save(tmp_path / "m" / "model.py", UPPER)
        self.reload(served)
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"HELLO"

    def test_a_file_that_was_missing_is_waited_for(self, serve_graphs, tmp_path):
        served = serve_graphs({"other/model.py": UPPER}, m=PLAIN, other=PLAIN)
        model = tmp_path / "m" / "model.py"
        with pytest.raises(Unavailable, match="does not exist"):
            served.call("m", asked(INPUT))
        assert str(model) in self.reload(served).programs
        save(model, DOUBLE)
        assert self.reload(served).modules
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"hellohello"
        assert not self.reload(served).modules

    def test_handlers_are_looked_at_after_a_reload_as_before(self, serve_graphs, tmp_path):
        files = {"m/model.py": UPPER, "other/model.py": UPPER}
        served = serve_graphs(files, m=PLAIN, other=PLAIN)
        save(tmp_path / "m" / "model.py", DOUBLE)
        programs = self.reload(served).programs[1:]
        assert programs == [str(tmp_path / name) for name in files]

    def test_all_of_it_when_that_is_asked_for(self, serve_graphs, capfd):
        said = UPPER + '\n        def finalize(self):\n            print("gone", flush=True)\n'
        served = serve_graphs(said)
        self.reload(served, force=True)
        assert capfd.readouterr().out == "gone\n"
        assert served.call("m", asked(INPUT))["outputs"][0]["data"] == b"HELLO"


def test_the_name_of_the_module_is_ours_whatever_is_there(serve_graphs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyovms", types.ModuleType("pyovms"))
    assert serve_graphs(UPPER).call("m", asked(INPUT))["outputs"][0]["data"] == b"HELLO"
