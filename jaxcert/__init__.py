"""jaxcert: train classifiers whose predictions come with a proof, and certify them."""

import signal
import sys

# Of `python -m jaxcert.X`, whose arguments Python calls so until it has found the module.
_COMMAND = getattr(sys, "argv", [])[:1] == ["-m"]
if _COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback, from the first line on

from jaxcert.errors import terminal  # noqa: E402

if _COMMAND:
    terminal.begin()

__version__ = "0.1.0"
