"""The pytest plugin: fixtures for tests of dispatch modules.

    def test_factorial(provider_dispatch):
        assert provider_dispatch.call("py.factorial", 10) == 3628800

Which module is tested says the setting `provider_dispatch` of pytest, a path that begins at the
folder of its configuration file, or the option `--provider-dispatch`.

The rule of this file: it costs nothing until a fixture is asked for. pytest finds it by its entry
point wherever the provider is installed, so it imports nothing but pytest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from provider.testing.in_process import InProcess
    from provider.testing.running import Running

SETTING = "provider_dispatch"
"""The name in pytest's configuration file."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Tell pytest of the setting and the option."""
    parser.addini(SETTING, "The dispatch program to test.", type="string", default="")
    parser.getgroup("provider").addoption(
        "--provider-dispatch",
        metavar="PATH",
        help="The dispatch program to test, instead of the setting provider_dispatch.",
    )


@pytest.fixture
def provider_dispatch(request: pytest.FixtureRequest) -> Iterator[InProcess]:
    """The dispatch program, loaded for this test in its own process."""
    from provider.testing.in_process import load

    with load(_program(request.config)) as dispatch:
        yield dispatch


@pytest.fixture(scope="session")
def running_provider(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A provider that serves the dispatch program, for all tests of the run."""
    from provider.testing.running import run

    with run(_program(request.config)) as running:
        yield running


def _program(config: pytest.Config) -> Path:
    given = config.getoption("--provider-dispatch")
    written = config.getini(SETTING)
    if given:
        # As any path of a command line, it begins where the command was typed.
        program = config.invocation_params.dir / given
    elif written:
        program = (config.inipath.parent if config.inipath else config.rootpath) / written
    else:
        raise pytest.UsageError(
            "which dispatch program is tested? Write it into pytest.ini:\n"
            "  [pytest]\n"
            f"  {SETTING} = dispatch.py\n"
            "or give --provider-dispatch PATH"
        )
    if not program.exists():
        raise pytest.UsageError(f"the dispatch program {program} does not exist")
    return Path(program)
