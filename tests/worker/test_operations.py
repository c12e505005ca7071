"""The operations of a module: found, named, called, described."""

from __future__ import annotations

import sys
import types

import pytest

from provider.dispatch import operation
from provider.errors import BadResult, InvalidArgument, UnknownOperation
from provider.worker.operations import (
    MOST_DOC,
    MOST_SIGNATURE,
    DeclarationError,
    Refusal,
    collect,
)


def module(**names):
    made = types.ModuleType("dispatch")
    vars(made).update(names)
    return made


@operation
def add(a: int, b: int = 2) -> int:
    """Add two numbers.

    And no more.
    """
    return a + b


@operation(name="geo.near", cache=60)
def near(place: str):
    return f"near {place}"


@operation(name="far")
def fallback():
    return "far"


class Counter:
    made = 0

    def __init__(self, start: int = 10):
        self.count = start
        Counter.made += 1

    @operation
    def up(self) -> int:
        self.count += 1
        return self.count

    @staticmethod
    @operation
    def fixed() -> int:
        return 1

    @classmethod
    @operation
    def kind(cls) -> str:
        return cls.__name__


class Derived(Counter):
    @operation(name="derived.up")
    def up(self) -> int:
        return -1


def test_a_module_without_declarations_has_none():
    assert collect(module(handle=lambda _c, _a: 1, x=5)) is None


def test_operations_are_found_by_the_name_callers_may_choose():
    operations = collect(module(add=add, near=near, again=add))
    assert [found.declaration.full_name for found in operations.all] == ["add", "geo.near"]
    assert operations.call("add", {"a": 1}, True) == 3
    assert operations.call("py.add", {"a": 1, "b": 1}, True) == 2
    assert operations.call("a.b.add", {"a": 1}, True) == 3
    assert operations.call("geo.near", "Bern", True) == "near Bern"
    for command in ("near", "py.near", "x.geo.near", "geo.near.x", "", ".", "add."):
        with pytest.raises(Refusal) as caught:
            operations.call(command, None, False)
        assert isinstance(caught.value.error, UnknownOperation)


def test_an_exact_name_goes_before_a_free_one():
    @operation(name="py.add")
    def exact():
        return "exact"

    operations = collect(module(add=add, exact=exact))
    assert operations.call("py.add", None, False) == "exact"
    assert operations.call("x.add", {"a": 0}, True) == 2


def test_unknown_names_are_told_the_nearest():
    operations = collect(module(add=add, near=near))
    with pytest.raises(Refusal, match=r"no operation 'geo\.naer'; the nearest are geo\.near"):
        operations.call("geo.naer", None, False)
    with pytest.raises(Refusal, match=r"no operation 'zzzzzzzz'$"):
        operations.call("zzzzzzzz", None, False)
    with pytest.raises(Refusal) as caught:
        operations.call("x" * 100_000, None, False)
    assert len(caught.value.error.message) < 1000


def test_handle_takes_what_no_operation_is_for():
    operations = collect(module(add=add, handle=lambda command, arg: (command, arg)))
    assert operations.call("other", 5, True) == ("other", 5)
    assert operations.call("add", {"a": 1}, True) == 3


def test_callers_who_make_names_up_fill_no_memory():
    from provider.worker import operations as module_

    operations = collect(module(add=add))
    for number in range(module_.REMEMBERED + 10):
        assert operations.find(f"made{number}.up.add") is operations.all[0]
    assert len(operations._remembered) <= module_.REMEMBERED


def test_a_class_is_made_once_and_its_methods_share_it():
    before = Counter.made
    operations = collect(module(Counter=Counter))
    assert Counter.made == before + 1
    assert [operations.call("up", None, False) for _ in range(2)] == [11, 12]
    assert operations.call("fixed", None, False) == 1
    assert operations.call("kind", None, False) == "Counter"


def test_what_a_class_overrides_is_what_is_called():
    operations = collect(module(Derived=Derived))
    assert operations.call("derived.up", None, False) == -1
    assert operations.find("up") is None
    assert operations.call("kind", None, False) == "Derived"


def test_two_of_one_name_are_refused():
    @operation(name="add")
    def other(): ...

    with pytest.raises(DeclarationError, match="two operations are called add"):
        collect(module(add=add, other=other))


def test_a_class_that_needs_arguments_is_refused():
    class Needy:
        def __init__(self, place): ...

        @operation
        def go(self): ...

    with pytest.raises(DeclarationError, match=r"the class Needy .* default"):
        collect(module(Needy=Needy))


def test_what_could_never_be_called_is_refused_by_name():
    @operation
    def odd(*args): ...

    with pytest.raises(DeclarationError, match=r"operation odd: \*args can be given nothing"):
        collect(module(odd=odd))


def test_objects_that_answer_to_every_name_declare_nothing():
    class Everything:
        def __getattr__(self, name):
            return lambda: 1

    assert collect(module(x=Everything())) is None


def test_arguments_that_do_not_fit_are_refused_before_the_function_is_touched():
    operations = collect(module(add=add))
    with pytest.raises(Refusal) as caught:
        operations.call("add", {"a": "1"}, True)
    assert isinstance(caught.value.error, InvalidArgument)


