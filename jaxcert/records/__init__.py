"""Files of certificates: one header, then one JSON line per image.

`load`, `save` and `Writer` (files.py) read and write them, `merge` (merging.py) joins some;
lines.py turns lines into columns, checks.py refuses what no certifier writes, cohen_table.py
reads and writes the tables of Cohen et al., frames.py makes a table of pandas.
"""

from jaxcert.certificate import ABSTAIN, ATTACKS, ERROR, Certificates, concatenate
from jaxcert.records.checks import part_numbers
from jaxcert.records.files import (
    SAME,
    Writer,
    computed,
    identity,
    load,
    save,
    to_tsv,
)
from jaxcert.records.frames import to_frame
from jaxcert.records.lines import FORMAT, FORMAT_1
from jaxcert.records.merging import merge

__all__ = [
    "ABSTAIN",
    "ATTACKS",
    "ERROR",
    "FORMAT",
    "FORMAT_1",
    "SAME",
    "Certificates",
    "Writer",
    "computed",
    "concatenate",
    "identity",
    "load",
    "merge",
    "part_numbers",
    "save",
    "to_frame",
    "to_tsv",
]
