"""Planted faults of jaxcert/data/, in what reads shards: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/data"

_TESTS = "tests/data/test_shards.py"

FAULTS = [
    (
        "shards: images across two blocks read straight on",
        "shards.py",
        "broken = self.in_blocks[shard] & (begin % _BLOCK + pixels > _BLOCK)",
        "broken = ~self.in_blocks[shard] & (begin % _BLOCK + pixels > _BLOCK)",
        f"{_TESTS}::test_every_image_of_written_shards_is_found",
    ),
    (
        "shards: the bytes of npz files taken for blocks",
        "shards.py",
        "return Shard(path, found.image.shape[1:], begin, found.label, digest, False)",
        "return Shard(path, found.image.shape[1:], begin, found.label, digest, True)",
        f"{_TESTS}::test_npz_shards_are_one_set_in_natural_order",
    ),
    (
        "shards: names sorted as text",
        "generated.py",
        "return [int(p) if i % 2 else p for i, p in enumerate(parts)], path.name",
        "return [p if i % 2 else p for i, p in enumerate(parts)], path.name",
        f"{_TESTS}::test_npz_shards_are_one_set_in_natural_order",
    ),
    (
        "shards: labels of a part are those of the first images",
        "generated.py",
        "image=image, label=source.label[rows]",
        "image=image, label=source.label[: len(rows)]",
        f"{_TESTS}::test_a_part_is_drawn_across_all_shards",
    ),
    (
        "shards: what was mapped is never let go",
        "shards.py",
        "if min(self.touched, self.total) > _MAPPED:",
        "if min(self.touched, self.total) < 0 * _MAPPED:",
        f"{_TESTS}::test_what_was_read_is_let_go",
    ),
    (
        "shards: labels of records are not looked at",
        "shards.py",
        "if low < 0 or (classes and high >= classes):",
        "if low < 0 or (classes and high < 0 * classes):",
        f"{_TESTS}::test_faults_of_written_shards_name_the_file",
    ),
    (
        "shards: the digest of records is that of their sizes",
        "shards.py",
        "digest.update(content)",
        "digest.update(bytes(len(content)))",
        f"{_TESTS}::test_digest_of_records_tells_images_and_labels",
    ),
    (
        "shards: a set that changed is taken",
        "generated.py",
        "if before != now:",
        "if (before or now)[0] != (now or before)[0]:",
        f"{_TESTS}::test_a_set_that_changed_since_the_run_began_is_refused",
    ),
    (
        "shards: all chunks of images are sent to the same place",
        "loader.py",
        "joined = put(joined, sent, np.int32(row))",
        "joined = put(joined, sent, np.int32(0))",
        f"{_TESTS}::test_folder_and_file_give_the_same_batches",
    ),
    (
        "npz: the checksum of the labels of large sets is not compared",
        "files.py",
        'check=whole or name == "label"',
        "check=whole",
        f"{_TESTS}::test_a_bad_byte_is_found_where_checksums_are_compared",
    ),
]
