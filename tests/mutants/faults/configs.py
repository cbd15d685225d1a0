"""Planted faults of configs and how they are found: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_CONFIG = "tests/test_config.py"
_CONFIGS = "tests/contracts/test_configs.py"
_MAIN = "tests/test_main.py"

FAULTS = [
    (
        "config files: the packaged config hides one's own file",
        "config/files.py",
        "if os.path.lexists(path) and not (name and os.path.isdir(path)):",
        "if os.path.lexists(path) and not name:",
        f"{_CONFIG}::test_an_existing_file_comes_before_the_packaged_config_of_its_name",
    ),
    (
        "config files: the default workdir has the path as it was typed",
        "config/files.py",
        "file = Path(_file_of(path) or path).absolute()",
        "file = Path(path).absolute()",
        f"{_CONFIG}::test_default_workdir_does_not_depend_on_how_a_config_is_named",
    ),
    (
        "config files: the nearest names are left out",
        "config/files.py",
        "near = near or difflib.get_close_matches(name, shipped(), 3)",
        "near = near or difflib.get_close_matches(name, [], 3)",
        f"{_CONFIG}::test_what_is_neither_a_file_nor_packaged_names_both_places_and_the_nearest",
    ),
    (
        "rows: a word that stands alone is never there",
        "config/rows.py",
        "return bool(word) if len(tuple(group)) == 1 else word",
        "return not word if len(tuple(group)) == 1 else word",
        f"{_CONFIG}::test_words_of_a_row_are_found_by_their_group",
    ),
    (
        "rows: groups of one word are in every row",
        "config/rows.py",
        'tuple(group) if len(tuple(group)) > 1 else ("", *group)',
        'tuple(group) if len(tuple(group)) > 0 else ("", *group)',
        f"{_CONFIG}::test_every_row_has_a_word_of_each_group_but_for_groups_of_one_word",
    ),
    (
        "configs: a row changes what later rows start from",
        "configs/smoothing/cifar10.py",
        "return dict(name=name, sigma=sigma) | found | changes",
        "methods[recipe].update(changes)\n    return dict(name=name, sigma=sigma) | found | changes",
        f"{_CONFIGS}::test_a_config_is_the_same_each_time",
    ),
    (
        "show_configs: overrides are not shown",
        "show_configs.py",
        "configs.resolve(args.config, overrides,",
        "configs.resolve(args.config, overrides[:0],",
        f"{_MAIN}::test_configs_prints_one_as_a_workdir_would_have_it",
    ),
    (
        "jaxcert: a command gets its own name as an argument",
        "__main__.py",
        ".main(words[1:])",
        ".main(words[0:])",
        f"{_MAIN}::test_words_after_a_command_are_its_arguments",
    ),
]
