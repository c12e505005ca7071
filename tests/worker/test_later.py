"""Modules that wait until somebody touches them: there for who asks, and nobody can tell."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import provider
from tests.conftest import PATIENCE
from tests.worker.test_worker_main import OLDEST_AND_OTHERS, THIS, interpreter

LATER = str(Path(provider.__file__).parent / "worker" / "later.py")
HEAD = f"""
import importlib, importlib.machinery, importlib.util, sys, threading, types
spec = importlib.util.spec_from_file_location("later_of_ours", {LATER!r})
ours = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ours)
"""


@pytest.fixture(params=[THIS, *OLDEST_AND_OTHERS])
def python(request):
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} here")
    return found


def run(*parts: str, python: str = sys.executable, folder: str = "") -> None:
    """A fresh interpreter runs these parts of a program, after our module was loaded."""
    done = subprocess.run(
        [python, "-W", "error", "-c", HEAD + "".join(map(textwrap.dedent, parts))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={"PYTHONPATH": folder},
    )
    assert done.returncode == 0, done.stderr


ASYNCIO = """
with ours.later():
    import asyncio
"""


def test_what_asyncio_brings_waits(python):
    run(
        ASYNCIO,
        """
        for name in ("ssl", "_ssl", "asyncio.sslproto", "inspect", "multiprocessing.reduction"):
            assert name not in sys.modules, name
        """,
        python=python,
    )


NEOTASKER = """
with ours.later():
    import neotasker, neotasker.embed
