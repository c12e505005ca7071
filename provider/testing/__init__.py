"""Testing dispatch modules: fixtures for pytest, and what they are made of.

The rule of this package: a test calls what will be called in service, through the code that will
serve it. Two ways, for the two questions a test asks:

    provider_dispatch   the module in the test's own process: is my code right?
    running_provider    a provider with a worker and a NATS server: does it serve?

This page and `plugin` stay light, because pytest imports them in every run of whoever has the
provider installed.
"""
