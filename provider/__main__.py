"""`python -m provider` is the command `provider`."""

import os
import sys

# Python puts the working directory first, and with it the user's json.py or cbor2.py before ours.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from provider.cli import main

main()
