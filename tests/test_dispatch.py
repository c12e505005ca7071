"""What a dispatch author may raise, as the caller sees it."""

from __future__ import annotations

import math

import pytest

from provider.dispatch import Context, OperationError
from provider.errors import HandlerError

HANDLER = """
    from provider.dispatch import OperationError

    def handle(command, arg):
        raise OperationError("no such city", code=404, details={"near": ["Bern", arg]})
"""


async def test_the_caller_gets_code_message_and_details(start_provider):
    provider = start_provider(HANDLER)
    async with provider.connect() as python:
        with pytest.raises(HandlerError) as caught:
            await python.call("weather.today", "Brn")
    error = caught.value
    assert (error.code, error.message, error.type) == (404, "no such city", "OperationError")
    assert error.details == {"near": ["Bern", "Brn"]}
    assert error.traceback is None


@pytest.mark.parametrize("code", [0, 200, 399, 600])
def test_a_code_that_is_no_error_is_refused(code):
    with pytest.raises(ValueError, match="not between 400 and 599"):
        OperationError("no", code=code)


def test_without_a_code_it_is_500():
    assert OperationError("no").code == 500


def test_a_context_is_made_of_little_and_shows_what_it_knows():
    call = Context("weather.today", id="7")
    assert (call.deadline, call.remaining, call.cancelled) == (math.inf, math.inf, False)
    assert call.headers == {}
    assert call.headers is not Context("weather.today").headers
    call.progress(1)  # nobody asks for it
    shown = repr(call)
    assert shown.startswith("Context(operation='weather.today', deadline=inf")
    assert "_line" not in shown
