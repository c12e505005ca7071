"""A config that is edited while it is served, and the program that is written for it."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import types
from pathlib import Path

import pytest

from provider.servables import follow, plan, program
from tests.servables.making import LOOPING, UPPER, folder, graph, node, save

PLAIN = graph(node("model.py"))


@pytest.fixture
def followed(tmp_path):
    """A config that is followed, the program written for it, and what was said."""
    config = folder(tmp_path / "models", {"m/model.py": UPPER}, m=PLAIN)
    read = plan.read(config)
    said: list[str] = []
    with program.written(read, tracebacks=False) as path:
        follower = follow.Follower(read, path, tracebacks=False, say=said.append)
        yield types.SimpleNamespace(
            look=follower.look, beside=follower.beside, config=config, program=path, said=said
        )


def names(followed):
    """Of the graphs in the program."""
    namespace: dict = {}
    code = Path(followed.program).read_text().replace("globals()", "{}")
    code = code.replace("from provider.worker.servables.program import serve", "")
    exec(code.replace("serve(PLAN, __name__)", ""), namespace)
    return [each["name"] for each in namespace["PLAN"]["graphs"]]


def test_nothing_is_written_while_nothing_changes(followed):
    before = os.stat(followed.program)
    assert not followed.look()
    os.utime(followed.config)
    assert not followed.look()
    save(followed.config.parent / "m" / "model.py", "")
    assert not followed.look()
    assert os.stat(followed.program) == before


def test_a_config_that_is_saved(followed):
    told = {"model_config_list": [], "mediapipe_config_list": [{"name": "m"}, {"name": "n"}]}
    followed.config.write_text(json.dumps(told))
    assert followed.look()
    assert names(followed) == ["m", "n"]
    assert not followed.look()
    # The graph that was missing.
    save(followed.config.parent / "n" / "graph.pbtxt", PLAIN)
    assert followed.look()


def test_a_graph_that_is_saved(followed):
    text = Path(followed.program).read_text()
    before, _, _ = LOOPING.partition("input_stream_handler")
    save(followed.config.parent / "m" / "graph.pbtxt", graph(node("model.py", more=before)))
    assert followed.look()
    assert Path(followed.program).read_text() != text
    assert len(followed.said) == 1


def test_what_cannot_be_read_is_said_once_and_changes_nothing(followed):
    text, kept = Path(followed.program).read_text(), followed.config.read_text()
    followed.config.write_text("{")
    assert not followed.look()
    assert not followed.look()
    followed.config.unlink()
    assert not followed.look()
    assert [("is no JSON" in each, "cannot be read" in each) for each in followed.said] == [
        (True, False),
        (False, True),
    ]
    assert Path(followed.program).read_text() == text
    followed.config.write_text(kept)
    assert not followed.look()


async def test_beside_other_work(followed, monkeypatch):
    monkeypatch.setattr(follow, "PAUSE", 0.001)
    followed.config.write_text('{"model_config_list": []}')

    async def work():
        while names(followed):
            await asyncio.sleep(0.001)
        return "done"

    assert await followed.beside(work()) == "done"

    async def fails():
        raise ValueError("work")

    with pytest.raises(ValueError, match="work"):
        await followed.beside(fails())
    assert len(asyncio.all_tasks()) == 1


async def test_a_program_that_cannot_be_written_ends_nothing(followed, monkeypatch):
    monkeypatch.setattr(follow, "PAUSE", 0.001)
    os.rename(os.path.dirname(followed.program), f"{os.path.dirname(followed.program)}.away")
    followed.config.write_text('{"model_config_list": []}')

    async def work():
        while not followed.said:
            await asyncio.sleep(0.001)
        return "done"

    assert await followed.beside(work()) == "done"
    assert "cannot be followed: FileNotFoundError" in followed.said[0]
    os.rename(f"{os.path.dirname(followed.program)}.away", os.path.dirname(followed.program))
    os.utime(followed.config)
    assert followed.look()
    assert names(followed) == []


def test_the_program_is_ours_alone_and_gone_in_the_end(tmp_path):
    config = folder(tmp_path / 'a "quoted" \\ folder', {"m/model.py": UPPER}, m=PLAIN)
    with program.written(plan.read(config), tracebacks=True) as path:
        assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
        assert os.listdir(os.path.dirname(path)) == [program.NAME]
        compile(Path(path).read_text(), path, "exec")
    assert not os.path.exists(os.path.dirname(path))
