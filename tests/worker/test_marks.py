"""Marks are found on functions, and looking for them wakes nobody."""

from __future__ import annotations

import functools

import pydantic
import pytest

from provider.worker.marks import mark_of


def marked():
    """Stands for any."""


marked.mark = "here"


def static_outside(function):
    """As a decorator above `@staticmethod` leaves its mark."""
    fixed = staticmethod(function)
    fixed.mark = "here"
    return fixed


class Named:
    method = marked
    fixed = staticmethod(marked)
    ofclass = classmethod(marked)


@pytest.mark.parametrize(
    "value",
    [
        marked,
        Named().method,
        vars(Named)["fixed"],
        vars(Named)["ofclass"],
        static_outside(lambda: None),
        functools.wraps(marked)(lambda: None),
        functools.cache(marked),
    ],
)
def test_a_mark_is_found(value):
    assert mark_of(value, "mark") == "here"


def shy():
    """Objects that would rather not be touched; not where pytest and its plugins look around."""

    class AnswersToAll:
        __slots__ = ()

        def __getattr__(self, name):
            return {"mark": "not meant"}

    class Raises:
        def __getattr__(self, name):
            raise RuntimeError("I was touched")

        @property
        def __dict__(self):
            raise RuntimeError("I was touched, too")

    return [AnswersToAll(), Raises(), Named, 5, None, len]


@pytest.mark.parametrize("index", range(6))
def test_where_there_is_none_there_is_none(index):
    assert mark_of(shy()[index], "mark") is None


def test_a_library_class_that_raises_when_touched_is_passed_by(code, load):
    code.write(
        "dispatch.py",
        """
        from provider.dispatch import health, operation
        from pydantic import BaseModel

        class Answer(BaseModel):
            number: int

        @operation
        def answer() -> Answer:
            return Answer(number=42)
        """,
    )
    load()
    touched = [name for name, value in vars(pydantic.BaseModel).items() if raises(value)]
    assert touched, "pydantic has changed; look for another class that raises"


def test_an_object_that_computes_its_class_is_left_alone(code, load):
    code.write(
        "dispatch.py",
        """
        from provider.dispatch import operation

        class Lazy:
            @property
            def __class__(self):
                raise RuntimeError("not set up yet")

        settings = Lazy()

        @operation
        def answer():
            return 42
        """,
    )
    assert load().call("answer", None, False) == 42


def raises(value):
    try:
        value.__dict__  # noqa: B018
    except AttributeError:
        return False
    except Exception:
        return True
    return True
