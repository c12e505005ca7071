"""nats-py without what few hosts use, and with it when something of it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest


def said(program: str) -> tuple[str, str]:
    """What a fresh interpreter writes that runs this, to standard output and error."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr


PROGRAM = """
import sys
import provider.light
import provider.host.run
assert "aiohttp" not in sys.modules, "it was imported"
from nats.aio import transport
assert transport.aiohttp is not None
session = transport.aiohttp.ClientSession
import aiohttp
assert session is aiohttp.ClientSession
assert transport.aiohttp.__spec__ is None
print("well")
"""


def test_what_websockets_need_is_imported_when_it_is_used():
    pytest.importorskip("aiohttp")
    assert said(PROGRAM) == ("well\n", "")


JETSTREAM = """
import sys
import provider.light
import provider.host.run
provider.host.run._import_what_comes_later()
import nats
assert not [name for name in sys.modules if name.startswith("nats.js")], "it was imported"
assert nats.js.api.Header.STATUS == "Status"
assert type(nats.js).__name__ == "module" and nats.js is sys.modules["nats.js"]
from nats.js.errors import NotFoundError
assert isinstance(nats.NATS().jetstream(), nats.js.JetStreamContext)
print("well")
"""


def test_what_jetstream_needs_is_imported_when_it_is_used():
    assert said(JETSTREAM) == ("well\n", "")


def test_who_imports_jetstream_has_what_nats_holds():
    program = (
        "import provider.light\n"
        "from nats.js.api import Header\n"
        "import nats.aio.client\n"
        "assert nats.aio.client.nats.js.api.Header is Header\n"
        "print('well')"
    )
    assert said(program) == ("well\n", "")


def test_where_it_is_not_installed_nats_says_what_is_missing():
    program = (
        "import sys; sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod("
        "lambda name, *rest: (_ for _ in ()).throw(ImportError(name)) "
        "if name == 'aiohttp' else None)}))\n"
        "import importlib.util as u; old = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'aiohttp' else old(name)\n"
        "import provider.light, provider.connection\n"
        "from nats.aio import transport\n"
        "print(transport.aiohttp)"
    )
    assert said(program) == ("None\n", "")
