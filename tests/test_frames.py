"""Certificates as a table of pandas, which is not needed for anything else."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import names

from jaxcert import records
from jaxcert.certificate import Certificates
from jaxcert.errors import InputError

C = Certificates(
    index=np.array([4, 7]),
    label=np.array([1, 0], np.int32),
    predicted=np.array([1, 1], np.int32),
    radius=np.array([0.5, 0.25]),
    n=np.array([10, 10]),
    seconds=np.array([0.1, 0.2]),
    counts=np.array([[1, 9, 0], [0, 10, 0]]),
    header={"method": "smoothing"},
)
NAMES = "index label predicted radius n seconds counts_0 counts_1 counts_2 correct"


def columns_of(frame):
    assert list(frame) == NAMES.split()
    return {name: np.asarray(frame[name]).tolist() for name in frame}


def check(frame):
    found = columns_of(frame)
    assert found["index"] == [4, 7] and found["radius"] == [0.5, 0.25]
    assert [found[f"counts_{i}"] for i in range(3)] == [[1, 0], [9, 10], [0, 0]]
    assert found["correct"] == [True, False]
    assert frame.attrs["header"] == {"method": "smoothing"}


class Frame(dict):
    """What is used of pandas.DataFrame."""

    def __init__(self, columns):
        super().__init__(columns)
        self.attrs = {}


def test_every_number_has_a_column(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Frame))
    check(records.to_frame(C))


def test_with_pandas_itself():
    pandas = pytest.importorskip("pandas")
    frame = records.to_frame(C)
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 2
    check(frame)


def test_without_pandas_a_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=names("records.to_frame", "pandas", "pip")):
        records.to_frame(C)
