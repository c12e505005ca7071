"""Providers whose models are asked over gRPC and over HTTP."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import Provider, clean_environment
from tests.kserve_clients import OPERATIONS, Served


@pytest.fixture(scope="module")
def serve(start_module_provider, tmp_path_factory):
    """Starts providers with both doors: `serve(source, *flags, **environment)`."""
    opened = []

    def start(source=None, *flags, **environment):
        folder = tmp_path_factory.mktemp("served")  # or they would write over each other's program
        flags = ("--grpc", "0", "--http", "0", *flags)
        provider = start_module_provider(source, *flags, folder=folder, **environment)
        opened.append(Served(provider, provider.wait_for("ready")))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def served(serve):
    """One that serves `OPERATIONS`."""
    return serve(OPERATIONS)


@pytest.fixture
def start_gateway(tmp_path):
    """Starts a gateway before a provider; what it says when it is ready."""
    started = []

    def start(provider):
        names = ("NATS_URL", "PROVIDER_LATTICE", "PROVIDER_NAME", "PROVIDER_LOG_FORMAT")
        environment = {name: provider.environment[name] for name in names}
        command = [sys.executable, "-m", "provider", "gateway", "--http", "0", "--grpc", "0"]
        started.append(Provider(command, clean_environment(**environment), tmp_path))
        return started[-1].wait_for("ready")

    yield start
    for each in started:
        each.close()
