"""The record file: exact, continued, and refused when it is not what it should be."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import names, tells

from jaxcert import merge, records
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.records import Certificates, Writer, files
from jaxcert.records import lines as record_lines

HEADER = dict(
    method="smoothing",
    norm="l2",
    alpha=0.001,
    sigma=0.25,
    num_classes=3,
    procedure=dict(name="certify", n0=10, n=100),
    dataset="digits",
    split="test",
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


def written(path, *index: int, header=HEADER):
    with Writer(path, header) as writer:
        writer.append(rows(*index))
    return path


def some(c, first: int, step: int):
    """Every `step`th row."""
    columns = {
        k: v[first::step]
        for k, v in c._asdict().items()
        if k != "header" and v is not None
    }
    return c._replace(**columns)


def edited(path, number: int, **changed):
    """The file with keys of one line (from 1) replaced."""
    lines = path.read_text().splitlines()
    lines[number - 1] = json.dumps(json.loads(lines[number - 1]) | changed)
    path.write_text("\n".join(lines) + "\n")
    return path


finite = st.floats(allow_nan=False, allow_infinity=False)


class TestRoundTrip:
    @settings(deadline=None, max_examples=40)
    @given(
        st.lists(
            st.tuples(st.floats(0, 1e300), finite, st.floats(0, 1)),
            min_size=1,
            max_size=5,
        )
    )
    def test_float64_survives(self, tmp_path_factory, values):
        path = tmp_path_factory.mktemp("r") / "c.jsonl"
        radius, logit, p_lower = map(np.array, zip(*values, strict=True))
        c = rows(*range(len(values)), radius=radius, p_lower=p_lower)
        c = c._replace(logits=np.stack([logit, -logit, logit / 3], 1))
        with Writer(path, HEADER) as writer:
            writer.append(c)
        back = records.load(path)
        for name in Certificates._fields[:-1]:
            ours, theirs = getattr(c, name), getattr(back, name)
            if ours is None:
                assert theirs is None
            else:
                np.testing.assert_array_equal(theirs, ours, err_msg=name)

    def test_header_survives(self, tmp_path):
        header = records.load(written(tmp_path / "c.jsonl", 1)).header
        assert header == {"format": records.FORMAT, **HEADER}

    def test_errors_keep_their_place_among_evidence(self, tmp_path):
        c = rows(
            3, 4, predicted=np.array([2, records.ERROR]), radius=np.array([0.1, 0.0])
        )
        c.p_lower[1] = np.nan
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            writer.append(c)
        back = records.load(tmp_path / "c.jsonl")
        np.testing.assert_array_equal(back.p_lower, c.p_lower)
        assert back.correct.tolist() == [True, False]

    def test_record_without_rows_is_empty(self, tmp_path):
        written(tmp_path / "c.jsonl")
        assert records.load(tmp_path / "c.jsonl").index.shape == (0,)

    def test_concatenated_parts_are_sorted(self):
        both = records.concatenate([rows(5, 1), rows(3)])
        assert both.index.tolist() == [1, 3, 5]
        np.testing.assert_array_equal(both.radius, [0.2 / 3, 0.1 / 3, 0.1 / 3])
        without = records.concatenate([rows(5), rows(3, counts=None)])
        assert without.counts is None


class TestContinue:
    def test_second_writer_knows_what_is_done(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4, 7)
        with Writer(path, HEADER) as writer:
            assert writer.done == {4, 7}
            writer.append(rows(9))
            assert writer.done == {4, 7, 9}
        assert records.load(path).index.tolist() == [4, 7, 9]
        assert path.read_text().count("format") == 1

    @pytest.mark.parametrize("cut", [2, 30])
    def test_torn_last_line_is_lost_alone(self, tmp_path, cut):
        path = written(tmp_path / "c.jsonl", 4, 7)
        path.write_bytes(path.read_bytes()[:-cut])
        assert records.load(path).index.tolist() == [4]
        with Writer(path, HEADER) as writer:
            assert writer.done == {4}
            writer.append(rows(7))
        assert records.load(path).index.tolist() == [4, 7]

    def test_a_second_writer_cuts_a_torn_last_line_off(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4, 7)
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        path.write_bytes(whole[:-9])
        Writer(path, HEADER).close()
        assert path.read_bytes() == b"".join(lines[:-1])

    @pytest.mark.parametrize("index", [(), (4,), (4, 7)], ids=str)
    def test_last_line_that_lacks_only_its_newline_is_kept(self, tmp_path, index):
        path = written(tmp_path / "c.jsonl", *index)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert records.load(path).index.tolist() == list(index)
        assert path.read_bytes() == whole[:-1], "reading changes nothing"
        with Writer(path, HEADER) as writer:
            assert writer.done == set(index)
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("torn", [b"", b'{"index": 4, "lab'])
    def test_header_without_rows_makes_way(self, tmp_path, torn):
        path = written(tmp_path / "c.jsonl")
        path.write_bytes(path.read_bytes() + torn)
        other = HEADER | dict(sigma=0.5)
        with Writer(path, other) as writer:
            assert writer.kept is None and not writer.done
            writer.append(rows(4))
        expected = written(tmp_path / "new.jsonl", 4, header=other)
        assert path.read_bytes() == expected.read_bytes()

    def test_header_of_a_writer_at_work_stays(self, tmp_path):
        path = tmp_path / "c.jsonl"
        with Writer(path, HEADER):
            before = path.read_bytes()
            with pytest.raises(InputError, match=names("c.jsonl")):
                Writer(path, HEADER | dict(sigma=0.5))
        assert path.read_bytes() == before

    @pytest.mark.parametrize("kept", [0, 1, 20, 39, 60, 90])
    def test_torn_header_starts_again(self, tmp_path, kept):
        path = written(tmp_path / "c.jsonl")
        whole = path.read_bytes()
        assert kept < len(whole) - 1
        path.write_bytes(whole[:kept])
        Writer(path, HEADER).close()
        assert path.read_bytes() == whole

    @pytest.mark.parametrize(
        "key, value",
        [
            ("sigma", 0.5),
            ("procedure", dict(name="certify", n0=10, n=1000)),
            ("checkpoint", "abc"),
            ("norm", "linf"),
            ("data_digest", "abc"),
        ],
    )
    def test_another_request_is_refused_by_name(self, tmp_path, key, value):
        path = written(tmp_path / "c.jsonl", 4)
        before = path.read_bytes()
        with pytest.raises(InputError, match=names(key, "--out")):
            Writer(path, HEADER | {key: value})
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "foreign",
        [
            b'{"my":"results"}',
            b'{"my":"results"}\n',
            b'{"my":"results"}\n{"and":"mor',
            b'{"my":"resul',
            b"notes",
            b"notes\nmore notes",
            b"idx\tlabel\tpredict\tradius\tcorrect\ttime\n3\t1\t1\t0.5\t1\t1",
            b"\xff\xfe\x00",
            b"\xff\n\xfe",
        ],
    )
    def test_foreign_file_stays_as_it_is(self, tmp_path, foreign):
        path = tmp_path / "mine"
        path.write_bytes(foreign)
        with pytest.raises(InputError, match=names("mine")):
            Writer(path, HEADER)
        assert path.read_bytes() == foreign

    def test_torn_record_of_another_request_stays_as_it_is(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4, 7)
        torn = path.read_bytes()[:-9]
        path.write_bytes(torn)
        with pytest.raises(InputError, match=names("sigma", 0.25, 0.5)):
            Writer(path, HEADER | dict(sigma=0.5))
        assert path.read_bytes() == torn

    def test_what_does_not_identify_a_request_may_change(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4, header=HEADER | dict(device="a"))
        assert Writer(path, HEADER | dict(device="b")).done == {4}

    def test_another_generator_is_refused(self, tmp_path):
        threefry = dict(implementation="threefry2x32", partitionable=True)
        asked = HEADER | dict(generator=threefry)
        new = written(tmp_path / "new.jsonl", 4, header=asked)
        for other in (dict(implementation="rbg"), dict(partitionable=False)):
            with pytest.raises(InputError, match=names("generator", "--out")):
                Writer(new, HEADER | dict(generator=threefry | other))
        with pytest.raises(InputError, match=names("generator", "--out")):
            Writer(new, HEADER)

    def test_a_file_of_version_01_is_read_and_not_continued(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4)
        path.write_text(path.read_text().replace(records.FORMAT, records.FORMAT_1))
        assert records.load(path).index.tolist() == [4]
        before = path.read_text()
        with pytest.raises(InputError, match=f"{records.FORMAT_1}.*--out"):
            Writer(path, HEADER)
        assert path.read_text() == before

    def test_rows_that_were_read_keep_the_format_of_their_evidence(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4, header=HEADER | dict(format="tsv"))
        assert records.load(path).header["format"] == records.FORMAT_1
        c = records.load(path)
        with Writer(tmp_path / "again.jsonl", c.header) as writer:
            writer.append(c)
        assert records.load(tmp_path / "again.jsonl").header == c.header
        with Writer(tmp_path / "again.jsonl", c.header) as writer:
            assert writer.done == {4}

    def test_a_format_that_is_not_known_is_named(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4)
        path.write_text(
            path.read_text().replace(records.FORMAT, "jaxcert-certificates-3")
        )
        with pytest.raises(InputError, match="jaxcert-certificates-3"):
            records.load(path)

    def test_tuples_are_the_lists_they_become(self, tmp_path):
        header = HEADER | dict(procedure=dict(looks=(1, 2)))
        path = written(tmp_path / "c.jsonl", 4, header=header)
        assert Writer(path, header).done == {4}


class TestRequests:
    FIRST, SECOND = dict(start=0, stop=9, step=4), dict(start=1, stop=4, step=2)

    def extended(self, path, header=HEADER):
        with Writer(path, header | dict(requests=[self.FIRST])) as writer:
            writer.append(rows(0, 4))
        with Writer(path, header | dict(requests=[self.SECOND])) as writer:
            writer.append(rows(1))
            writer.append(rows(3))
        return path

    def test_a_later_slice_joins_the_requests_of_its_file(self, tmp_path):
        path = self.extended(tmp_path / "c.jsonl")
        c = records.load(path)
        assert c.header["requests"] == [self.FIRST, self.SECOND]
        assert c.index.tolist() == [0, 4, 1, 3]
        with Writer(path, HEADER | dict(requests=[self.SECOND])) as writer:
            writer.append(rows(8))
        assert records.load(path).header == c.header, "a known request is not repeated"

    def test_request_of_an_older_header_is_unknown(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 0, 4)
        with Writer(path, HEADER | dict(requests=[self.SECOND])) as writer:
            writer.append(rows(1))
        assert records.load(path).header["requests"] == [None, self.SECOND]

    @pytest.mark.parametrize(
        "bad", [5, [5], [dict(start=0)], [dict(start=-1, stop=2, step=1)]], ids=str
    )
    def test_nonsense_is_named(self, tmp_path, bad):
        path = edited(written(tmp_path / "c.jsonl", 4), 1, requests=bad)
        with pytest.raises(InputError, match="request"):
            records.load(path)
        zero = [dict(start=0, stop=2, step=0)]
        edited(path, 1, requests=zero)
        with pytest.raises(InputError, match="request"):
            records.load(path)


class TestChunks:
    """Files longer than what is read at a time."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(record_lines, "_LINES", 3)

    @pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 9])
    def test_rows_and_columns_do_not_depend_on_them(self, tmp_path, size):
        c = rows(*range(size))
        logits = np.where(np.arange(size)[:, None] == 4, np.nan, np.eye(3)[c.label] / 3)
        c = c._replace(
            logits=logits, predicted=np.where(np.arange(size) == 4, -2, c.predicted)
        )
        c.radius[np.isnan(logits[:, 0])] = 0
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            writer.append(c)
        back = records.load(tmp_path / "c.jsonl")
        for name in ("index", "label", "predicted", "radius", "counts", "logits"):
            np.testing.assert_array_equal(getattr(back, name), getattr(c, name))
            assert getattr(back, name).dtype.kind == getattr(c, name).dtype.kind

    def test_a_fault_is_named_with_its_line(self, tmp_path):
        path = written(tmp_path / "c.jsonl", *range(8))
        with pytest.raises(InputError, match=names("line 7", "certificate")):
            records.load(edited(path, 7, label=1.5))

    @pytest.mark.parametrize("read", [records.load, lambda path: Writer(path, HEADER)])
    def test_widths_of_different_chunks_are_compared(self, tmp_path, read):
        path = written(tmp_path / "c.jsonl", *range(8))
        for line in range(5, 10):
            edited(path, line, counts=[1, 2])
        with pytest.raises(InputError, match=names("c.jsonl", "counts", "--out")):
            read(path)

    FAULTS = {  # what is said of line 8 -> lines that are changed
        ("p_lower", "share"): {8: dict(p_lower=1.5)},
        ("votes", "samples"): {8: dict(counts=[1, 2, 98])},
        ("image", "before"): {8: dict(index=0)},
        # the chunk of lines 8 to 10 has no evidence that says how many classes there are
        ("class", 2): {
            8: dict(counts=None, label=3),
            9: dict(counts=None),
            10: dict(counts=None),
        },
    }

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda said: " ".join(map(str, said)))
    @pytest.mark.parametrize("read", ["load", "append"])
    def test_a_fault_of_any_chunk_is_named_with_its_line(self, tmp_path, read, fault):
        header = {k: v for k, v in HEADER.items() if k != "num_classes"}
        path = written(tmp_path / "c.jsonl", *range(9), header=header)
        for line, changed in self.FAULTS[fault].items():
            edited(path, line, **changed)
        before = path.read_text()
        with pytest.raises(InputError, match=names("line 8", *fault)):
            records.load(path) if read == "load" else Writer(path, header)
        assert path.read_text() == before

    def test_to_append_no_evidence_is_kept_in_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(record_lines, "_LINES", 100)
        size, classes = 3000, 100
        header = HEADER | dict(num_classes=classes)
        counts = np.tile([97, *[0] * (classes - 1)], (size, 1))
        path = tmp_path / "c.jsonl"
        with Writer(path, header) as writer:
            writer.append(rows(*range(size), counts=counts))

        tracemalloc.start()
        try:
            with Writer(path, header) as writer:
                assert len(writer.kept.index) == len(writer.done) == size
            assert tracemalloc.get_traced_memory()[1] < counts.nbytes / 2
        finally:
            tracemalloc.stop()

    def test_untried_margins_are_null(self, tmp_path):
        least = np.array([[0.5, 0.1], [0.2, np.nan], [np.nan, np.nan]])
        c = rows(0, 1, 2, least_margins=least)
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            writer.append(c)
        lines = (tmp_path / "c.jsonl").read_text().splitlines()
        assert json.loads(lines[2])["least_margins"] == [0.2, None]
        back = records.load(tmp_path / "c.jsonl")
        np.testing.assert_array_equal(back.least_margins, least)


