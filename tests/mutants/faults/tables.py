"""Planted faults of tables and reports: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TABLE = "tests/test_cohen_table.py"
_METRICS = "tests/analysis/test_analysis_metrics.py"
_PRINTED = "tests/analysis/test_tables.py"

FAULTS = [
    (
        "table: radii of three digits",
        "records/cohen_table.py",
        "*[repr(float(c.radius[i]))] * certifies",
        "*[f'{c.radius[i]:.3g}'] * certifies",
        f"{_TABLE}::TestWritten::test_whether_a_radius_reaches_a_threshold_survives",
    ),
    (
        "table: l2 whatever the norm",
        "records/cohen_table.py",
        'norm = words.get("norm", "l2").lower()',
        'norm = "l2"',
        f"{_TABLE}::TestWritten::test_norm_of_smoothing_is_restored",
    ),
    (
        "table: comments are not counted",
        "records/cohen_table.py",
        "return found, len(comments)",
        "return found, len(comments) + 1",
        f"{_TABLE}::TestRead::test_comments_are_passed_over_and_counted",
    ),
    (
        "table: a name loses what follows its point",
        "analysis/report.py",
        "known = not path.is_dir() and path.suffix.lower() in _SUFFIXES",
        "known = not path.is_dir()",
        "tests/test_report.py::test_names_of_tables_keep_what_is_no_suffix",
    ),
    (
        "metrics: radii that were not tried are stated",
        "certificate.py",
        "return np.where(share_is_known(c, radii), share, np.nan)",
        "return share",
        f"{_METRICS}::test_only_radii_that_were_tried_are_stated",
    ),
    (
        "metrics: one side of an interval",
        "analysis/metrics.py",
        "np.maximum(right, 1e-9), wrong + 1, 0.025",
        "np.maximum(right, 1e-9), wrong + 1, 0.05",
        f"{_METRICS}::test_interval_is_the_exact_one",
    ),
    (
        "metrics: votes are their lower bound",
        "analysis/metrics.py",
        "k = c.counts[rows, np.maximum(c.predicted, 0)]",
        "k = n * c.p_lower if c.p_lower is not None else c.counts.min(1)",
        f"{_METRICS}::TestVoteShare::test_votes_of_the_predicted_class_are_counted",
    ),
    (
        "compare: worse without its interval",
        "analysis/compare.py",
        "return self.high < 0",
        "return self.difference < 0",
        f"{_PRINTED}::test_worse_is_said_only_where_the_whole_interval_is_below",
    ),
    (
        "compare: best without its interval",
        "analysis/compare.py",
        "if not low > 0:",
        "if low < -1:",
        f"{_PRINTED}::test_best_of_one_image_in_a_hundred_is_not_marked",
    ),
    (
        "compare: nothing is added to what no image shows",
        "analysis/compare.py",
        "chances = np.stack([gained + 1, lost + 1, same], 1) / images",
        "chances = np.stack([gained, lost, same + 2], 1) / images",
        "tests/analysis/test_compare.py::test_difference_that_no_image_shows_is_not_called_certain",
    ),
    (
        "records: the writer does not ask the reader",
        "records/files.py",
        "widths, largest = self._accept(text)",
        "widths, largest = self._widths, self._largest",
        "tests/test_records.py::TestWriterAndReaderAgree::test_evidence_of_other_classes_takes_another_file",
    ),
]
