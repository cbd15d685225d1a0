"""Planted faults of attacks, configs, checkpoints and data: (name, file, text, replacement,
test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

APGD, PGD = "tests/attacks/test_apgd.py", "tests/attacks/test_pgd.py"
CONFIG = "tests/test_config.py"
CHECKPOINT = "tests/training/test_checkpoint.py"
PICTURES, SOURCES = "tests/data/test_pictures.py", "tests/data/test_sources.py"
AUGMENT, DAMAGED = "tests/data/test_augment.py", "tests/data/test_damaged_files.py"
MIXTURE = "tests/data/test_mixture.py"
_EXACT = "tests/certificates/test_exact_cases.py"
_BALL = f"{APGD}::test_found_images_are_in_their_own_ball_and_in_the_box"

FAULTS = [
    (
        "pgd: ball of twice the radius",
        "attacks/pgd.py",
        "jnp.clip(moved, image - eps, image + eps)",
        "jnp.clip(moved, image - 2 * eps, image + 2 * eps)",
        _BALL,
    ),
    (
        "pgd: random start outside half of the ball",
        "attacks/pgd.py",
        "jnp.clip(eps / 4 * noise, -eps / 2, eps / 2)",
        "jnp.clip(eps / 4 * noise, -eps, eps)",
        f"{PGD}::test_random_starts_lie_inside_half_the_ball_and_differ_by_image",
    ),
    (
        "apgd: steps are never halved",
        "attacks/apgd.py",
        "jnp.where(halve, state.size / 2, state.size)",
        "jnp.where(halve, state.size / 1, state.size)",
        f"{APGD}::test_steps_shrink_until_a_peak_inside_the_ball_is_met",
    ),
    (
        "config: rate of another run continues",
        "config/comparing.py",
        '    "certify.",\n    "eval.",',
        '    "certify.",\n    "optim.",\n    "eval.",',
        f"{CONFIG}::test_what_trains_another_run_is_told_apart_from_the_rest",
    ),
    (
        "config: flags are numbers",
        "config/checking.py",
        "return kind in (bool, object)",
        "return kind in (bool, object, int, float)",
        f"{CONFIG}::test_values_are_compared_with_the_annotations_of_a_function",
    ),
    (
        "config: seeds beyond 32 bits",
        "config/checking.py",
        'within(f"[0, {2**32 - 1}]", **seeds)',
        'within(f"[0, {2**40 - 1}]", **seeds)',
        f"{CONFIG}::test_wrong_value_in_a_config_file_is_refused[large seed]",
    ),
    (
        "config: unknown keys of a section",
        "config/checking.py",
        "unknown = set() if own else set(section) - set(known)",
        "unknown = set()",
        f"{CONFIG}::test_wrong_value_in_a_config_file_is_refused[tiny key]",
    ),
    (
        "locks: a lock that others share",
        "locks.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        "tests/test_locks.py::test_commands_refuse_a_folder_that_is_being_written",
    ),
    (
        "locks: folders with content are removed",
        "locks.py",
        "if made and os.listdir(folder) == [LOCK]:",
        "if made and False:",
        "tests/test_locks.py::test_a_folder_of_nothing_is_removed_and_one_with_content_stays",
    ),
    (
        "certify: digest of the labels alone",
        "data/recorded.py",
        "digest.update(np.ascontiguousarray(image))",
        "digest.update(np.ascontiguousarray(image[:0]))",
        "tests/test_certify.py::test_digest_tells_labels_and_images_apart",
    ),
    (
        "certify: rows of other labels are kept",
        "data/recorded.py",
        "~inside | (label != rows.label)",
        "~inside | (label < 0)",
        "tests/test_certify.py::test_row_of_another_image_is_named_with_its_line",
    ),
    (
        "checkpoint: averaged weights are not evaluated",
        "workdirs/checkpoint.py",
        "state.params if state.ema is None else state.ema",
        "state.params",
        f"{CHECKPOINT}::test_a_network_is_evaluated_with_its_averaged_weights",
    ),
    (
        "checkpoint: digest without the numbers",
        "workdirs/checkpoint.py",
        "total.update(value.tobytes())",
        "total.update(value.tobytes()[:0])",
        f"{CHECKPOINT}::test_a_digest_tells_names_types_shapes_and_values_apart",
    ),
    (
        "checkpoint: digest is not compared",
        "workdirs/checkpoint.py",
        "if digest(sharding.to_host(restored)) != expected:",
        "if digest(sharding.to_host(restored)) == '':",
        f"{CHECKPOINT}::test_another_value_of_one_number_is_another_network",
    ),
    (
        "pictures: 16 bits are divided by 256",
        "data/pictures.py",
        "np.float32(65535)",
        "np.float32(65536)",
        f"{PICTURES}::test_grey_of_16_bits_is_a_share_of_65535",
    ),
    (
        "pictures: orientation is not followed",
        "data/pictures.py",
        "ImageOps.exif_transpose(opened)",
        "opened.copy()",
        f"{PICTURES}::test_orientation_is_followed[mirrored]",
    ),
    (
        "pictures: some transparent pixels",
        "data/pictures.py",
        "if (alpha < 255).any():",
        "if (alpha < 255).all():",
        f"{PICTURES}::test_other_pictures_are_one_sentence[transparent]",
    ),
    (
        "pictures: classes in the order of the disk",
        "data/pictures.py",
        "sorted(found, key=lambda p: p.name)",
        "sorted(found, key=lambda p: p.name, reverse=True)",
        f"{SOURCES}::test_pictures_are_numbered_by_the_names_of_their_folders",
    ),
    (
        "files: checksum is not compared",
        "data/files.py",
        "info.CRC != _checksum(",
        "-1 == _checksum(",
        f"{DAMAGED}::test_one_changed_byte_of_an_npz_is_noticed",
    ),
    (
        "files: arrays of Fortran's order",
        "data/files.py",
        '"F" if fortran else "C"',
        '"C" if fortran else "C"',
        f"{SOURCES}::test_fortran_order_and_long_member_names_are_mapped_right",
    ),
    (
        "files: bytes beyond the array",
        "data/files.py",
        "* dtype.itemsize != size:",
        "* dtype.itemsize > size:",
        f"{DAMAGED}::test_headers_are_not_believed[too long]",
    ),
    (
        "sources: pixels above 1",
        "data/sources.py",
        "(chunk >= 0) & (chunk <= 1)",
        "(chunk >= 0) & (chunk <= 255)",
        f"{SOURCES}::test_bad_arrays_are_one_sentence",
    ),
    (
        "sources: padding on one side",
        "data/sources.py",
        "(side - height) // 2, (side - width) // 2",
        "0 * (side - height), (side - width) // 2",
        f"{SOURCES}::test_padding_puts_the_image_in_the_middle_of_black",
    ),
    (
        "sources: classes of one split",
        "data/sources.py",
        "found = [label, *(read(s, labels=False)[1] for s in there)]",
        "found = [label]",
        f"{SOURCES}::test_both_splits_have_the_same_number_of_classes",
    ),
    (
        "augment: every image is mirrored",
        "data/augment.py",
        "shape=size.shape) & flip",
        "shape=size.shape) | flip",
        f"{AUGMENT}::test_every_shift_and_both_mirrors_occur_evenly",
    ),
    (
        "augment: crops of real and generated images change places",
        "data/augment.py",
        '"real"], crop, generated_crop)',
        '"real"], generated_crop, crop)',
        f"{AUGMENT}::test_generated_images_may_have_a_crop_of_their_own",
    ),
    (
        "augment: shifts to one side",
        "data/augment.py",
        "-size, size + 1)",
        "-size, size)",
        f"{AUGMENT}::test_every_shift_and_both_mirrors_occur_evenly",
    ),
    (
        "augment: black instead of the border",
        "data/augment.py",
        'if fill == "edge":',
        'if fill == "none":',
        f"{AUGMENT}::test_crop_and_mirror_equal_padding_then_slicing",
    ),
    (
        "mixture: real images repeat within a pass",
        "data/mixture.py",
        "position = step * count + np.arange(count, dtype=np.int64)\n    index",
        "position = step * (count - 1) + np.arange(count, dtype=np.int64)\n    index",
        f"{MIXTURE}::test_every_image_comes_once_per_pass_across_epochs",
    ),
    (
        "mixture: discarded images are drawn",
        "data/mixture.py",
        'side="right")',
        'side="left") * 0',
        f"{MIXTURE}::test_weights_draw_in_proportion_and_never_a_discarded_image",
    ),
    (
        "mixture: one batch for all seeds",
        "data/mixture.py",
        "np.random.default_rng([seed, source, number])",
        "np.random.default_rng([source, number])",
        f"{MIXTURE}::test_seeds_give_different_batches",
    ),
    (
        "images: bytes are divided by 256",
        "ops/images.py",
        "np.arange(256) / 255.0",
        "np.arange(256) / 256.0",
        "tests/ops/test_images.py::test_bytes_become_the_exact_quotient_in_float32",
    ),
    (
        "attack: found images stay outside the radius",
        "attacks/audit.py",
        "np.clip(pixels + share * away, 0, 1)",
        "np.clip(pixels + 2 * share * away, 0, 1)",
        f"{_EXACT}::test_an_attack_finds_a_false_radius_just_inside_it",
    ),
    (
        "metrics: radii above r, not from r on",
        "certificate.py",
        'np.searchsorted(reached, radii, side="left")',
        'np.searchsorted(reached, radii, side="right")',
        "tests/analysis/test_analysis_metrics.py::test_radii_on_a_grid_of_arange_are_as_the_originals_count_them",
    ),
    (
        "metrics: attacks on another prediction contradict",
        "attacks/audit.py",
        "same & (attacks.distance[theirs] < c.radius[mine])",
        "same | (attacks.distance[theirs] < c.radius[mine])",
        "tests/test_attack.py::test_contradictions_are_joined_by_image_and_class",
    ),
]
