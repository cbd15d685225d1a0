"""Planted faults of the campaign: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "benchmarks"

_TEST = "tests/benchmarks/test_campaign.py"
_AGAIN = f"{_TEST}::test_started_again_it_keeps_what_is_done_and_tries_what_hung_last"
_TIME = f"{_TEST}::test_it_ends_in_time_and_names_the_rows_that_it_had_no_time_for"
_WRONG = f"{_TEST}::test_wrong_numbers_end_it_before_anything_is_timed"
_ESTIMATE = (
    f"{_TEST}::test_estimates_of_the_newest_compiled_programs_stand_beside_the_rows"
)
_SURVIVES = (
    f"{_TEST}::test_a_row_that_hangs_or_fails_is_marked_and_the_others_are_measured"
)

FAULTS = [
    (
        "what hung is tried first",
        "campaign.py",
        'return 2 if states[name] == "cut" else 1',
        'return -1 if states[name] == "cut" else 1',
        _AGAIN,
    ),
    (
        "finished rows are measured again",
        "campaign.py",
        'if state in ("ok", "mismatch")}',
        'if state in ("mismatch",)}',
        _AGAIN,
    ),
    (
        "what was compiled is compiled again",
        "campaign.py",
        'entry["status"] == "ok"}',
        'entry["status"] == "done"}',
        _AGAIN,
    ),
    (
        "a wrong check is passed",
        "campaign.py",
        'any(e["error"] > e["tolerance"]',
        'all(e["error"] > 1e3 * e["tolerance"]',
        _WRONG,
    ),
    (
        "rows begin though the time left is too short",
        "campaign.py",
        "if now + need > end:",
        "if now > end + need:",
        _TIME,
    ),
    (
        "estimates of the oldest compiled programs",
        "campaign.py",
        "json.loads(files[-1].read_text())",
        "json.loads(files[0].read_text())",
        _ESTIMATE,
    ),
    (
        "an estimate is of one chunk",
        "campaign.py",
        '* row.items / found["items"]',
        "* 1",
        _ESTIMATE,
    ),
    (
        "a row that hung does not say so",
        "run.py",
        '["why"] = f"{error} did not answer and was ended"',
        '["why"] = "no time left"',
        _SURVIVES,
    ),
]
