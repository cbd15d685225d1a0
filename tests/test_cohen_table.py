"""The table of locuslab/smoothing: what is written, what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names

from jaxcert import certificate, records
from jaxcert.errors import InputError
from jaxcert.records import Certificates, cohen_table

HEAD = "idx\tlabel\tpredict\tradius\tcorrect\ttime"
ONES = "1.00e+00 1.00e+00 5.00e-01 1.00e+00 2.00e+00".split()
VOTES = HEAD + "\tnA\tn\tp_lower"


RADII = st.one_of(
    st.floats(0, 1e6),
    st.floats(0, 1e3, width=32),
    st.integers(0, 2000).map(lambda k: k / 255),
    st.integers(0, 2000).map(lambda k: k / 20),
    st.sampled_from([0.15, 36 / 255, 3 * 0.05, float(np.float32(0.15)), 5e-324]),
)


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
        assert cells[0] == ["4", "2", "2", "1.90573", "1", "0:00:00.125000"]
        assert cells[1][3:5] == ["0.0012345", "0"]
        assert cells[2][2:4] == ["-1", "0.0"]

    def test_any_time_is_written(self, loaded):
        for seconds in (-1.0, 1e300):
            table = records.to_tsv(rows(4, seconds=np.array([seconds])))
            assert loaded(table).seconds[0] == min(max(seconds, 0), 1e12)

    def test_deterministic_table_has_the_six_columns(self):
        text = records.to_tsv(rows(4, counts=None, p_lower=None))
        assert text.splitlines()[0] == HEAD

    def test_predictions_are_written_without_radius_and_votes(self, loaded):
        c = rows(4, header=dict(procedure=dict(name="predict")))._replace(radius=[0.0])
        text = records.to_tsv(c)
        assert text.splitlines()[0] == "idx\tlabel\tpredict\tcorrect\ttime"
        assert loaded(text).header["procedure"] == dict(name="predict")

    def test_which_rows_are_correct_is_computed_once(self, monkeypatch):
        """For each of a million rows it took minutes."""
        taken = []

        def correct(c):
            taken.append(c)
            return c.predicted == c.label

        monkeypatch.setattr(Certificates, "correct", property(correct))
        c = rows(4, 7, 9, predicted=np.array([2, 1, 2]))
        lines = records.to_tsv(c).splitlines()[1:]
        assert [line.split("\t")[4] for line in lines] == ["1", "0", "1"]
        assert len(taken) == 1

    def test_lines_are_in_the_order_of_the_images(self):
        lines = records.to_tsv(rows(20, 3, 7)).splitlines()[1:]
        assert [line.split("\t")[0] for line in lines] == ["3", "7", "20"]

    @settings(deadline=None, max_examples=200)
    @given(st.lists(RADII, min_size=1, max_size=4), st.lists(RADII, max_size=4))
    def test_whether_a_radius_reaches_a_threshold_survives(self, radii, thresholds):
        c = rows(*range(len(radii)), radius=np.array(radii, np.float64))
        table = records.to_tsv(c)
        columns, _ = cohen_table.read(Path("t"), table.splitlines())
        back = Certificates(**columns)
        for radius, cells in zip(radii, table.splitlines()[1:], strict=True):
            assert float(cells.split("\t")[3]) == radius, "as other readers see it"
        # at a radius, just above, and anywhere: never lost and never more than the record has
        at = np.array([*radii, *np.nextafter(radii, np.inf), *thresholds])
        ours, theirs = (certificate.certified_accuracy(x, at) for x in (c, back))
        np.testing.assert_array_equal(ours, theirs)
        assert (theirs[: len(radii)] > 0).all()

    def test_other_certificates_say_what_they_are_and_are_restored(self, loaded):
        tried = dict(name="interval", radii=[0.05, 0.1], logit_slack=1e-9)
        header = dict(method="interval", norm="linf", procedure=tried)
        text = records.to_tsv(rows(4, 7, counts=None, p_lower=None, header=header))
        first, *lines = text.splitlines()
        assert first == HEAD + "\tnorm\tcertificate\ttried"
        assert all(x.endswith("\tlinf\tinterval/interval\t0.05;0.1") for x in lines)
        back = loaded(text).header
        assert (back["norm"], back["method"]) == ("linf", "interval")
        assert back["procedure"] == dict(name="interval", radii=[0.05, 0.1])
        assert records.to_tsv(loaded(text)) == text

    def test_any_name_of_a_certificate_is_one_word(self, loaded):
        header = dict(method="my\tmethod 2/3", procedure=dict(name="majority"))
        back = loaded(records.to_tsv(rows(4, header=header))).header
        assert back["method"] == "my_method_2_3"
        assert back["procedure"] == dict(name="majority")

    @pytest.mark.parametrize("norm", ["l1", "linf"])
    def test_norm_of_smoothing_is_restored(self, loaded, norm):
        header = dict(method="smoothing", norm=norm, procedure=dict(name="certify"))
        back = loaded(records.to_tsv(rows(4, header=header)))
        assert back.header["norm"] == norm and back.header["method"] == "smoothing"
        assert "procedure" not in back.header


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
        [
            ("12.5", 12.5),
            ("0:01:02.5", 62.5),
            ("1 day, 1:00:00", 90000.0),
            ("2 days, 0:00:01", 172801.0),
            ("0 days 00:00:08.5", 8.5),
        ],
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
        predict = dict(name="predict")
        assert loaded(names, "3\t1\t1\t1\t0.5").header["procedure"] == predict
        # all abstain, or nothing is certified: the column tells, not the numbers
        assert loaded(names, "3\t1\t-1\t0\t0.5").header["procedure"] == predict
        assert "procedure" not in loaded(HEAD, "3\t1\t1\t0.0\t1\t1").header
        assert "procedure" not in loaded(HEAD, "3\t1\t-1\t0.0\t0\t1").header

    def test_columns_of_others_are_passed_over_and_named(self, loaded):
        c = loaded(HEAD + "\tnote\t", "3\t1\t1\t0.5\t1\t1\tx\t0")
        assert c.radius.tolist() == [0.5]
        assert c.header["not_read"] == ["note", "(without a name)"]

    @pytest.mark.parametrize(
        "lines",
        [
            ["predict\ttime\tidx\tcorrect\tradius\tlabel", "1\t2\t3\t1\t0.5\t1"],
            ["idx,label,predict,radius,correct,time", "3,1,1,0.5,1,2"],
            ['"idx","label","predict","radius","correct","time"', '3,"1",1,0.5,1,2.0'],
            [" idx, label, prediction, radius, correct, time", "3, 1, 1, 0.5, 1, 2"],
            ["idx;label;predict;radius;correct;time", "3;1;1;0.5;1;0:00:02"],
            ["idx label  predict radius correct time", "3 1 1    0.5 1 2"],
            [HEAD, "3.0\t1.0\t1.0\t0.5\t1.0\t2.0"],
            [HEAD.upper(), "3\t1\t1\t0.5\tTrue\t2"],
            [HEAD, "3\t1\t1\t5e-01\ttrue\t2\r"],
            ["\ufeff" + HEAD, "", "3\t1\t1\t0.5\t1\t2", ""],
            ["idx\tlabel\tpredict\tradius\ttime", "3\t1\t1\t0.5\t2"],
            # numpy.savetxt
            ["# idx label predict radius correct time", " ".join(["3.00e+00"] + ONES)],
        ],
        ids=(
            "order comma quoted padded semicolon spaces floats upper crlf bom few savetxt"
        ).split(),
    )
    def test_tables_are_read_as_other_tools_write_them(self, loaded, lines):
        c = loaded(*lines)
        found = c.index, c.label, c.predicted, c.radius, c.seconds
        assert [x.tolist() for x in found] == [[3], [1], [1], [0.5], [2.0]]
        assert c.label.dtype == np.int32 and "not_read" not in c.header

    def test_comments_are_passed_over_and_counted(self, loaded):
        row, other = "3\t1\t1\t0.5\t1\t1", "4\t1\t1\t0.25\t1\t1"
        c = loaded(
            "# python certify.py cifar10 idx label predict", HEAD, row, " #", other
        )
        assert c.index.tolist() == [3, 4] and c.header.get("comments") == 2
        assert "comments" not in loaded(HEAD, row).header
        names = "# " + HEAD
        c = loaded(names, row, names, "# 2 of 2", other)
        assert c.radius.tolist() == [0.5, 0.25] and c.header.get("comments") == 1

    def test_files_of_other_orders_are_not_joined(self, loaded):
        row, other = (
            "3\t1\t1\t0.5\t1\t1",
            "# label\tidx\tpredict\tradius\tcorrect\ttime",
        )
        with pytest.raises(InputError, match=names("line 3", "idx", "label")):
            loaded("# " + HEAD, row, other, "4\t1\t1\t0.25\t1\t1")

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_what_powershell_writes_is_read(self, tmp_path, encoding):
        path, text = tmp_path / "t.tsv", f"{HEAD}\r\n3\t1\t1\t0.5\t1\t1\r\n"
        path.write_bytes(text.encode(encoding))
        assert records.load(path).radius.tolist() == [0.5]

    def test_index_of_pandas_is_passed_over(self, loaded):
        c = loaded(",idx,label,predict,radius,correct,time", "0,3,1,1,0.5,True,2.0")
        assert c.index.tolist() == [3] and c.header["not_read"] == ["(without a name)"]

    def test_joined_files_are_read_in_any_order(self, loaded):
        later, sooner = "30\t1\t1\t0.5\t1\t1", "20\t1\t1\t0.25\t1\t1"
        c = loaded(HEAD, later, "", "\ufeff" + HEAD, sooner)
        assert c.index.tolist() == [30, 20] and c.radius.tolist() == [0.5, 0.25]

    @pytest.mark.parametrize("radius", ["", "nan"])
    def test_abstention_without_a_radius_has_radius_0(self, loaded, radius):
        assert loaded(HEAD, f"3\t1\t-1\t{radius}\t0\t1").radius.tolist() == [0.0]

    def test_table_without_times_has_none(self, loaded):
        c = loaded("idx\tlabel\tpredict\tradius", "3\t1\t1\t0.5")
        assert np.isnan(c.seconds).all()
        again = loaded(records.to_tsv(c))
        assert np.isnan(again.seconds).all() and again.radius.tolist() == [0.5]

    def test_radius_stays_as_printed(self, loaded):
        assert loaded(HEAD, "3\t1\t1\t1.91\t1\t1").radius.tolist() == [1.91]


@pytest.mark.golden("certify_logs")
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
    "short": ("3\t1\t1\t0.5", names("4 fields", 6)),
    "long": ("3\t1\t1\t0.5\t1\t1\t1", names("7 fields", 6)),
    "underscore": ("1_0\t1\t1\t0.5\t1\t1", names("idx", "1_0")),
    "underscore in a radius": ("3\t1\t1\t0_5\t1\t1", names("radius", "0_5")),
    "word": ("3\t1\t1\tx\t1\t1", names("radius", "x")),
    "no integer": ("3\t1.5\t1\t0.5\t1\t1", names("label", 1.5)),
    "large": ("3\t1\t99999999999\t0.5\t0\t1", names("predict", 99999999999)),
    "time": ("3\t1\t1\t.5\t1\tx", names("time", "x")),
    "infinite time": ("3\t1\t1\t.5\t1\tinf", names("time", "inf")),
    "wrong called correct": (
        "3\t1\t2\t0.5\t1\t1",
        names("correct 1", "label 1", "predict 2"),
    ),
    "correct called wrong": (
        "3\t1\t1\t0.5\t0\t1",
        names("correct 0", "label 1", "predict 1"),
    ),
    "no truth value": ("3\t1\t1\t0.5\t2\t1", names("correct", 2)),
    "abstention": ("3\t1\t-1\t0.5\t0\t1", names("radius", 0.5, 0)),
    "unknown word": ("3\t1\t-2\t0.0\t0\t1", names("predict", -2)),
    "negative": ("3\t1\t1\t-0.5\t1\t1", names("radius", -0.5)),
    "nan": ("3\t1\t1\tnan\t1\t1", names("radius", "nan")),
    "infinite": ("3\t1\t1\tinf\t1\t1", names("radius", "inf")),
    "label": ("3\t-1\t-1\t0.0\t1\t1", names("idx 3", "label -1")),
    "duplicate": (
        "2\t1\t1\t0.5\t1\t1",
        names("image 2", "before"),
    ),
    "earlier": ("1\t1\t1\t0.5\t1\t1", names("image 1", "before")),
    "another header": (
        "label\tidx\tpredict\tradius\tcorrect\ttime",
        names("idx", "label"),
    ),
    "infinite index": ("inf\t1\t1\t0.5\t1\t1", names("idx", "inf")),
    "rounded index": ("1e30\t1\t1\t0.5\t1\t1", names("idx", "1e30")),
    "half a class": ("3\t1\t1.5\t0.5\t0\t1", names("predict", 1.5)),
    "no radius": ("3\t1\t1\t\t1\t1", names("radius", "nan")),
    "decimal comma": ("3\t1\t1\t0,5\t1\t1", names("radius", "0,5")),
}


@pytest.mark.parametrize("line, fault", REFUSED.values(), ids=REFUSED)
def test_line_that_no_certifier_prints_is_named(loaded, line, fault):
    before = ("1\t1\t1\t0.5\t1\t1", "2\t1\t1\t0.5\t1\t1")
    with pytest.raises(InputError, match=rf"\bt\.tsv, line 4\b.*{fault}") as refused:
        loaded(HEAD, *before, line, "9\t1\t1\t0.5\t1\t1")
    assert str(refused.value).endswith(".")


TAMPERED = {
    "more than all": ("0.5\t1\t1\t101\t100\t0.9", names("nA 101", "n 100")),
    "negative votes": ("0.5\t1\t1\t-1\t100\t0.9", names("nA -1", "n 100")),
    "negative n": ("0.5\t1\t1\t-2\t-1\t0.9", names("n", -1)),
    "no share": ("0.5\t1\t1\t90\t100\t1.5", names("p_lower", 1.5)),
    "few agree": ("0.5\t1\t1\t50\t100\t0.6", names("radius 0.5", "nA 50", "n 100")),
    "no p_lower": ("0.5\t1\t1\t60\t100\tnan", names("radius 0.5", "without p_lower")),
    "nothing certified": (
        "0.5\t1\t1\t60\t100\t0.5",
        names("radius 0.5", "p_lower 0.5"),
    ),
}


@pytest.mark.parametrize("end, fault", TAMPERED.values(), ids=TAMPERED)
def test_tampered_votes_are_named(loaded, end, fault):
    with pytest.raises(InputError, match=f"line 2.*{fault}"):
        loaded(VOTES, f"3\t1\t1\t{end}")


@pytest.mark.parametrize(
    "head, fault",
    [
        ("idx\tlabel\tp1\tp2\tcorrect\ttime", names("lacks predict")),
        ("idx\tlabel\tradius", names("lacks predict")),
        (
            HEAD.replace("radius", "radius_linf"),
            names("line 1", "radius_linf", "radius"),
        ),
        (
            HEAD.replace("radius", "Certified Radius"),
            names("line 1", "Certified Radius", "radius"),
        ),
        (HEAD.replace("radius", "distance"), names("line 1", "distance", "radius")),
        ("idx\tlabel\tpredict", names("lacks radius", "correct")),
        (
            "record,method,norm,sigma",
            names("idx", "label", "predict", "--format csv"),
        ),
        ("index,label,predicted,radius,n", names("idx, predict", "record")),
        ("0.00000\t0.62290", names("lacks", "idx", "label", "predict")),
        (
            "epoch\tlr\ttrain loss\ttrain acc\ttestloss\ttest acc",
            names("lacks", "idx", "label", "predict"),
        ),
        ("# only this", names("lacks", "idx", "label", "predict")),
        ("x," * 9 + "y" * 200_000, names("lacks", "idx", "label", "predict")),
        (HEAD + "\tRadius", names("line 1", "radius", "twice")),
        (HEAD + "\tidx", names("line 1", "idx", "twice")),
        (HEAD + "\tnA", names("line 1", "nA", "lacks n")),
        (
            VOTES.replace("radius\t", ""),
            names("line 1", "nA, n, p_lower", "lacks radius"),
        ),
    ],
)
def test_first_line_without_its_columns_is_named(loaded, head, fault):
    with pytest.raises(InputError, match=fault):
        loaded(head, "3\t1\t1\t0.5\t1\t1\t1")


WORDS = {
    "norm": (
        "norm",
        ["l2x"],
        names("norm", "l2x", "l2, l1, linf"),
    ),
    "numbers": ("norm", ["3.5"], names("norm", 3.5)),
    "distances": ("norm", ["3.5", "3.6"], names("line 3", "norm", 3.6, 3.5)),
    "of another": (
        "certificate",
        ["0.5"],
        names("certificate", 0.5),
    ),
    "mixed": (
        "norm",
        ["l1", "l2"],
        names("line 3", "norm", "l2", "l1"),
    ),
    "tried": ("tried", ["0;x"], names("tried", "0;x")),
    "below": ("tried", ["-1"], names("tried", -1)),
}


@pytest.mark.parametrize("name, values, fault", WORDS.values(), ids=WORDS)
def test_words_that_no_table_has_are_named(loaded, name, values, fault):
    lines = [f"{i}\t1\t1\t0.5\t1\t1\t{value}" for i, value in enumerate(values)]
    with pytest.raises(InputError, match=fault):
        loaded(f"{HEAD}\t{name}", *lines)
