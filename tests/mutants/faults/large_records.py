"""Faults of what reads large files: records in parts, folders of shards."""

from __future__ import annotations

FOLDER = "jaxcert"

_CHUNKS = "tests/test_records.py::TestChunks"
_ANY_CHUNK = f"{_CHUNKS}::test_a_fault_of_any_chunk_is_named_with_its_line"
_RECHECK = "tests/analysis/test_recheck.py"

FAULTS = [
    (
        "records: faults of later chunks are those of the first lines",
        "records/files.py",
        "Certificates(**columns, header=header), first)",
        "Certificates(**columns, header=header))",
        f"{_ANY_CHUNK}[append-votes samples]",
    ),
    (
        "records: evidence of rows that are kept is not looked at",
        "records/files.py",
        "        _check(path, Certificates(**columns, header=header), first)",
        "        pass",
        f"{_ANY_CHUNK}[append-p_lower share]",
    ),
    (
        "records: an image of two chunks is kept twice",
        "records/files.py",
        "return _check(path, c, widths=widths), widths",
        "return c, widths",
        f"{_ANY_CHUNK}[append-image before]",
    ),
    (
        "records: classes are those of the chunk",
        "records/checks.py",
        "widths(c._asdict()) if found is None else found",
        "widths(c._asdict())",
        f"{_ANY_CHUNK}[append-class 2]",
    ),
    (
        "records_read: evidence is kept to append",
        "records/lines.py",
        "columns = {name: columns[name] for name in (*INTEGERS, *FLOATS)}",
        "columns = dict(columns)",
        f"{_CHUNKS}::test_to_append_no_evidence_is_kept_in_memory",
    ),
    (
        "recheck: blocks after the first are not compared",
        "analysis/recheck.py",
        "range(0, max(len(rows), 1), _ROWS)",
        "range(0, 1, _ROWS)",
        f"{_RECHECK}::test_rows_are_compared_in_blocks_as_all_at_once",
    ),
    (
        "recheck: all rows are copied at once",
        "analysis/recheck.py",
        "part = slice(begin, begin + _ROWS)",
        "part = slice(None)",
        f"{_RECHECK}::test_evidence_is_copied_some_rows_at_a_time",
    ),
    (
        "tables: which rows are correct is computed for each",
        "records/cohen_table.py",
        "int(correct[i]),",
        "int(c.correct[i]),",
        "tests/test_cohen_table.py::TestWritten::test_which_rows_are_correct_is_computed_once",
    ),
    (
        "generated: npz files beside shards are passed over",
        "data/generated.py",
        "if ours and loose:",
        "if ours and loose[1:]:",
        "tests/data/test_shards.py::test_npz_files_beside_written_shards_are_told",
    ),
    (
        "sources: labels of classes that are not known are to be in 0..-1",
        "data/sources.py",
        'f"in 0..{num_classes - 1}" if num_classes else "from 0 up"',
        'f"in 0..{num_classes - 1}"',
        "tests/data/test_shards.py::test_labels_below_0_of_classes_that_are_not_known",
    ),
]
