"""The config of a servable folder: what it may say, and what is said of what it may not."""

from __future__ import annotations

import contextlib
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.errors import StartError
from provider.servables import config, plan
from tests.servables.making import UPPER, folder, graph, node, save

KEYS = st.sampled_from(sorted(config._KEYS | config._ENTRY | {"config"}))


def written(root, told):
    return save(root / "config.json", told if isinstance(told, str) else json.dumps(told))


def read(root, *entries, **more):
    return config.read(
        written(root, {"model_config_list": [], "mediapipe_config_list": list(entries), **more})
    )


def test_where_graphs_are(tmp_path):
    there = tmp_path / "elsewhere"
    entries = read(
        tmp_path,
        {"name": "plain"},
        {"name": "based", "base_path": "folder"},
        {"name": "away", "base_path": str(there)},
        {"name": "named", "base_path": str(there), "graph_path": "other.pbtxt"},
        {"name": "absolute", "graph_path": str(there / "x.pbtxt")},
        {"name": "above", "base_path": "..", "graph_path": "g/../x.pbtxt"},
    ).entries
    assert {entry.name: entry.graph for entry in entries} == {
        "plain": str(tmp_path / "plain" / "graph.pbtxt"),
        "based": str(tmp_path / "folder" / "graph.pbtxt"),
        "away": str(there / "graph.pbtxt"),
        "named": str(there / "other.pbtxt"),
        "absolute": str(there / "x.pbtxt"),
        "above": str(tmp_path.parent / "x.pbtxt"),
    }
    assert {entry.problem for entry in entries} == {""}


def test_graphs_may_stand_among_the_models(tmp_path):
    save(tmp_path / "new" / "graph.pbtxt", "")
    models = [
        {"config": {"name": "new"}},
        {"config": {"name": "resnet", "base_path": "resnet"}},
        {"config": {"name": "bert", "base_path": "new", "batch_size": 4}},
    ]
    entries = read(tmp_path, {"name": "old"}, model_config_list=models).entries
    assert [entry.name for entry in entries] == ["old", "new", "resnet", "bert"]
    assert [bool(entry.problem) for entry in entries] == [False, False, True, True]
    assert entries[2].problem.startswith("it is a model and no graph")


def test_of_two_with_one_name_the_first_is_served(tmp_path):
    told = read(tmp_path, {"name": "a", "base_path": "one"}, {"name": "a", "base_path": "two"})
    assert [entry.graph for entry in told.entries] == [str(tmp_path / "one" / "graph.pbtxt")]
    assert "a is there twice" in told.notes[0]


@pytest.mark.parametrize("name", ["reload", "x" * 257, "a\nb", "a."])
def test_a_name_no_operation_can_have(tmp_path, name):
    (entry,) = read(tmp_path, {"name": name}).entries
    assert entry.problem


def test_a_path_of_a_container_is_looked_for_beside_the_config(tmp_path):
    save(tmp_path / "m" / "graph.pbtxt", "")
    told = read(
        tmp_path,
        {"name": "m", "base_path": "/nowhere/models/m"},
        {"name": "n", "graph_path": "/nowhere/m/graph.pbtxt"},
        {"name": "o", "graph_path": "/nowhere/m/missing.pbtxt"},
        {"name": "p", "base_path": "nowhere/m"},
    )
    found = str(tmp_path / "m" / "graph.pbtxt")
    assert [entry.graph for entry in told.entries] == [
        found,
        found,
        "/nowhere/m/missing.pbtxt",
        str(tmp_path / "nowhere" / "m" / "graph.pbtxt"),
    ]
    assert [note.split()[0] for note in told.notes] == [
        "/nowhere/models/m",
        "/nowhere/m/graph.pbtxt",
    ]


def test_the_rest_of_a_config_is_named(tmp_path):
    told = read(tmp_path, monitoring={"metrics": {"enable": True}}, pipeline_config_list=[])
    assert "monitoring" in told.notes[0]