@pytest.mark.slow
def test_memory_of_a_large_record_is_that_of_its_columns(tmp_path):
    """Less than 500 bytes a row of ten counts, where Python dicts took some 2,900."""
    size, path = 100_000, tmp_path / "c.jsonl"
    header = HEADER | dict(num_classes=10)
    counts = np.tile([1, 2, 97, 0, 0, 0, 0, 0, 0, 0], (size, 1))
    with Writer(path, header) as writer:
        writer.append(rows(*range(size), counts=counts))
    script = """
import json, resource, sys
from jaxcert import records
small, large, header = sys.argv[1:]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
records.load(small)
before = peak()
records.load(large)
loaded = peak()
with records.Writer(large, json.loads(header)) as writer:
    assert len(writer.done) == 100_000
print(loaded - before, peak() - before)
"""
    small = written(tmp_path / "small.jsonl", 4)
    command = [sys.executable, "-c", script, small, path, json.dumps(header)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, opened = map(int, done.stdout.split())
    assert loaded < 500 * size and opened < 700 * size


class TestComputedNumbers:
    """What was computed from the network is compared up to rounding."""

    SLACK = 4.2131760166037846e-08
    HEADER = dict(
        method="lipschitz",
        procedure=dict(name="margin", logit_slack=SLACK),
        pairwise_bound=[[0.0, 1.5], [1.5, 0.0]],
    )

    @pytest.mark.parametrize("factor", [1 + 4e-15, 1 - 1e-12, 1 + 0.9e-9])
    def test_another_device_count_continues(self, tmp_path, factor):
        path = written(tmp_path / "c.jsonl", 4, header=self.HEADER)
        procedure = dict(name="margin", logit_slack=self.SLACK * factor)
        bound = [[0.0, 1.5 * factor], [1.5, 0.0]]
        header = dict(procedure=procedure, pairwise_bound=bound)
        with Writer(path, self.HEADER | header) as writer:
            assert writer.done == {4}
        assert records.load(path).header["pairwise_bound"] == [[0, 1.5], [1.5, 0]]

    @pytest.mark.parametrize(
        "key, changed",
        [
            ("pairwise_bound", dict(pairwise_bound=[[0.0, 1.5], [1.5 + 3e-9, 0.0]])),
            ("pairwise_bound", dict(pairwise_bound=1.5)),
            ("pairwise_bound", dict(pairwise_bound=None)),
            ("pairwise_bound", dict(pairwise_bound="x")),
            ("logit_slack", dict(procedure=dict(name="margin", logit_slack=4.3e-8))),
            ("logit_slack", dict(procedure=dict(name="margin"))),
            ("procedure", dict(procedure=dict(name="other", logit_slack=SLACK))),
        ],
        ids=str,
    )
    def test_another_network_is_refused(self, tmp_path, key, changed):
        path = written(tmp_path / "c.jsonl", 4, header=self.HEADER)
        before = path.read_bytes()
        with pytest.raises(InputError, match=names(key, "--out")):
            Writer(path, self.HEADER | changed)
        assert path.read_bytes() == before


class TestLock:
    def test_one_process_writes_at_a_time(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4)
        with Writer(path, HEADER) as writer:
            with pytest.raises(InputError, match=names("c.jsonl", "--out")):
                Writer(path, HEADER)
            assert records.load(path).index.tolist() == [4], "reading is free"
            writer.append(rows(7))
        assert Writer(path, HEADER).done == {4, 7}

    def test_refused_writer_lets_go(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4)
        with pytest.raises(InputError) as refused:
            Writer(path, HEADER | dict(sigma=0.5))
        assert refused.value.__traceback__ is not None  # which keeps its frames
        assert Writer(path, HEADER).done == {4}

    def test_system_without_locks_writes_all_the_same(self, tmp_path):
        script = """
import sys
sys.modules["fcntl"] = None
from jaxcert import records
with records.Writer(sys.argv[1], {}), records.Writer(sys.argv[1], {}) as second:
    print(second.done)
"""
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "c.jsonl"],
            capture_output=True,
            text=True,
        )
        assert done.stdout == "set()\n", done.stderr


