"""The table of locuslab/smoothing: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from conftest import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcert import cohen_table, records
from jaxcert.errors import InputError
from jaxcert.records import Certificates

HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
VOTES = HEAD + "\tnA\tn\tp_lower"


def rows(*index: int, **changed) -> Certificates:
    size = len(index)
    columns = dict(
        index=np.array(index, np.int64),
        label=np.full(size, 2, np.int32),
        predicted=np.full(size, 2, np.int32),
        radius=np.linspace(0.1, 0.2, size) / 3,
        n=np.full(size, 100, np.int64),
        seconds=np.full(size, 0.125),
        p_lower=np.full(size, 2 / 3),
        counts=np.tile([1, 2, 97], (size, 1)),
    )
    return Certificates(**columns | changed)


@pytest.fixture
def loaded(tmp_path):
    """Lines -> what records.load makes of a file of them."""

    def load(*lines):
        path = tmp_path / "t.tsv"
        path.write_text("\n".join(lines) + "\n")
        return records.load(path)

    return load


class TestWritten:
    def test_columns_are_those_of_the_originals_and_the_evidence(self):
        c = rows(4, 7, 9, predicted=np.array([2, 0, records.ERROR]))
        c.radius[:] = 1.90573, 0.0012345, 0
        first, *lines = records.to_tsv(c).splitlines()
        assert first == VOTES
        cells = [line.split("\t")[:6] for line in lines]
        assert cells[0] == ["4", "2", "2", "1.90", "1", "0:00:00.125000"]
        assert cells[1][3:5] == ["0.00123", "0"]
        assert cells[2][2:4] == ["-1", "0.0"]

    def test_deterministic_table_has_the_six_columns(self):
        text = records.to_tsv(rows(4, counts=None, p_lower=None))
        assert text.splitlines()[0] == HEAD

    def test_predictions_are_written_without_radius_and_votes(self, loaded):
        c = rows(4, header=dict(procedure=dict(name="predict")))._replace(radius=[0.0])
        text = records.to_tsv(c)
        assert text.splitlines()[0] == "idx\tlabel\tpredict\tcorrect\ttime"
        assert cohen_table.predicts(loaded(text))

    def test_lines_are_in_the_order_of_the_images(self):
        lines = records.to_tsv(rows(20, 3, 7)).splitlines()[1:]
        assert [line.split("\t")[0] for line in lines] == ["3", "7", "20"]

    @settings(deadline=None, max_examples=200)
    @given(st.floats(0, 1e6), st.integers(1, 6))
    def test_printed_radius_is_never_above_and_close(self, value, digits):
        printed = cohen_table.floor_digits(value, digits)
        assert Fraction(printed) <= Fraction(value)
        assert "e" not in printed.lower()
        # one unit of the last digit is at most 10^(1 - digits) of the number
        assert Fraction(value) <= Fraction(printed) * (1 + Fraction(10) ** (1 - digits))


class TestRead:
    def test_table_reads_back(self, loaded):
        c = rows(4, 7)
        back = loaded(records.to_tsv(c))
        for name in ("index", "label", "predicted", "n", "p_lower", "seconds"):
            np.testing.assert_array_equal(getattr(back, name), getattr(c, name))
        assert (back.radius <= c.radius).all()
        assert back.agreeing.tolist() == [[97], [97]]

    def test_abstention_reads_back(self, loaded):
        c = rows(4, predicted=np.array([-1]), radius=np.zeros(1))
        assert np.isnan(loaded(records.to_tsv(c)).p_lower).all()

    @pytest.mark.parametrize(
        "time, seconds",
        [("12.5", 12.5), ("0:01:02.5", 62.5), ("1 day, 1:00:00", 90000.0)],
    )
    def test_times_of_all_originals_are_read(self, loaded, time, seconds):
        c = loaded(HEAD, f"3\t1\t1\t0.5\t1\t{time}", "")
        assert c.seconds.tolist() == [seconds]

    def test_table_of_predictions_has_no_radius(self, loaded):
        c = loaded("idx\tlabel\tpredict\tcorrect\ttime", "3\t1\t1\t1\t0.5")
        assert c.radius.tolist() == [0.0]

    def test_mark_at_the_start_of_the_file_is_no_part_of_it(self, loaded):
        assert loaded("\ufeff" + HEAD, "3\t1\t1\t0.5\t1\t1").index.tolist() == [3]

    def test_table_of_predictions_is_told_from_one_of_radii(self, loaded):
        names = "idx\tlabel\tpredict\tcorrect\ttime"
        assert cohen_table.predicts(loaded(names, "3\t1\t1\t1\t0.5"))
        assert not cohen_table.predicts(loaded(HEAD, "3\t1\t1\t0.5\t1\t1"))
        assert not cohen_table.predicts(loaded(HEAD, "3\t1\t-1\t0.0\t0\t1"))

    def test_columns_of_others_may_follow(self, loaded):
        assert loaded(HEAD + "\tnote", "3\t1\t1\t0.5\t1\t1\tx").radius.tolist() == [0.5]

    def test_radius_stays_as_printed(self, loaded):
        assert loaded(HEAD, "3\t1\t1\t1.91\t1\t1").radius.tolist() == [1.91]


@pytest.mark.golden
@pytest.mark.parametrize(
    "path", sorted(golden_dir("certify_logs").rglob("*.tsv")), ids=lambda p: p.stem
)
def test_released_logs_are_read(path):
    expected = json.loads((golden_dir("certify_logs") / "expected.json").read_text())
    (entry,) = (e for e in expected if e["file"].endswith(path.name))
    c = records.load(path)
    assert (len(c.index), c.correct.sum()) == (
        entry["num_images"],
        entry["num_correct"],
    )


REFUSED = {
    "short": ("3\t1\t1\t0.5", "has 4 fields and the first line names 6: delete"),
    "long": ("3\t1\t1\t0.5\t1\t1\t1", "has 7 fields"),
    "blank": ("", "has 1 fields"),
    "underscore": ("1_0\t1\t1\t0.5\t1\t1", "has idx '1_0', which is no such value"),
    "underscore in a radius": ("3\t1\t1\t0_5\t1\t1", "has radius '0_5'"),
    "word": ("3\t1\t1\tx\t1\t1", "has radius 'x', which is no such value: restore"),
    "no integer": ("3\t1.5\t1\t0.5\t1\t1", "has label '1.5'"),
    "large": ("3\t1\t99999999999\t0.5\t0\t1", "has predict '99999999999'"),
    "time": ("3\t1\t1\t.5\t1\tx", "has time 'x'"),
    "infinite time": ("3\t1\t1\t.5\t1\tinf", "has the time inf"),
    "wrong called correct": (
        "3\t1\t2\t0.5\t1\t1",
        "has correct 1 for label 1 and predict 2",
    ),
    "correct called wrong": (
        "3\t1\t1\t0.5\t0\t1",
        "has correct 0 for label 1 and predict 1",
    ),
    "no truth value": ("3\t1\t1\t0.5\t2\t1", "has correct '2'"),
    "abstention": ("3\t1\t-1\t0.5\t0\t1", "abstains with radius 0.5: restore"),
    "unknown word": ("3\t1\t-2\t0.0\t0\t1", "has predict -2"),
    "negative": ("3\t1\t1\t-0.5\t1\t1", "has radius -0.5"),
    "nan": ("3\t1\t1\tnan\t1\t1", "has radius nan"),
    "infinite": ("3\t1\t1\tinf\t1\t1", "has radius inf"),
    "label": ("3\t-1\t-1\t0.0\t1\t1", "has idx 3 and label -1"),
    "duplicate": (
        "2\t1\t1\t0.5\t1\t1",
        "is of image 2, which was there .*: delete one",
    ),
    "earlier": ("1\t1\t1\t0.5\t1\t1", "is of image 1, which was there"),
    "unordered": ("0\t1\t1\t0.5\t1\t1", "is of image 0 and stands below 2: sort"),
}


@pytest.mark.parametrize("line, fault", REFUSED.values(), ids=REFUSED)
def test_line_that_no_certifier_prints_is_named(loaded, line, fault):
    before = ("1\t1\t1\t0.5\t1\t1", "2\t1\t1\t0.5\t1\t1")
    with pytest.raises(InputError, match=rf"t\.tsv, line 4 {fault}") as refused:
        loaded(HEAD, *before, line, "9\t1\t1\t0.5\t1\t1")
    assert str(refused.value).endswith(".")


TAMPERED = {
    "more than all": ("0.5\t1\t1\t101\t100\t0.9", "has nA 101 of n 100 votes"),
    "negative votes": ("0.5\t1\t1\t-1\t100\t0.9", "has nA -1 of n 100"),
    "negative n": ("0.5\t1\t1\t-2\t-1\t0.9", "has n -1"),
    "no share": ("0.5\t1\t1\t90\t100\t1.5", "has p_lower 1.5"),
    "few agree": ("0.5\t1\t1\t50\t100\t0.6", "has radius 0.5 with nA 50 of n 100"),
    "no p_lower": ("0.5\t1\t1\t60\t100\tnan", "has radius 0.5 without p_lower"),
    "nothing certified": ("0.5\t1\t1\t60\t100\t0.5", "has radius 0.5 with p_lower 0.5"),
}


@pytest.mark.parametrize("end, fault", TAMPERED.values(), ids=TAMPERED)
def test_tampered_votes_are_named(loaded, end, fault):
    with pytest.raises(InputError, match=f"line 2 {fault}.*: restore"):
        loaded(VOTES, f"3\t1\t1\t{end}")


@pytest.mark.parametrize(
    "head, fault",
    [
        ("idx\tlabel\tp1\tp2\tcorrect\ttime", "lacks predict; name another file"),
        ("idx\tlabel\tradius", "lacks predict, correct, time"),
        (HEAD + "\tidx", "line 1 names idx twice"),
        (HEAD + "\tnA", "line 1 has nA and lacks n"),
        (VOTES.replace("radius\t", ""), "line 1 has nA, n, p_lower and lacks radius"),
    ],
)
def test_first_line_without_its_columns_is_named(loaded, head, fault):
    with pytest.raises(InputError, match=fault):
        loaded(head, "3\t1\t1\t0.5\t1\t1\t1")