def test_an_error_of_the_function_is_the_functions():
    @operation
    def refuse():
        raise InvalidArgument("mine")

    with pytest.raises(InvalidArgument, match="mine"):
        collect(module(refuse=refuse)).call("refuse", None, False)


def test_what_is_told_of_operations():
    @operation(interface="py", batch=4)
    def many(numbers: list[int]) -> list[int]:
        return numbers

    @operation
    def parts(n: int):
        yield n

    told = [found.described() for found in collect(module(add=add, n=near, m=many, p=parts)).all]
    assert told[0] == {
        "name": "add",
        "free": True,
        "signature": "(a: int, b: int = 2) -> int",
        "doc": "Add two numbers.\n\nAnd no more.",
        "batch": 0,
        "cache": 0.0,
        "streams": False,
        "http": [],
    }
    assert (told[1]["name"], told[1]["free"], told[1]["cache"]) == ("geo.near", False, 60.0)
    assert (told[2]["name"], told[2]["free"], told[2]["batch"]) == ("py.many", False, 4)
    assert told[3]["streams"] is True


def test_what_is_told_has_an_end():
    @operation
    def wordy(a="x" * 100_000): ...

    wordy.__doc__ = "x" * 100_000
    (told,) = [found.described() for found in collect(module(wordy=wordy)).all]
    assert len(told["signature"]) < MOST_SIGNATURE + 50
    assert len(told["doc"]) < MOST_DOC + 50


def test_a_type_that_cannot_be_checked_is_said_when_the_module_loads(capsys):
    @operation
    def odd(a): ...

    odd.__annotations__ = {"a": list["Nowhere"]}  # noqa: F821  the point
    collect(module(odd=odd))
    assert "operation odd: a is not checked against its type: " in capsys.readouterr().err


# --- in a worker ---------------------------------------------------------------------------------

PROGRAM = """
    import dataclasses, datetime, enum
    from provider.dispatch import operation

    class Colour(enum.Enum):
        RED = "red"

    @dataclasses.dataclass
    class Item:
        name: str
        colour: Colour = Colour.RED

    @operation
    def items(items: list[Item]) -> list[Item]:
        assert all(isinstance(item, Item) for item in items)
        return items

    @operation
    def parts(n: int):
        for number in range(n):
            yield Item(str(number))

    @operation
    def odd():
        return [Item("x"), {1, 2}]

    @operation
    def plain(a: int) -> int:
        return a

    def handle(command, arg):
        return Item("plain")
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from tests.worker.conftest import Code, WorkerProcess

    code = Code(tmp_path_factory.mktemp("operations"))
    worker = WorkerProcess()
    worker.load(code.write("dispatch.py", PROGRAM))
    yield worker
    worker.end()


def test_results_travel_as_maps(served):
    item = {"name": "x", "colour": "red"}
    assert served.ask("items", [{"name": "x"}]) == [item]
    assert served.ask("parts", 2) == [{**item, "name": "0"}, {**item, "name": "1"}]


def test_results_travel_as_maps_in_json_too(served):
    from provider.wire.frames import Encoding

    number = served.begin("items", payload=b'[{"name":"x"}]', encoding=Encoding.JSON)
    _kind, answered, body = served.next_frame()
    assert answered == number
    assert body == b'[{"name":"x","colour":"red"}]'


def test_what_still_cannot_travel_is_told_with_its_path(served):
    with pytest.raises(BadResult, match=r"type set is not accepted.*\[1\]"):
        served.ask("odd")


def test_a_handle_beside_operations_may_return_as_they_do(served):
    assert served.ask("other") == {"name": "plain", "colour": "red"}


def test_paths_lead_into_the_argument(served):
    with pytest.raises(InvalidArgument, match=r"^1\.colour: Input should be 'red'"):
        served.ask("items", [{"name": "x"}, {"name": "x", "colour": "blue"}])


def test_without_pydantic_plain_types_are_checked_and_others_left_alone(start, code, tmp_path):
    import aiosched
    import cbor2
    import neotasker

    from tests.worker.test_worker_main import Environment

    environment = Environment(tmp_path / "venv", sys.executable)
    environment.copy(neotasker, aiosched, cbor2)
    worker = start(environment.python)
    told = worker.load(
        code.write(
            "dispatch.py",
            """
            import sys
            from provider.dispatch import operation

            @operation
            def add(a: int, b: int = 1) -> int:
                return a + b

            @operation
            def first(numbers: list[int]) -> int:
                return numbers[0]

            @operation
            def imported():
                return "pydantic" in sys.modules
            """,
        )
    )
    assert [entry["name"] for entry in told["operations"]] == ["add", "first", "imported"]
    assert worker.ask("add", {"a": 1}) == 2
    with pytest.raises(InvalidArgument, match=r"^a: Input should be a valid integer$"):
        worker.ask("add", {"a": "1"})
    assert worker.ask("first", ["left alone"]) == "left alone"
    assert worker.ask("imported") is False
    assert worker.bye() == 0
    assert b"first: numbers is not checked" in worker.printed("stderr")
    assert b"pydantic is not in the environment" in worker.printed("stderr")