class TestFullDisk:
    def test_file_keeps_complete_lines(self, tmp_path, capsys):
        path = tmp_path / "c.jsonl"
        writer = Writer(path, HEADER)
        writer.append(rows(1))
        before = path.read_bytes()
        writer._file = Full(writer._file, room=20)
        assert exit_cleanly(lambda: writer.append(rows(2, 3))) == 1
        assert path.read_bytes() == before
        assert writer.done == {1}
        said = capsys.readouterr().err
        assert tells(said, "disk", path) and "Traceback" not in said

    def test_kernel_limit_leaves_complete_lines(self, tmp_path):
        path = tmp_path / "c.jsonl"
        script = """
import resource, sys
sys.path[:0] = sys.argv[2:]
import test_records as t
writer = t.Writer(sys.argv[1], t.HEADER)
writer.append(t.rows(1))
size = writer.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))
try:
    writer.append(t.rows(2))
except OSError as error:
    print(error.filename)
"""
        done = subprocess.run(
            [sys.executable, "-c", script, path, *filter(None, sys.path)],
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == str(path), done.stderr
        assert path.read_text().endswith("}\n")
        assert records.load(path).index.tolist() == [1]


class Full:
    """A file on a disk with `room` bytes left."""

    def __init__(self, file: io.FileIO, *, room: int):
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        data = data[: self.room]
        self.room -= len(data)
        return self.file.write(data)

    def fileno(self) -> int:
        return self.file.fileno()


NO_NUMBERS = (
    ("counts", [0.5, 2, 97]),
    ("counts", [1, 2, 97.0]),
    ("counts", [True, 2, 97]),
    ("counts", [1, None, 97]),
    ("selection", [0, 0, 10.0]),
    ("agreeing", [97.0]),
    ("rivals", [False]),
    ("changed", 1.0),
    ("changed", True),
    ("changed", [1]),
    ("logits", ["a", 1, 2]),
    ("logits", [True, 1, 2]),
    ("means", [[1], [2], [3]]),
    ("p_lower", True),
    ("distance", "1"),
)
"""Fields of a row with what JSON can hold, and no certifier writes, there."""


class TestRefused:
    @pytest.mark.parametrize(
        "changed, fault",
        [
            (dict(radius="0.1"), names("line 3", "certificate")),
            (dict(radius=None), names("line 3", "certificate")),
            (dict(radius=10**400), names("line 3", "certificate")),
            (dict(index=7.0), names("line 3", "certificate")),
            (dict(predicted=True), names("line 3", "certificate")),
            (dict(n=100.0), names("line 3", "certificate")),
            (dict(label=2**40), names("line 3", "certificate")),
            (dict(radius=-0.1), names("line 3", "radius", "negative")),
            (dict(radius=float("nan")), names("line 3", "certificate")),
            (dict(predicted=-1), names("line 3", "radius", "prediction")),
            (dict(predicted=-3, radius=0), names("line 3", "prediction")),
            (dict(predicted=3), names("line 3", "class", 2)),
            (dict(label=-1), names("line 3", "certificate")),
            (dict(label=True), names("line 3", "certificate")),
            (dict(p_lower=1.5), names("line 3", "p_lower")),
            (dict(n=-1, counts=[0, 0, 0]), names("line 3", "negative", "samples")),
            (dict(counts=[2, 2, 97]), names("line 3", "votes", "samples")),
            (dict(counts=[-1, 2, 97]), names("line 3", "votes", "samples")),
            (dict(counts=[1, 97]), names("c.jsonl", "counts", "--out")),
            (dict(counts=5), names("c.jsonl", "counts", "--out")),
            *((dict([fault]), names("line 3", *fault[:1])) for fault in NO_NUMBERS),
            (dict(index=4), names("line 3", "image 4", "before")),
        ],
        ids=str,
    )
    def test_row_that_no_certifier_writes(self, tmp_path, changed, fault):
        path = edited(written(tmp_path / "c.jsonl", 4, 7, 8), 3, **changed)
        with pytest.raises(InputError, match=fault):
            records.load(path)
        with pytest.raises(InputError, match=fault):
            Writer(path, HEADER)

    @pytest.mark.parametrize(
        "line",
        ["{", "", "[1]", "null", '"x"', "{}", 100_000 * "["],
        ids=lambda x: x[:9],
    )
    def test_corrupt_line_is_named(self, tmp_path, line):
        path = written(tmp_path / "c.jsonl", 4, 7)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
        with pytest.raises(InputError, match=names("line 2", "certificate")):
            records.load(path)

    @pytest.mark.parametrize(
        "changed",
        [dict(alpha="x"), dict(alpha=1.5), dict(sigma=-1), dict(num_classes=0)],
    )
    def test_header_with_nonsense(self, tmp_path, changed):
        path = edited(written(tmp_path / "c.jsonl", 4), 1, **changed)
        with pytest.raises(InputError, match=names("line 1", next(iter(changed)))):
            records.load(path)

    def test_narrow_votes_refuse_their_classes(self, tmp_path):
        path = written(tmp_path / "c.jsonl", 4)
        edited(edited(path, 1, num_classes=None), 2, counts=[50, 50])
        with pytest.raises(InputError, match=names("line 2", "class", 1)):
            records.load(path)

    @pytest.mark.parametrize(
        "content, fault",
        [
            (b"", names("c.jsonl", "empty")),
            (b"\n\n", names("c.jsonl", "empty")),
            (b"\xff\xfe\x00", names("c.jsonl", "text")),
            (b'{"format": "other"}\n', names("line 1", "header")),
            (b'{"a":' * 100_000 + b"\n", names("line 1", "header")),
            (b"hello\n", names("c.jsonl", "idx", "label", "predict")),
            (b"idx\tlabel\tpredict\tradius\tcorrect\ttime\n", names("c.jsonl", "rows")),
        ],
        ids=lambda x: x[:20],
    )
    def test_foreign_file(self, tmp_path, content, fault):
        path = tmp_path / "c.jsonl"
        path.write_bytes(content)
        with pytest.raises(InputError, match=fault):
            records.load(path)

    def test_missing_file_names_the_command(self, tmp_path):
        with pytest.raises(InputError, match=names("c.jsonl", "jaxcert.certify")):
            records.load(tmp_path / "c.jsonl")


def maybe(good, bad):
    """Mostly good values."""
    return st.one_of(good, good, good, bad)


@st.composite
def some_rows(draw) -> Certificates:
    """Rows that a certifier may write, or that have a fault."""
    size, classes = draw(st.integers(1, 3)), draw(st.sampled_from([3, 3, 3, 2, 4]))

    def column(good, bad, kind):
        return np.array([draw(maybe(good, bad)) for _ in range(size)], kind)

    numbers = st.integers(0, classes - 1), st.sampled_from([-1, -2, -3, 3, 9, 2**33])
    odd = st.sampled_from([np.nan, np.inf, -1.0])
    left_out = st.sampled_from([np.nan, -1.0])  # an infinity is refused, not left out
    predicted = column(*numbers, np.int64)
    radius = column(st.floats(0, 1), odd, float)
    radius = np.where((predicted < 0) & draw(st.booleans()), 0.0, radius)
    n = column(st.integers(90, 100), st.sampled_from([-1, 0, 5]), np.int64)
    votes = np.array(
        [draw(st.lists(st.integers(0, 30), min_size=classes, max_size=classes))]
    )
    evidence = dict(
        counts=np.repeat(votes, size, 0) * draw(maybe(st.just(1), st.just(-1))),
        p_lower=column(st.floats(0, 1), st.sampled_from([np.nan, 2.0, -1.0]), float),
        agreeing=column(st.integers(0, 90), st.sampled_from([-2, 2**40]), int)[:, None],
        logits=np.full((size, classes), draw(maybe(st.floats(-9, 9), left_out))),
        distance=column(st.floats(0, 1), left_out, float),
    )
    kept = draw(st.sets(st.sampled_from(sorted(evidence))))
    return Certificates(
        index=column(st.integers(0, 40), st.sampled_from([-1, 0]), np.int64),
        label=column(*numbers, np.int64),
        predicted=predicted,
        radius=radius,
        n=n,
        seconds=column(st.floats(0, 1), odd, float),
        **{name: evidence[name] for name in kept},
    )


@pytest.mark.parametrize("line", [1, 2])
def test_a_key_that_comes_twice_is_refused(tmp_path, line):
    """Readers differ in which of the two they take."""
    path = tmp_path / "c.jsonl"
    written(path, 0)
    lines = path.read_text().splitlines()
    name = "sigma" if line == 1 else "radius"
    lines[line - 1] = f'{lines[line - 1][:-1]}, "{name}": 3.0}}'
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=f"line {line}"):
        records.load(path)


