"""nats-py's parser, for which the words of a line are what they are for a NATS server.

The rule of this file: nats-py's own code runs, with other patterns for the lines of messages. Its
own take a vertical tab and a form feed for a space. A server takes both for letters, and whoever
may publish may have them in a subject, or in the one an answer is wanted on: the line was then none
and ended the connection, or it had another subscription in it than the one the server meant.
"""

from __future__ import annotations

import re
import types
from typing import Any

from nats.protocol import parser
from nats.protocol.parser import Parser

_WORD, _GAP = rb"([^ \t\r\n]+)", rb"[ \t]+"
_PATTERNS = {
    "MSG_RE": re.compile(
        rb"\AMSG" + _GAP + _WORD + _GAP + _WORD + _GAP + rb"(" + _WORD + _GAP + rb")?(\d+)\r\n"
    ),
    "HMSG_RE": re.compile(
        rb"\AHMSG" + _GAP + _WORD + _GAP + _WORD + _GAP + rb"(" + _WORD + _GAP + rb")?"
        rb"(\d+)" + _GAP + rb"(\d+)\r\n"
    ),
}
"""By the names nats-py has for them; with the same groups."""


class SteadyParser(Parser):
    """Reads what a server says."""

    parse: Any = types.FunctionType(
        Parser.parse.__code__,
        {**vars(parser), **_PATTERNS},
        Parser.parse.__name__,
        Parser.parse.__defaults__,
    )
