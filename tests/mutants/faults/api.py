"""Planted faults of what `import jaxcert` offers: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_API = "tests/test_api.py"
_MISTAKE = f"{_API}::test_a_mistake_with_a_certifier_names_its_argument"

FAULTS = [
    (
        "api: images without a class pass in silence",
        "api/certifying.py",
        "if lost := int((rows.predicted == ERROR).sum()):",
        "if lost := 0:",
        f"{_API}::test_images_without_a_class_are_warned_of",
    ),
    (
        "api: an abstention without a label is correct",
        "certificate.py",
        "return (self.predicted == self.label) & (self.label != NO_LABEL)",
        "return self.predicted == self.label",
        f"{_API}::test_without_labels_nothing_is_said_of_accuracy",
    ),
    (
        "api: images without labels are none of them right",
        "certificate.py",
        "certified_share(c, radii) if c.labelled else",
        "certified_share(c, radii) if c else",
        f"{_API}::test_without_labels_nothing_is_said_of_accuracy",
    ),
    (
        "api: all calls of a predictor draw the same noise",
        "api/certifying.py",
        "np.array([next(self._calls)])",
        "np.array([0 * next(self._calls)])",
        f"{_API}::test_a_call_of_the_predictor_draws_noise_of_its_own",
    ),
    (
        "api: rows are left in the order of their index",
        "api/certifying.py",
        "place = np.argsort(np.argsort(index))",
        "place = np.arange(len(index))",
        f"{_API}::test_rows_stand_in_the_order_of_the_images",
    ),
    (
        "api: noise of another seed than the command's",
        "api/certifying.py",
        "return random_keys.of_stream(seed, configs.CERTIFY_STREAM)",
        "return random_keys.of_stream(seed, 0)",
        f"{_API}::test_smooth_is_the_certifier_of_a_function",
    ),
    (
        "api: pixels of 0 to 255 as floats",
        "api/certifying.py",
        "if ends := outside(image):",
        "if (ends := outside(image)) and single:",
        _MISTAKE,
    ),
    (
        "api: a label above the classes",
        "api/certifying.py",
        "if low < 0 or classes is not None and high >= classes:",
        "if low < 0 or classes is not None and high > classes:",
        _MISTAKE,
    ),
    (
        "api: rows go below those of another network",
        "records/files.py",
        "if path.is_file() and path.stat().st_size:",
        "if path.is_dir():",
        f"{_API}::test_records_are_written_once_and_read_again",
    ),
    (
        "api: the logger of absl stays silent",
        "workdirs/checkpoint.py",
        "        logger.setLevel(level)\n",
        "        pass\n",
        f"{_API}::test_loading_logs_nothing_and_leaves_the_logger_alone",
    ),
    (
        "api: modules are imported with the package",
        "__init__.py",
        "if TYPE_CHECKING:\n    from jaxcert.api.certifying",
        "if not TYPE_CHECKING:\n    from jaxcert.api.certifying",
        f"{_API}::test_import_takes_no_package",
    ),
]
