"""A folder of golden arrays of other sizes, seeds and names, by our own float64 forms.

    python -m tests.golden_other FOLDER [PATTERN ...]
    JAXCERT_GOLDEN_DIR=FOLDER pytest -m golden

shows that golden tests take what they compare from the files. The forms are written from
the definitions (README of each area's arrays) and use nothing of jaxcert; JAX stands for
NumPy with derivatives. Where the arrays of the originals are compared as well, form,
original and jaxcert agree.
"""