class TestMerge:
    def parts(self, folder, *indices, **headers):
        for i, index in enumerate(indices):
            asked = dict(start=index[0], stop=index[-1] + 1, step=1)
            header = HEADER | dict(requests=[asked], device=f"{i}")
            header |= headers.get(f"part{i}", {})
            yield written(folder / f"{i}.jsonl", *index, header=header)

    def test_parts_of_one_request_become_one_record(self, tmp_path):
        found = list(self.parts(tmp_path, [3, 4, 5], [0, 1, 2], [9]))
        lines = [line for p in found for line in p.read_text().splitlines()[1:]]
        out = tmp_path / "all.jsonl"
        assert records.merge(found, out) == 7
        head, *rest = out.read_text().splitlines()
        assert rest == lines, "every row is kept as it is"
        c = records.load(out)
        assert c.index.tolist() == [3, 4, 5, 0, 1, 2, 9]
        assert [r["start"] for r in c.header["requests"]] == [3, 0, 9]
        assert (
            c.header["device"] == "0" and json.loads(head)["format"] == records.FORMAT
        )
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            *["0.jsonl", "1.jsonl", "2.jsonl", "all.jsonl"]
        ]
        with Writer(out, HEADER | dict(requests=c.header["requests"][:1])) as writer:
            assert writer.done == {0, 1, 2, 3, 4, 5, 9}

    def test_one_request_in_parts_is_named_once(self, tmp_path):
        asked = dict(requests=[dict(start=0, stop=9, step=1)])
        parts = self.parts(tmp_path, [0], [1], part0=asked, part1=asked)
        records.merge(list(parts), tmp_path / "all.jsonl")
        found = records.load(tmp_path / "all.jsonl").header
        assert found["requests"] == asked["requests"]

    def test_a_part_that_does_not_say_what_it_was_asked_for(self, tmp_path):
        first, second = self.parts(tmp_path, [0], [1])
        edited(second, 1, requests=[None])
        records.merge([first, second], tmp_path / "all.jsonl")
        assert None in records.load(tmp_path / "all.jsonl").header["requests"]

    @pytest.mark.parametrize(
        "change, said",
        [
            (dict(sigma=0.5), ["sigma", 0.5, 0.25]),
            (dict(checkpoint="other"), ["checkpoint", '"other"']),
            (dict(seed=3), ["seed", 3]),
            (dict(pairwise_bound=2.0), ["pairwise_bound", 2.0]),
            (
                dict(format="jaxcert-certificates-1"),
                ["format", "jaxcert-certificates-1"],
            ),
        ],
    )
    def test_parts_of_different_requests_are_refused(self, tmp_path, change, said):
        found = list(self.parts(tmp_path, [0], [1], part1=change))
        with pytest.raises(InputError, match=names(found[1], *said)):
            records.merge(found, tmp_path / "all.jsonl")
        assert not (tmp_path / "all.jsonl").exists()

    def test_an_image_in_two_parts_is_refused(self, tmp_path):
        found = list(self.parts(tmp_path, [0, 1], [2], [1, 5]))
        with pytest.raises(InputError, match=names("image 1", found[0], found[2])):
            records.merge(found, tmp_path / "all.jsonl")
        with pytest.raises(InputError, match=names("one part")):
            records.merge(found[:1], tmp_path / "all.jsonl")
        same = found[0].parent / "." / ".." / tmp_path.name / found[0].name
        for again in (found[0], same):
            with pytest.raises(InputError, match=names(again, "twice")):
                records.merge([*found[:2], again], tmp_path / "all.jsonl")
        unfinished = found[1].rename(tmp_path / ".1.jsonl.7.part")
        with pytest.raises(InputError, match=names(unfinished, "unfinished")):
            records.merge([found[0], unfinished], tmp_path / "all.jsonl")
        with pytest.raises(InputError, match=names(tmp_path / "none")):
            records.merge([found[0], tmp_path / "none"], tmp_path / "all.jsonl")
        assert not (tmp_path / "all.jsonl").exists()

    def divided(self, folder, count=3, images=range(2, 14, 2)):
        """The files of all parts as `certify --part` writes them."""
        for number in range(1, count + 1):
            part = list(images)[number - 1 :: count]
            step = images.step * count
            asked = dict(start=part[0], stop=part[-1] + 1, step=step)
            config = dict(certify=dict(start=part[0], stop=0, step=step))
            header = HEADER | dict(part=f"{number}/{count}", requests=[asked])
            header |= dict(config=config)
            path = folder / f"{number}-of-{count}.jsonl"
            records.save(path, header, [some(rows(*images), number - 1, count)])
            yield path

    def test_numbered_parts_become_the_record_of_one_certification(self, tmp_path):
        whole = list(range(2, 14, 2))
        config = dict(certify=dict(start=2, stop=0, step=2))
        asked = dict(requests=[dict(start=2, stop=13, step=2)], config=config)
        at_once = written(tmp_path / "at_once.jsonl", *whole, header=HEADER | asked)
        third, *others = sorted(self.divided(tmp_path), reverse=True)
        assert records.merge([third, *others], tmp_path / "all.jsonl") == 6
        assert (tmp_path / "all.jsonl").read_bytes() == at_once.read_bytes()
        # images that abstain may lack the evidence that those of other parts have
        lines = third.read_text().splitlines()
        lines[1:] = ['{"index": 6, "label": 1, "predicted": -1, "radius": 0, "n": 0, '
                     '"seconds": 0}', lines[2]]  # fmt: skip
        third.write_text("\n".join(lines) + "\n")
        records.merge([third, *others], tmp_path / "again.jsonl")
        found = (tmp_path / "again.jsonl").read_text().splitlines()
        assert json.loads(found[3])["predicted"] == -1
        del found[3]
        before = at_once.read_text().splitlines()
        del before[3]
        assert found == before

    def test_parts_that_are_not_all_of_one_division_are_refused(self, tmp_path):
        paths = dict(zip((1, 2, 3), self.divided(tmp_path), strict=True))
        (tmp_path / "two").mkdir()
        first, second = self.divided(tmp_path / "two", 2)
        again = tmp_path / "again.jsonl"
        again.write_text(paths[1].read_text().splitlines()[0] + "\n")
        other = next(self.parts(tmp_path, [30]))
        short = tmp_path / "short.jsonl"
        short.write_text("\n".join(paths[2].read_text().splitlines()[:-1]) + "\n")
        unknown = tmp_path / "unknown.jsonl"
        unknown.write_text(edited(paths[3], 1, requests=[None]).read_text())
        (tmp_path / "wide").mkdir()
        _, wide = self.divided(tmp_path / "wide", 2, range(2, 30, 2))
        for taken, said in [
            ([paths[1]], ["2, 3", "missing"]),
            ([paths[1], paths[2]], ["3 parts", "3 is missing"]),
            ([paths[1], other], [other, "--part"]),
            ([paths[1], second], [second, "2/2", "of 3"]),
            ([paths[1], again], [again, paths[1], "1/3"]),
            ([paths[1], short], [short, "2/3", "1 of its 2"]),
            ([paths[1], unknown], [unknown, "3/3"]),
            ([first, wide], ["certify.start"]),
        ]:
            with pytest.raises(InputError, match=names(*said)):
                records.merge(taken, tmp_path / "all.jsonl")
        assert not (tmp_path / "all.jsonl").exists()

    @pytest.mark.parametrize(
        "part", ["2/1", "0/2", "1/2/3", "", 3, [1, 2], "1/1000000"]
    )
    def test_a_header_has_the_number_of_its_part(self, tmp_path, part):
        path = next(self.divided(tmp_path))
        edited(path, 1, part=part)
        with pytest.raises(InputError, match=names(path, "line 1", "part")):
            records.load(path)

    def test_a_part_continues_its_own_file_alone(self, tmp_path):
        path, *_ = self.divided(tmp_path)
        with Writer(path, HEADER | dict(part="1/3")) as writer:
            assert writer.done == {2, 8}
        for other in (dict(part="2/3"), {}):
            with pytest.raises(InputError, match=names(path, "part", '"1/3"')):
                Writer(path, HEADER | other)

    def test_a_file_that_is_there_is_kept(self, tmp_path):
        first, second = self.parts(tmp_path, [0], [1])
        before = first.read_text()
        with pytest.raises(InputError, match=names(first, "--out")):
            records.merge([first, second], first)
        assert first.read_text() == before

    def test_a_file_is_there_when_it_is_finished(self, tmp_path, monkeypatch):
        """Whatever ends the process before."""
        found = list(self.parts(tmp_path, [0], [1]))
        out, synced, sync = tmp_path / "all.jsonl", [], files.os.fsync

        def look(file):
            synced.append(out.exists())
            sync(file)

        monkeypatch.setattr(files.os, "fsync", look)
        records.merge(found, out)
        assert synced == [False] * 3 and out.is_file()
        out.unlink()
        records.save(out, HEADER, [rows(2), rows(3)])
        assert synced == [False] * 6 and len(records.load(out).index) == 2
        with pytest.raises(InputError, match=names(out)):
            records.save(out, HEADER, [rows(2)])
        with pytest.raises(InputError, match=names("image 2", tmp_path / "b.jsonl")):
            records.save(tmp_path / "b.jsonl", HEADER, [rows(2), rows(2)])
        assert len(list(tmp_path.iterdir())) == 3

    def test_the_command_says_what_it_wrote(self, tmp_path, capsys):
        found = map(str, self.parts(tmp_path, [0], [1]))
        assert merge.main([*found, "--out", str(tmp_path / "all.jsonl")]) is None
        assert "2 rows" in capsys.readouterr().out