def test_a_subconfig_with_models_is_not_served(tmp_path):
    save(tmp_path / "a" / "subconfig.json", '{"model_config_list": [{"config": {"name": "m"}}]}')
    save(tmp_path / "b" / "subconfig.json", '{"model_config_list": []}')
    entries = read(tmp_path, {"name": "a"}, {"name": "b", "subconfig": "subconfig.json"}).entries
    assert [bool(entry.problem) for entry in entries] == [True, False]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("\udcff", "is not UTF-8"),
        ("[]", "it is no object"),
        ({}, "lacks model_config_list"),
        ({"mediapipe_config_list": []}, "lacks model_config_list"),
        ({"model_config_list": {}}, "model_config_list is no list"),
        ({"model_config_list": [], "mediapipe": []}, "has 'mediapipe'; known are"),
        ({"model_config_list": [5]}, r"model_config_list\[0\] is no object"),
        ({"model_config_list": [{}]}, r"model_config_list\[0\].config is no object"),
        ({"model_config_list": [{"x": 1}]}, "has 'x'; known are config"),
        ({"model_config_list": [], "pipeline_config_list": [1]}, "only servables of Python"),
        ({"model_config_list": [], "mediapipe_config_list": [[]]}, r"list\[0\] is no object"),
        ({"model_config_list": [], "mediapipe_config_list": [{}]}, "name is missing"),
        ({"model_config_list": [], "mediapipe_config_list": [{"name": 5}]}, "name is no text"),
        (
            {"model_config_list": [], "mediapipe_config_list": [{"name": "a", "path": ""}]},
            "has 'path'; known are base_path, graph_path, name, subconfig",
        ),
        (
            {"model_config_list": [], "mediapipe_config_list": [{"name": "a", "base_path": 1}]},
            "base_path is no path",
        ),
        (
            {"model_config_list": [], "mediapipe_config_list": [{"name": "a", "base_path": "\0"}]},
            "base_path is no path",
        ),
        (
            '{"model_config_list": [], "model_config_list": []}',
            "'model_config_list' is there twice",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, told, says):
    path = tmp_path / "config.json"
    text = told if isinstance(told, str) else json.dumps(told)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StartError, match=says) as caught:
        config.read(path)
    assert str(caught.value).startswith(str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, JSON) | JSON)
def test_any_json_is_a_config_or_none(tmp_path_factory, told):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(told))
    with contextlib.suppress(StartError):
        plan.read(path)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(StartError, match="cannot be read: No such file"):
        config.read(tmp_path / "missing.json")
    with pytest.raises(StartError, match="cannot be read: Is a directory"):
        config.read(tmp_path)
    with open(tmp_path / "large.json", "wb") as large:
        large.truncate(config.MOST_BYTES + 1)
    with pytest.raises(StartError, match="has more than"):
        config.read(tmp_path / "large.json")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"model_config_list": []}')
    assert config.read(tmp_path / "config.json").entries == ()


class TestThePlan:
    def test_one_wrong_graph_leaves_the_others_alone(self, tmp_path):
        good = graph(node("model.py"))
        path = folder(tmp_path, {"good/model.py": UPPER}, good=good, bad="node {", empty="")
        entries = [{"name": name} for name in ("good", "bad", "empty", "missing", "reload")]
        written(tmp_path, {"model_config_list": [], "mediapipe_config_list": entries})
        read = plan.read(path)
        assert [(each.name, each.graph is None, each.status) for each in read.servables] == [
            ("good", False, ""),
            ("bad", True, "MEDIAPIPE_GRAPH_CONFIG_FILE_INVALID"),
            ("empty", True, "MEDIAPIPE_GRAPH_CONFIG_FILE_INVALID"),
            ("missing", True, "MEDIAPIPE_GRAPH_CONFIG_FILE_INVALID"),
            ("reload", True, "MEDIAPIPE_GRAPH_INITIALIZATION_ERROR"),
        ]
        assert [each.reason.split(":")[0] for each in read.servables[1:4]] == [
            str(tmp_path / "bad" / "graph.pbtxt"),
            str(tmp_path / "empty" / "graph.pbtxt"),
            f"{tmp_path / 'missing' / 'graph.pbtxt'} cannot be read",
        ]
        assert read.files == (str(path), *(str(each.path) for each in read.servables))

    def test_handlers_are_found_from_the_graphs_folder(self, tmp_path):
        away = tmp_path / "away" / "model.py"
        path = folder(
            tmp_path,
            {"a/handlers/model.py": UPPER, "away/model.py": UPPER, "root.py": UPPER},
            a=graph(node("handlers/../handlers/model.py")),
            b=graph(node(str(away))),
            c=graph(node("/nowhere/a/handlers/model.py")),
            d=graph(node("../root.py")),
        )
        read = plan.read(path)
        handlers = [each.graph.nodes[0].handler for each in read.servables]
        inside = str(tmp_path / "a" / "handlers" / "model.py")
        assert handlers == [inside, str(away), inside, str(tmp_path / "root.py")]
        assert len(read.notes) == 1
        assert all(os.path.isabs(handler) for handler in handlers)
