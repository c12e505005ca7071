"""The limits of the process, as the host wants them.

The rule of this file: they are set before anything of the user's is imported, soft and hard alike
where that makes sense, so that user code cannot raise them again and its children inherit them. A
limit that cannot be set is no limit, so the process ends.
"""

from __future__ import annotations


def limit(words: list[str]) -> str:
    """Set limits.

    Args:
        words: each `KNOB:NAME:SOFT:HARD`: who asks for it, the part of its name after RLIMIT_, and
            two numbers.

    Returns:
        What could not be set and why; empty when all is well.
    """
    if not words:
        return ""
    import resource

    for word in words:
        knob, name, soft, hard = word.split(":")
        try:
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (int(soft), int(hard)))
        except (AttributeError, OSError, ValueError) as error:
            return f"{knob} cannot be set here: RLIMIT_{name} of {soft}: {error}"
    return ""
