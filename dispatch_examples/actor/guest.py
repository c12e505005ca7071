"""One call of a WebAssembly guest: what it imports from its host, and how it is kept in bounds.

The rule of this file: the guest is not believed. An address it names is checked before it is used,
its memory is bounded, and it can be stopped wherever it is. Only one guest may run at a time in a
process, because the wasmtime package keeps what host functions raise in one place for all threads.
"""

import sys

import wasmtime

from provider.errors import CallError

MEMORY = 16 << 20  # bytes a guest may have
IMPORTS = {  # of the module `wasmbus`: how many integers each takes and returns
    "__guest_request": (2, 0),
    "__guest_response": (2, 0),
    "__guest_error": (2, 0),
    "__host_call": (8, 1),
    "__host_response_len": (0, 1),
    "__host_response": (1, 0),
    "__host_error_len": (0, 1),
    "__host_error": (1, 0),
    "__console_log": (2, 0),
}


class GuestError(CallError):
    """Why there is no result. The text goes to whoever called."""


class Guest:
    """A file with a guest, WebAssembly or its text, compiled."""

    def __init__(self, path):
        config = wasmtime.Config()
        config.epoch_interruption = True
        self.engine = wasmtime.Engine(config)
        try:
            self.module = wasmtime.Module.from_file(self.engine, str(path))
        except (OSError, wasmtime.WasmtimeError) as error:
            raise GuestError(f"{path} cannot be used: {error}") from None

    def call(self, operation, message, ask):
        """Run one call: the guest's response, or GuestError. It takes its time: for a thread.

        `ask` is called with link name, contract, operation and message when the guest calls a
        provider. It returns the answer, or raises CallError.
        """
        return Call(operation, message, ask).run(self.engine, self.module)

    def stop(self):
        """Stop the call that runs. From any thread."""
        self.engine.increment_epoch()


class Call:
    """One call, in an instance of its own. The methods below `run` are what the guest imports."""

    def __init__(self, operation, message, ask):
        self.operation, self.message, self.ask = operation.encode(), message, ask
        self.response = self.error = self.answer = self.refusal = b""

    def run(self, engine, module):
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=MEMORY, table_elements=10_000, memories=1)
        store.set_epoch_deadline(1)  # `Guest.stop` ends it
        linker = wasmtime.Linker(engine)
        integer = wasmtime.ValType.i32()
        for name, (taken, given) in IMPORTS.items():
            kind = wasmtime.FuncType([integer] * taken, [integer] * given)
            method = getattr(self, name.strip("_"))
            linker.define_func("wasmbus", name, kind, method, access_caller=True)
        try:
            exports = linker.instantiate(store, module).exports(store)
            for name in ("_start", "wapc_init"):
                if name in exports:
                    exports[name](store)
            if "__guest_call" not in exports:
                raise GuestError("the actor exports no __guest_call")
            done = exports["__guest_call"](store, len(self.operation), len(self.message))
        except (wasmtime.Trap, wasmtime.WasmtimeError, IndexError, TypeError) as error:
            cause = str(error).rpartition("Caused by:")[2].strip()
            raise GuestError(f"the actor was stopped: {cause[:500]}") from None
        if done != 1:
            raise GuestError(self.error.decode("utf-8", "replace") or "the actor failed silently")
        return self.response

    def guest_request(self, caller, operation, message):
        write(caller, operation, self.operation)
        write(caller, message, self.message)

    def guest_response(self, caller, at, length):
        self.response = read(caller, at, length)

    def guest_error(self, caller, at, length):
        self.error = read(caller, at, length)

    def host_call(self, caller, *spans):
        *names, message = (read(caller, *spans[index : index + 2]) for index in (0, 2, 4, 6))
        try:
            self.answer = self.ask(*(name.decode() for name in names), message)
        except (CallError, UnicodeDecodeError) as error:
            self.refusal = str(error).encode()
            return 0
        return 1

    def host_response_len(self, _caller):
        return len(self.answer)

    def host_response(self, caller, at):
        write(caller, at, self.answer)

    def host_error_len(self, _caller):
        return len(self.refusal)

    def host_error(self, caller, at):
        write(caller, at, self.refusal)

    def console_log(self, caller, at, length):
        text = read(caller, at, length)[:1000].decode("utf-8", "replace")
        print("the actor says:", ascii(text), file=sys.stderr)


def read(caller, at, length):
    """Bytes of the guest's memory."""
    memory, at = place(caller, at, length % 2**32)
    return bytes(memory.read(caller, at, at + length % 2**32))


def write(caller, at, data):
    """Put bytes into the guest's memory."""
    memory, at = place(caller, at, len(data))
    if data:
        memory.write(caller, data, at)


def place(caller, at, length):
    """The guest's memory, and where in it the guest means: its integers come with a sign."""
    memory, at = caller.get("memory"), at % 2**32
    if not isinstance(memory, wasmtime.Memory) or at + length > memory.data_len(caller):
        raise IndexError(f"it names {length} bytes at {at}, beyond its memory")
    return memory, at
