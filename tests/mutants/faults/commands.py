"""Planted faults of the commands: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

FAULTS = [
    (
        "cli: what is missing is told before what is misspelt",
        "cli.py",
        'if name.startswith("--") and not known:',
        "if False and not known:",
        "tests/test_commands.py::test_train_refuses[misspelt]",
    ),
    (
        "configs: --new drops overrides",
        "show_configs.py",
        "if overrides:",
        "if False:",
        "tests/test_new_config.py::test_an_override_beside_new_is_refused",
    ),
    (
        "overrides: a named option of another certificate is kept",
        "config/overrides.py",
        "if key not in takes_as_before]",
        "if key not in takes]",
        "tests/test_commands.py::test_another_certificate_starts_from_its_own_defaults",
    ),
    (
        "overrides: a method keeps what means something else in another",
        "config/overrides.py",
        "had = settings(section, former) if former else takes",
        "had = takes",
        "tests/test_commands.py::test_another_method_starts_from_its_own_defaults",
    ),
    (
        "cli: --tiny changes nothing",
        "cli.py",
        "config.certify.update(small)",
        "dict(small)",
        "tests/test_commands.py::test_tiny_certification",
    ),
    (
        "records: the header of another request stays",
        "records/files.py",
        "whole = 0  # a header alone",
        "pass  # a header alone",
        "tests/test_records.py::TestContinue::test_header_without_rows_makes_way",
    ),
    (
        "terminal: a second Ctrl-C waits for C",
        "errors/terminal.py",
        "while came < 2:",
        "while came < 3:",
        "tests/test_terminal.py::test_a_second_ctrl_c_ends_a_call_that_python_cannot_interrupt",
    ),
    (
        "errors: an interrupt turned into another exception is a bug",
        "errors/exits.py",
        "if terminal.interrupted():  # an import",
        "if False:  # an import",
        "tests/test_terminal.py::test_ctrl_c_while_a_command_runs",
    ),
    (
        "errors: links out of a workdir are followed",
        "errors/files.py",
        "if os.path.commonpath((there, folder)) != folder:",
        "if os.path.commonpath((there, folder)) == there:",
        "tests/test_hostile_workdir.py::test_links_out_of_the_workdir_are_not_written_through",
    ),
    (
        "report: a terminal obeys the names",
        "analysis/report.py",
        "repr(found[0])[1:-1], document)",
        "found[0], document)",
        "tests/test_hostile_workdir.py::test_text_of_a_record_is_text_in_every_format",
    ),
    (
        "certify: negative radii pass",
        "certificates/building.py",
        'at_least(0, of="certify", radii=radius)',
        'at_least(-9, of="certify", radii=radius)',
        "tests/test_commands.py::test_certify_refuses",
    ),
]