"""


def test_neotasker_is_imported_without_asyncio():
    run(
        NEOTASKER,
        """
        for name in ("asyncio", "asyncio.events", "socket", "selectors", "multiprocessing"):
            assert name not in sys.modules, name
        assert neotasker.task_supervisor.spawn(lambda: 1).result() == 1
        assert "asyncio" not in sys.modules
        assert callable(neotasker.supervisor.asyncio.all_tasks)  # what it was answered is gone
        assert "asyncio" in sys.modules
        """,
    )


def test_neotasker_and_programs_share_one_asyncio():
    run(
        NEOTASKER,
        """
        import warnings
        from neotasker import supervisor
        warnings.simplefilter("ignore")  # it sets its threads to daemons the old way
        loop = neotasker.task_supervisor.create_aloop("a")  # touches it first
        import asyncio, asyncio.exceptions
        assert supervisor.asyncio is asyncio is sys.modules["asyncio"]
        assert type(asyncio) is types.ModuleType
        # What it took while it was imported is what there is now.
        assert supervisor.ACancelledError is asyncio.CancelledError
        assert asyncio.exceptions is sys.modules["asyncio.exceptions"]
        assert asyncio.exceptions.CancelledError is asyncio.CancelledError
        async def one():
            return asyncio.all_tasks()
        assert len(loop.run_coroutine_threadsafe(one())) == 2
        neotasker.task_supervisor.stop()
        import multiprocessing, os
        assert supervisor.thread_pool_default_size == multiprocessing.cpu_count() * 5
        assert multiprocessing.cpu_count.__self__ is multiprocessing.context._default_context
        """,
    )


@pytest.mark.parametrize(
    "how",
    [
        "import asyncio",
        "import asyncio.base_events as asyncio",
        "from asyncio import *; import asyncio",
        "from asyncio import sleep; import asyncio",
        "asyncio = later_asyncio; asyncio.sleep",
    ],
)
def test_a_program_that_imports_asyncio_does_not_pay_for_tls(python, how):
    run(
        f"""
        with ours.later():
            import asyncio as later_asyncio
        {how}
        """,
        """
        assert "asyncio.base_events" in sys.modules
        for name in ("ssl", "_ssl", "asyncio.sslproto", "inspect", "json"):
            assert name not in sys.modules, name
        assert asyncio.__name__.startswith("asyncio")
        import ssl
        assert later_asyncio.sslproto.ssl is later_asyncio.base_events.ssl is ssl
        """,
        python=python,
    )


def test_placeholders_stand_only_while_something_is_imported():
    run(
        """
        with ours.later():
            import asyncio
        asyncio.sleep
        assert not [
            name for name, module in sys.modules.items() if isinstance(module, ours._Placeholder)
        ]
        """
    )


def test_a_star_asks_for_all_of_it_whenever_it_comes():
    run(
        """
        with ours.later(["textwrap"]):
            from textwrap import *
        assert dedent(" a") == "a"
        """
    )


def test_a_fork_while_another_thread_loads_can_load(tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.3)  # a fork comes\nLAST = 1\n")
    run(
        """
        import os
        with ours.later(["slow", "textwrap"]):
            import slow, textwrap
        ours._turn.acquire()  # as a thread has it, at the very moment
        pid = os.fork()
        if not pid:
            thread = threading.Thread(target=lambda: textwrap.dedent)
            thread.start()
            thread.join(10)
            os._exit(thread.is_alive())
        assert os.waitpid(pid, 0)[1] == 0
        """,
        folder=str(tmp_path),
    )


def test_who_imports_it_has_the_object_that_others_hold(python):
    run(
        ASYNCIO,
        """
        held = asyncio.base_events.ssl
        import ssl
        assert ssl is held is asyncio.sslproto.ssl is sys.modules["ssl"]
        assert isinstance(ssl.create_default_context(), ssl.SSLContext)
        assert type(ssl) is types.ModuleType
        assert ssl.__loader__ is ssl.__spec__.loader
        assert type(ssl.__loader__) is importlib.machinery.SourceFileLoader
        assert ssl.__file__.endswith("ssl.py")
        """,
        python=python,
    )


def test_the_first_touch_by_who_holds_it_loads_it(python):
    run(
        ASYNCIO,
        """
        assert asyncio.base_events.ssl.PROTOCOL_TLS_CLIENT
        assert "ssl" in sys.modules
        assert asyncio.sslproto.SSLProtocol  # without an import of its own
        assert type(asyncio.sslproto) is types.ModuleType
        """,
        python=python,
    )


def test_a_package_comes_with_what_is_in_it(python):
    run(
        """
        with ours.later(["json"]):
            import json
        assert "json" not in sys.modules
        assert json.loads("[1]") == [1]
        from json.decoder import JSONDecoder
        from json import scanner
        assert json.JSONDecoder is JSONDecoder and json.scanner is scanner
        """,
        python=python,
    )


def test_what_asyncio_does_with_tls_works_as_ever(python):
    run(
        ASYNCIO,
        """
        async def refused():
            server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            import ssl
            try:
                await asyncio.wait_for(
                    asyncio.open_connection("127.0.0.1", port, ssl=ssl.create_default_context()), 1
                )
            except (asyncio.TimeoutError, ssl.SSLError, ConnectionError):
                return True
            finally:
                server.close()
        assert asyncio.run(refused())
        """,
        python=python,
    )


THREADS = """
        import time
        ready = threading.Barrier(8)
        found = []
        def touch():
            ready.wait()
            found.append({})
        threads = [threading.Thread(target=touch) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert found == [1] * 8, found
        """


@pytest.mark.parametrize("how", ["slow.LAST", "importlib.import_module('slow').LAST"])
def test_threads_that_touch_it_at_once_all_get_it_whole(tmp_path, python, how):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(0.2)  # others come\nLAST = 1\n")
    run(
        "with ours.later(['slow']):\n    import slow\n",
        THREADS.format(how),
        python=python,
        folder=str(tmp_path),
    )


def test_a_load_that_fails_says_so_and_can_be_tried_again(tmp_path):
    (tmp_path / "fails.py").write_text(
        "import sys\nif not hasattr(sys, 'well'): raise OSError('not yet')\nVALUE = 1\n"
    )
    run(
        """
        with ours.later(["fails"]):
            import fails
        for _ in range(2):
            try:
                fails.VALUE
            except OSError as error:
                assert str(error) == "not yet"
            else:
                raise AssertionError
            assert "fails" not in sys.modules
        sys.well = True
        assert fails.VALUE == 1 and sys.modules["fails"] is fails
        """,
        folder=str(tmp_path),
    )


def test_what_is_not_there_is_left_alone():
    run(
        """
        with ours.later(["no_such_module", "os.no_such", "nowhere.at_all"]):
            try:
                import no_such_module
            except ModuleNotFoundError as error:
                assert error.name == "no_such_module"
            else:
                raise AssertionError
        """
    )


def test_what_is_loaded_stays_as_it_is():
    run(
        """
        import json
        with ours.later(["json"]):
            pass
        assert sys.modules["json"] is json and type(json) is types.ModuleType
        assert not ours._waiting
        """
    )


def test_nobody_stands_in_the_way_of_imports_once_all_is_loaded():
    run(
        """
        before = list(sys.meta_path)
        with ours.later(["json", "decimal"]):
            import json, decimal
        assert len(sys.meta_path) == len(before) + 1
        import json
        assert decimal.Decimal("1") == 1
        assert sys.meta_path == before
        """
    )


def test_an_error_in_the_block_leaves_no_placeholder():
    run(
        """
        try:
            with ours.later(["json"]):
                raise KeyError
        except KeyError:
            pass
        assert "json" not in sys.modules
        import json
        assert json.loads("1") == 1
        """
    )


def test_it_can_be_found_and_loaded_anew():
    run(
        """
        with ours.later(["textwrap"]):
            import textwrap
        assert importlib.util.find_spec("textwrap").origin.endswith("textwrap.py")
        assert "textwrap" not in sys.modules
        assert textwrap.dedent(" a") == "a"
        assert importlib.reload(textwrap) is textwrap and textwrap.dedent(" a") == "a"
        """
    )


def test_a_worker_starts_without_them_and_its_program_gets_them(start, code):
    worker = start()
    worker.load(
        code.write(
            "dispatch.py",
            """
            import sys
            LOADED = {"asyncio", "socket", "ssl", "tempfile", "json"} & set(sys.modules)
            def handle(command, argument):
                import json, ssl, asyncio, decimal
                assert asyncio.sslproto.ssl is ssl
                return [sorted(LOADED), json.dumps(argument), decimal.Decimal("1.5")]
            """,
        )
    )
    loaded, text, number = worker.ask("x", [1])
    assert (loaded, text, str(number)) == ([], "[1]", "1.5")
