"""The interface of the model-serving package, for handlers that were written against it.

The rule of this package: handlers find here what they found there, and nothing of the provider.
"""
