"""The interface of the model-serving package, for handlers that were written against it.

The rule of this package: it is a library to the provider, beside the handlers and not among them.
It is loaded once and stays when they are loaded again, as its application and its metrics must.
"""
