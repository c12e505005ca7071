"""The first file the worker process runs, in the user's interpreter.

The rule of this file: before a line of the user's code, everything of ours is imported. The host
starts it by path with `-I`, so nothing but the standard library and the user's environment is on
the path; the package `provider` is then made importable from the host's installation without its
site-packages. Everything up to `start` also runs on interpreters too old for us, so that they can
be told apart from broken ones.

    python -I .../provider/worker/__main__.py PACKAGE LINK_FD PROGRESS_FD HOST_PID [LIMIT ...]
"""

import sys

OLDEST = (3, 10)


def start(package: str, arguments: "list[str]") -> int:
    """Make `provider` importable, check the environment, and serve until told to leave.

    Args:
        package: folder of the host's `provider` package.
        arguments: descriptor numbers of the link and of the shared memory, the host's process
            id, and limits as `resources.limit` has them.

    Returns:
        The exit code of the process.
    """
    if sys.version_info < OLDEST:
        print(
            "Python {}.{} is too old for the worker; make VENV_PATH an environment of Python "
            "{}.{} or newer".format(*sys.version_info[:2], *OLDEST),
            file=sys.stderr,
        )
        return 3
    import gc
    import importlib.util

    # What is imported stays, and to look for garbage in between takes a fifteenth of the start.
    gc.disable()
    spec = importlib.util.spec_from_file_location(
        "provider", package + "/__init__.py", submodule_search_locations=[package]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["provider"] = module
    spec.loader.exec_module(module)
    from provider.worker.later import later
    from provider.worker.parent import die_with
    from provider.worker.resources import limit

    if not die_with(int(arguments[2])):
        return 1
    refused = limit(arguments[3:])
    if refused:
        print(refused, file=sys.stderr)
        return 3
    with later():
        missing = _missing()
        if missing:
            print(
                "the environment {} has no usable {}; run: {} -m pip install 'cbor2>=6.1,<7' "
                "'neotasker>=0.0.41'".format(sys.prefix, missing, sys.executable),
                file=sys.stderr,
            )
            return 3
        from provider.worker.serve import serve
    # Or the first look, which comes at once, would be at all of it.
    gc.freeze()
    gc.enable()

    return serve(int(arguments[0]), int(arguments[1]))


def _missing() -> str:
    try:
        import cbor2
    except ModuleNotFoundError:
        return "cbor2"
    except ImportError as error:  # it is there, and something else is wrong
        return "cbor2 ({})".format(error)
    try:
        cbor2.loads(b"\x00", semantic_decoders={}, max_depth=2, allow_duplicate_keys=False)
    except TypeError:
        return "cbor2 (version 6.1 or newer; an older one is there)"
    try:
        import neotasker.embed  # noqa: F401  its presence is the question
    except ImportError as error:
        return "neotasker ({})".format(error)
    return ""


if __name__ == "__main__":
    sys.exit(start(sys.argv[1], sys.argv[2:]))
