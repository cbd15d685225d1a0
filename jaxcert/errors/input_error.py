"""The one exception for faults of what the user gave."""


class InputError(ValueError):
    """Something the user gave is wrong. The message is one sentence: the fault and its
    fix."""
