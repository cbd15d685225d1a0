"""Configurations: names and numbers, and where they become functions.

A config file is Python with `get_config(arg="") -> ConfigDict`. `config.method.name =
"lot"` means `jaxcert.methods.lot.make(**the other keys)`: file name = config name =
import path, so a search finds everything and a wrong key names the keys there are.
"""

from ml_collections import ConfigDict

from jaxcert.config.building import PACKAGES, build, call, in_float32, maker, settings
from jaxcert.config.checking import check, check_type, type_of
from jaxcert.config.comparing import (
    differences,
    tiny,
    with_certificate,
    without_reference,
)
from jaxcert.config.files import (
    described,
    load,
    read,
    save,
    shipped,
    split,
    system_name,
)
from jaxcert.config.overrides import override, resolve
from jaxcert.config.rows import rows, words
from jaxcert.config.sections import base

CERTIFY_STREAM = 0xCE27
EVALUATE_STREAM = 0xE7A1
"""Folded into the key of certify.seed: apart from all that training draws from, and from each
other. A checkpoint that evaluations chose depends on their noise, not on the certificate's."""

__all__ = [
    "CERTIFY_STREAM",
    "EVALUATE_STREAM",
    "PACKAGES",
    "ConfigDict",
    "base",
    "build",
    "call",
    "check",
    "check_type",
    "described",
    "differences",
    "in_float32",
    "load",
    "maker",
    "override",
    "read",
    "resolve",
    "rows",
    "save",
    "settings",
    "shipped",
    "split",
    "system_name",
    "tiny",
    "type_of",
    "with_certificate",
    "without_reference",
    "words",
]
