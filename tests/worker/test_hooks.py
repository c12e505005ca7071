"""What a module wants done at its beginning, its end, and when it is asked how it is."""

from __future__ import annotations

import cbor2
import pytest

from provider.dispatch import adopt, health, shutdown, startup
from provider.wire.frames import FrameType, frame
from provider.worker.loader import LoadError

HANDLE = "\ndef handle(command, arg): return log\n"
PRELUDE = "from provider.dispatch import adopt, health, operation, shutdown, startup\nlog = []\n"


@pytest.fixture
def module(code, load):
    """Load a program with hooks in our own process; it has the list `log`."""

    def loaded(text):
        code.write("dispatch.py", PRELUDE + text + HANDLE)
        return load()

    return loaded


def log_of(program):
    return program.call("x", None, False)


def renewed(code, program, text):
    code.write("dispatch.py", PRELUDE + text + HANDLE)
    return program.reload(force=True)


def ask_health(worker, number):
    worker.send(frame(FrameType.HEALTH, number))
    kind, answered, body = worker.next_frame()
    assert (kind, answered) == (FrameType.TROUBLE, number)
    return cbor2.loads(body)["trouble"]


# --- the beginning --------------------------------------------------------------------------------


def test_startup_runs_once_before_it_serves_in_the_order_of_declaration(module):
    program = module("""
@startup
def first(): log.append("first")
@startup
async def second(): log.append("second")
again = first
""")
    assert log_of(program) == ["first", "second"]


def test_a_class_with_operations_may_have_hooks_for_its_one_instance(module):
    program = module("""
class Shop:
    def __init__(self): self.open = False
    @startup
    def begin(self): self.open = True
    @operation
    def is_open(self): return self.open
    @startup
    @staticmethod
    def also(): log.append("static")
""")
    assert program.call("is_open", None, False) is True
    assert log_of(program) == ["static"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@startup\ndef begin(): 1 / 0", "startup begin failed: ZeroDivisionError"),
        ("@startup\nasync def begin(): 1 / 0", "startup begin failed: ZeroDivisionError"),
        ("@startup\ndef begin(): raise SystemExit(3)", "startup begin failed: it called sys.exit"),
        ("@startup\ndef begin(x): pass", "startup begin must take no argument"),
        ("@adopt\ndef take(): pass", "adopt take must take the previous module"),
        ("@startup\n@operation\ndef begin(): pass", "both startup and an operation"),
        (
            "class A:\n    @startup\n    def begin(self): pass",
            "class A has hooks and no operations",
        ),
    ],
)
def test_what_fails_at_the_beginning_ends_the_load(module, text, words):
    with pytest.raises(LoadError, match=words) as caught:
        module(text)
    assert "dispatch.py was executed, but" in str(caught.value)
    assert ("ZeroDivisionError: division" in caught.value.traceback) == ("ZeroDiv" in words)


def test_a_base_class_with_hooks_is_fine_where_something_is_made_of_it(module):
    program = module("""
class Base:
    @startup
    def begin(self): log.append(type(self).__name__)
class Sub(Base):
    @operation
    def x(self): pass
""")
    assert program.call("other", None, False) == ["Sub"]


# --- reload ---------------------------------------------------------------------------------------


def test_a_reload_adopts_starts_and_then_shuts_the_old_one_down(code, module):
    text = """
VERSION = %d
@adopt
def take(previous): log.append(f"{VERSION} adopts {previous.VERSION}"); log.extend(previous.log)
@startup
def begin(): log.append(f"{VERSION} begins")
@shutdown
def end(): told.append(f"{VERSION} ends")
import builtins; told = builtins.__dict__.setdefault("told_to_the_test", [])
"""
    import builtins

    try:
        program = module(text % 1)
        assert log_of(program) == ["1 begins"]
        renewed(code, program, text % 2)
        assert log_of(program) == ["2 adopts 1", "1 begins", "2 begins"]
        assert builtins.told_to_the_test == ["1 ends"]
        program.leave()
        program.leave()
        assert builtins.told_to_the_test == ["1 ends", "2 ends"]
    finally:
        del builtins.told_to_the_test


@pytest.mark.parametrize("hook", ["@startup\ndef new(): ", "@adopt\ndef new(previous): "])
def test_where_the_new_one_does_not_start_the_old_one_serves_on(code, module, hook):
    ended = "@shutdown\ndef end(): log.append('ended')\n@health\ndef well(): return False"
    program = module(ended)
    with pytest.raises(LoadError, match="new failed: KeyError"):
        renewed(code, program, hook + "raise KeyError('x')")
    assert log_of(program) == []
    assert "well said no" in program.trouble()


def test_hooks_that_are_gone_are_not_called_again(code, module):
    program = module("@health\ndef well(): return False")
    assert program.state().health is True
    assert renewed(code, program, "").health is False
    assert program.trouble() == ""


def test_what_was_declared_last_shuts_down_first(module):
    program = module("""
@shutdown
def first(): log.append("first")
@shutdown
async def second(): log.append("second")
""")
    log = log_of(program)
    program.leave()
    assert log == ["second", "first"]


# --- health ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        ("return True", ""),
        ("return None", ""),
        ("return 0", ""),
        ("return False", "health well said no"),
        ("raise OSError('disk full')", "health well failed: OSError: disk full"),
        ("raise SystemExit", "health well failed: it called sys.exit(None)"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_module_says_how_it_is(module, kind, body, trouble):
    assert module(f"@health\n{kind} well(): {body}").trouble() == trouble


def test_the_first_trouble_counts(module):
    program = module(
        "@health\ndef a(): pass\n@health\ndef b(): return False\n@health\ndef c(): 1/0"
    )
    assert program.trouble() == "health b said no"


# --- in the worker --------------------------------------------------------------------------------


def test_the_worker_answers_between_calls_and_shuts_down_at_the_end(code, worker):
    text = (
        PRELUDE
        + """
calls = 0
@operation
def count():
    global calls
    calls += 1
@health
def well():
    if calls: raise RuntimeError(f"worn out after {calls}")
@shutdown
def first(): print("the last word")
@shutdown
def second(): raise SystemExit("no")
"""
    )
    ready = worker.load(code.write("dispatch.py", text))
    assert ready["health"] is True
    assert ask_health(worker, 1) == ""
    assert worker.begun == 1
    worker.ask("count")
    assert ask_health(worker, 2) == "health well failed: RuntimeError: worn out after 1"
    assert worker.bye() == 0
    assert b"the last word" in worker.printed()
    assert b"shutdown second failed: it called sys.exit('no')" in worker.printed("stderr")


def test_a_plain_module_has_nothing_to_say(code, worker):
    ready = worker.load(code.write("dispatch.py", "def handle(c, a): return c"))
    assert ready["health"] is False
    assert ask_health(worker, 1) == ""


def test_a_worker_that_does_not_start_says_why(code, worker):
    path = code.write("dispatch.py", PRELUDE + "@startup\ndef begin(): 1 / 0" + HANDLE)
    failure = worker.fail(path)
    assert "startup begin failed: ZeroDivisionError" in failure["message"]
    assert worker.exit_code() == 3


# --- the declarations -----------------------------------------------------------------------------


@pytest.mark.parametrize("declare", [startup, shutdown, health, adopt])
def test_only_functions_can_be_hooks(declare):
    def function():
        """Stands for any."""

    assert declare(function) is function
    for wrong in (None, 5, int):
        with pytest.raises(TypeError, match=f"{declare.__name__} declares functions"):
            declare(wrong)
