"""jaxcert: train classifiers whose predictions come with a proof, and certify them."""

import os
import signal
import sys

# Of `python -m jaxcert.X`, whose arguments Python calls so until it has found the module, and of
# the script `jaxcert`.
_CALLED = next(iter(getattr(sys, "argv", [])), "")
_COMMAND = _CALLED == "-m" or os.path.basename(_CALLED) == "jaxcert"
if _COMMAND and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback, from the first line on

from jaxcert.errors import terminal  # noqa: E402
from jaxcert.version import __version__  # noqa: E402, F401

if _COMMAND:
    terminal.begin()
