"""Planted faults of what errors advise: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_FILES = "tests/test_advice_files.py"
_TRAINING = "tests/test_advice_training.py"

FAULTS = [
    (
        "advice: a shard too many is called one that is missing",
        "data/generated.py",
        'if len(shard.label) > header["count"] - place',
        'if len(shard.label) > header["count"] + place',
        f"{_FILES}::test_shards",
    ),
    (
        "advice: a shard too many becomes one of the set",
        "data/write.py",
        'if number_of(p) * per_shard < found["count"]',
        'if number_of(p) * per_shard < 2 * found["count"]',
        f"{_FILES}::test_a_shard_too_many_does_not_become_one_of_the_set",
    ),
    (
        "advice: padding where no padding helps",
        "data/sources.py",
        "padded = max(shape[:2]) <= side and",
        "padded = max(shape[:2]) >= side or",
        f"{_FILES}::test_images_of_another_size_than_the_models",
    ),
    (
        "advice: a smaller batch where one image does not fit",
        "training/limits.py",
        "if most <= len(devices):",
        "if most < 0:",
        f"{_FILES}::test_settings",
    ),
    (
        "advice: the only checkpoint is to be deleted",
        "workdirs/checkpoint.py",
        "if len(manager.all_steps()) > 1:",
        "if len(manager.all_steps()) > 0:",
        f"{_TRAINING}::test_the_only_checkpoint_is_restored_or_the_run_begun_elsewhere",
    ),
    (
        "advice: the wrong process is to be started",
        "training/processes.py",
        'first = f"the first process (--distributed={host}:{port},{count},0)"',
        'first = f"the first process (--distributed={host}:{port},{count},1)"',
        f"{_TRAINING}::test_a_process_that_waits_is_joined_by_the_others",
    ),
    (
        "advice: the other keys of an import are to be changed",
        "torch_import/network.py",
        'f"model.{key}={facts[key]}" for key in different',
        'f"model.{key}={said[key]}" for key in different',
        "tests/torch_import/test_import_akamaster.py::test_the_other_shortcut_is_refused",
    ),
]
