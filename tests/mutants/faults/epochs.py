"""Planted faults of an epoch as one program: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_TEST = "tests/test_train.py::test_an_epoch_as_one_program_trains_as_its_steps_do"

FAULTS = [
    (
        "epoch: all steps have the first batch",
        "data/loader.py",
        "zip(*map(planned, range(first, first + steps)), strict=True)",
        "zip(*map(planned, [first] * steps), strict=True)",
        _TEST,
    ),
    (
        "epoch: every epoch has the batches of the first",
        "data/loader.py",
        "for first in range(start, total, steps):",
        "for first in [start] * ((total - start) // steps):",
        _TEST,
    ),
    (
        "epoch: a run continues within an epoch",
        "data/loader.py",
        'if placement == "epoch" and start % steps:',
        'if placement == "epoch" and start % steps > steps:',
        _TEST,
    ),
    (
        "epoch: the loop counts an epoch as a step",
        "training/loop.py",
        "done = t + stride",
        "done = t + 1",
        _TEST,
    ),
    (
        "epoch: phases that change within it are not seen",
        "training/loop.py",
        "if method.phase(t) != method.phase(t + stride - 1):",
        "if method.phase(t) != method.phase(t):",
        "tests/test_train.py::test_an_epoch_in_which_the_phase_changes_is_no_program",
    ),
]
