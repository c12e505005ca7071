"""Imports of a command look for no garbage, and what follows them does as before."""

from __future__ import annotations

import gc

import pytest

from provider.cli import early


@pytest.fixture(params=[True, False])
def enabled(request):
    """Whether garbage was looked for before."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield request.param
    (gc.enable if before else gc.disable)()


def test_what_is_imported_is_not_looked_through_and_the_rest_is_as_before(enabled):
    frozen = gc.get_freeze_count()
    with early.importing():
        assert not gc.isenabled()
        kept = [[number] for number in range(1000)]
    assert gc.isenabled() is enabled
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_an_import_that_fails_changes_nothing(enabled):
    with pytest.raises(ModuleNotFoundError), early.importing():
        raise ModuleNotFoundError
    assert gc.isenabled() is enabled
