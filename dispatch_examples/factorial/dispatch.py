"""The factorial example: three functions anybody on the NATS network can call.

Save this file while the provider runs, and the next call runs what you saved.
"""


def factorial(n):
    """The product of all whole numbers from 1 to n."""
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


def hello(name):
    """A greeting."""
    return f"Hello {name}!"


def big_response(size):
    """A text of as many characters as asked for."""
    return "x" * size


OPERATIONS = {"factorial": factorial, "hello": hello, "big_response": big_response}


def handle(command, arg):
    """Route one call. What stands before the last dot, such as `py.`, is up to the caller."""
    name = command.rpartition(".")[2]
    if name in OPERATIONS:
        return OPERATIONS[name](arg)
    return f"unknown command {command}"
