"""What is printed is told with the call that printed it, however late it comes."""

from __future__ import annotations

import asyncio


async def test_prints_know_their_call_even_after_its_answer(house):
    await house.start("def handle(command, arg): print('hello', arg)")
    for number in range(20):
        await house.call("greet", number, id=f"request-{number}")
    await house.events.until("printed", 20)
    told = [
        (line["text"], line["operation"], line["request_id"], line["stream"], line["worker"])
        for line in house.events.of("printed")
    ]
    assert told == [
        (f"hello {number}", "greet", f"request-{number}", "stdout", house.worker)
        for number in range(20)
    ]


async def test_prints_of_calls_without_an_id_have_their_number(house):
    await house.start("import sys\ndef handle(command, arg): print('oh', file=sys.stderr)")
    await house.call("greet")
    told = await house.events.until("printed")
    assert (told["request_id"], told["stream"], told["level"]) == ("#1", "stderr", "info")


async def test_prints_on_import_belong_to_no_call(house):
    await house.start("print('loading')\ndef handle(command, arg): pass")
    told = await house.events.until("printed")
    assert "request_id" not in told
    assert "operation" not in told


async def test_prints_that_come_long_after_their_call_still_have_its_number(house):
    await house.start(
        "def handle(command, arg):\n if arg: print('\\n'.join(map(str, range(8000))))"
    )
    calls = [house.submit("many", 1)] + [house.submit("none", 0) for _ in range(990)]
    await asyncio.gather(*calls)
    await asyncio.gather(*(house.submit("none", 0) for _ in range(990)))
    last = await house.events.until("printed", text="7999")
    assert last["request_id"] == "#1"
    assert last["operation"] in (None, "many")  # forgotten, if the calls after it were quicker


async def test_odd_prints_are_logged_and_disturb_nothing(house):
    await house.start(
        r"""
        import os, sys
        def handle(command, arg):
            if command == "partial":
                sys.stdout.write("no end")
            if command == "bytes":
                os.write(1, b"\xff\xfe bad \x1enot a mark\n")
            if command == "long":
                print("x" * 1_000_000)
            if command == "many":
                for number in range(20_000): print("a line of some length, number", number)
            if command == "fake":
                os.write(1, b"\x1e999999999999999999999999 fake\n")
            return arg
        """
    )
    assert await house.call("bytes", 2) == 2
    assert await house.call("long", 3) == 3
    assert await house.call("fake", 4) == 4
    assert await house.call("partial", 1) == 1
    assert await house.call("many", 5) == 5
    await house.events.until(
        "printed", operation="many", text="a line of some length, number 19999"
    )
    assert len(house.events.of("printed", operation="many")) == 20_000
    assert house.events.of("printed", text="no end", operation="partial")
    assert any("\ufffd\ufffd bad" in line["text"] for line in house.events.of("printed"))
    assert (
        sum(line["text"].count("x") for line in house.events.of("printed", operation="long"))
        == 10**6
    )
    assert [line for line in house.events.of("printed") if "fake" in line["text"]]
