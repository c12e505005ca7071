"""What a dispatch author may raise, as the caller sees it."""

from __future__ import annotations

import pytest

from provider.dispatch import OperationError
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