class TestWriterAndReaderAgree:
    @settings(deadline=None, max_examples=100)
    @given(st.lists(some_rows(), min_size=1, max_size=3), st.booleans(), st.booleans())
    def test_rows_are_written_where_they_can_be_read(
        self, tmp_path_factory, parts, counted, again
    ):
        folder = tmp_path_factory.mktemp("r")
        path, other = folder / "c.jsonl", folder / "other.jsonl"
        header = HEADER if counted else {k: HEADER[k] for k in ("method", "norm")}
        Writer(path, header).close()
        writer = Writer(path, header)
        for part in parts:
            before = path.read_text()
            lines = [json.dumps(row) for row in files._rows_to_json(part)]
            other.write_text(before + "".join(f"{line}\n" for line in lines))
            try:
                records.load(other)
            except InputError as refused:
                with pytest.raises(InputError, match="cannot"):
                    writer.append(part)
                    pytest.fail(f"the reader says: {refused}")
                assert path.read_text() == before
                continue
            writer.append(part)
            assert path.read_text() == other.read_text()
            if again:  # what a file has is known to the next one as well
                writer.close()
                writer = Writer(path, header)
        writer.close()
        records.load(path)

    def test_numbers_that_are_not_whole_are_not_cut(self, tmp_path):
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            with pytest.raises(InputError, match=names("image 4", "label")):
                writer.append(rows(4, label=np.array([1.5])))

    @pytest.mark.parametrize("name", ["index", "label", "predicted", "n"])
    @pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
    def test_numbers_that_are_not_finite_are_refused(self, tmp_path, name, value):
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            before = writer.path.read_text()
            with pytest.raises(InputError, match=names("image", name)):
                writer.append(rows(4)._replace(**{name: np.array([value])}))
            assert writer.path.read_text() == before

    def test_a_p_lower_that_is_not_finite_is_refused(self, tmp_path):
        """The file would lack it, so that the reader could not."""
        with Writer(tmp_path / "c.jsonl", HEADER) as writer:
            with pytest.raises(InputError, match=names("image 4", "p_lower")):
                writer.append(rows(4, p_lower=np.array([np.inf])))

    def test_evidence_of_other_classes_takes_another_file(self, tmp_path):
        with Writer(tmp_path / "c.jsonl", dict(method="smoothing")) as writer:
            writer.append(rows(4))
            with pytest.raises(InputError, match=names("counts of 2", "c.jsonl")):
                writer.append(
                    rows(
                        5,
                        counts=np.array([[1, 97]]),
                        label=np.ones(1),
                        predicted=np.ones(1),
                    )
                )
            with pytest.raises(InputError, match=names("3 classes", "class 7")):
                writer.append(rows(5, counts=None, label=np.array([7])))
        with Writer(tmp_path / "c.jsonl", dict(method="smoothing")) as writer:
            with pytest.raises(InputError, match=names("3 classes", "class 7")):
                writer.append(rows(5, counts=None, label=np.array([7])))

    def test_format_of_a_header_is_ours(self, tmp_path):
        Writer(tmp_path / "c.jsonl", dict(norm="l2", format="mine")).close()
        assert records.load(tmp_path / "c.jsonl").header["norm"] == "l2"
