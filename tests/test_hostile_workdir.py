"""A workdir of somebody else: nothing in it is run, nothing outside of it is written, and what
is odd is refused in one sentence."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
from command_line import CONFIG, assert_words, end
from refusals import names

from jaxcert import attack, certify, gradient_norms, report, train
from jaxcert.errors import exit_cleanly

BRACKETS = "[" * 1_000_000
COMMANDS = {
    "certify": (certify, "--workdir"),
    "attack": (attack, "--workdir"),
    "gradient_norms": (gradient_norms, "--images", "4", "--workdir"),
    "report": (report,),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("hostile") / "run"
    arguments = ["--config", CONFIG, "--tiny", "--workdir", str(workdir)]
    assert exit_cleanly(lambda: train.main(arguments)) == 0
    assert exit_cleanly(lambda: certify.main(["--workdir", str(workdir)])) == 0
    return workdir


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def evil(original, tmp_path):
    """A copy, beside which nothing may appear."""
    place = tmp_path / "place"
    shutil.copytree(original, place / "run")
    return place / "run"


@pytest.fixture
def ends(capsys):
    return partial(end, capsys)


def outside(workdir):
    """What stands beside the workdir and at its targets."""
    place = workdir.parent
    return {
        p: p.read_bytes() if p.is_file() else None
        for p in sorted(place.parent.rglob("*"))
        if workdir not in (p, *p.parents)
    }


def changed(workdir, *keys, value):
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    section = config
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    section[keys[-1]] = value
    path.write_text(json.dumps(config))


NAMES = (
    "../../evil",
    "os",
    "/tmp/evil",
    "jaxcert.cli",
    "smoothing;x",
    "_parts",
    "",
    "..",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("section", ["model", "certify"])
def test_names_are_those_of_the_registry_alone(ends, evil, section, name):
    """A module of the name is there to be found, and is not run."""
    (evil / "evil.py").write_text(f"open({str(evil.parent / 'ran')!r}, 'w')")
    changed(evil, section, "name", value=name)
    before = outside(evil)
    status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
    assert status == 2
    assert_words(
        names(repr(name), "smoothing" if section == "certify" else "resnet"), said
    )
    assert outside(evil) == before


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_pickles_are_not_loaded(ends, evil, kind):
    data = evil / "data"
    data.mkdir()
    bomb = np.array([Bomb(evil.parent / "ran")], object)
    for split in ("train", "test"):
        if kind == "npz":
            np.savez(data / f"{split}.npz", image=bomb, label=bomb)
        else:
            for part in ("image", "label"):
                np.save(data / f"{split}_{part}.npy", bomb)
    changed(evil, "data", "name", value=f"{kind}:{data}")
    before = outside(evil)
    status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
    assert status == 2 and str(data) in said
    assert outside(evil) == before
    with pytest.raises(UnicodeDecodeError):  # the bomb is one, where it is loaded
        with open(evil / "bomb", "wb") as file:
            pickle.dump(Bomb(evil.parent / "ran"), file)
        (evil / "bomb").read_text("utf-8")
    with open(evil / "bomb", "rb") as file:
        pickle.load(file).close()
    assert (evil.parent / "ran").exists()


WRITTEN = {
    "certify": "certificates.jsonl",
    "attack": "attacks.jsonl",
    "gradient_norms": "gradient_norms.json",
    "report": "report.html",
}


@pytest.mark.parametrize("there", [True, False], ids=["file", "missing"])
@pytest.mark.parametrize("command", WRITTEN)
def test_links_out_of_the_workdir_are_not_written_through(ends, evil, command, there):
    target = evil.parent / "target"
    if there:
        target.write_text("mine")
    (evil / WRITTEN[command]).unlink(missing_ok=True)
    (evil / WRITTEN[command]).symlink_to("../target")
    before = outside(evil)
    module, *words = COMMANDS[command]
    status, said = ends(module, *words, evil)
    assert status == 2
    assert_words(names(evil / WRITTEN[command], evil.parent / "target"), said)
    assert outside(evil) == before
    (evil / WRITTEN[command]).unlink()  # as advised
    if command in ("gradient_norms", "report", "certify"):
        assert exit_cleanly(lambda: module.main([*words, str(evil)])) == 0
    assert outside(evil) == before


def test_half_written_files_are_not_written_through(evil):
    (evil.parent / "target").write_text("mine")
    for name in ("html", "csv"):
        name = f".report.{name}.{os.getpid()}.part"
        (evil / name).symlink_to("../target")
    before = outside(evil)
    assert report.main([str(evil)]) == 0
    assert outside(evil) == before


@pytest.mark.parametrize(
    "name", ["config.json", "certificates.jsonl", "gradient_norms.json"]
)
def test_a_million_brackets(evil, name, capsys):
    for text in (BRACKETS, '{"a":' * 300_000, f'{{"config": {BRACKETS}'):
        (evil / name).write_text(text)
        for module, *words in ((report,), (certify, "--workdir")):
            command = partial(module.main, [*words, str(evil)])
            status, said = exit_cleanly(command), capsys.readouterr().err
            assert "Traceback" not in said
            if status == 0:
                assert name != "certificates.jsonl"  # not read by this command
            else:
                assert status == 2 and str(evil) in said and "jaxcert: " in said


def test_archives_are_downloaded_to_no_place_that_the_workdir_names(
    ends, evil, monkeypatch
):
    from jaxcert.data import download

    monkeypatch.setattr(download, "fetch", lambda *a, **k: pytest.fail("fetched"))
    changed(evil, "data", "name", value="mnist")
    changed(evil, "data", "dir", value=str(evil.parent / "there"))
    (evil.parent / "there").mkdir()
    before = outside(evil)
    status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
    assert status == 2
    assert_words("there/?.* is no|there", said)
    assert outside(evil) == before


HUGE = {
    "width": ("model", "width", 10**9),
    "shape": ("model", "image_shape", [10**6, 10**6, 3]),
    "classes": ("model", "num_classes", 10**12),
    "batch": ("certify", "batch", 10**15),
    "pad": ("data", "pad", 10**7),
    "seed": ("certify", "seed", 10**30),
    "n": ("certify", "n", 10**30),
}


@pytest.mark.parametrize("section,key,value", HUGE.values(), ids=HUGE)
def test_huge_numbers(ends, evil, section, key, value):
    changed(evil, section, key, value=value)
    status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
    assert status == 2 and said


def checkpoint_of(evil):
    (step,) = [p for p in (evil / "checkpoints").iterdir() if p.name.isdigit()]
    return step


ODD_META = {
    "no shapes": dict(shapes={"evaluation": None}),
    "list": dict(shapes={"evaluation": [1]}),
    "bomb": dict(shapes={"evaluation": {"params.x": [10**12, 10**12]}}),
    "words": dict(shapes="x", digest="y"),
    "nothing": dict(digest={}),
}


@pytest.mark.parametrize("changes", ODD_META.values(), ids=ODD_META)
def test_odd_metadata_of_a_checkpoint(ends, evil, changes):
    path = checkpoint_of(evil) / "meta" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
    assert status == 2
    assert_words("checkpoint", said)


@pytest.mark.parametrize("text", [BRACKETS, "{}", "null", "[]", "\0"], ids=repr)
def test_odd_files_of_orbax(ends, evil, text):
    kinds = ("metadata", "_METADATA", "_CHECKPOINT_METADATA", "_sharding")
    for name in sorted(p for p in checkpoint_of(evil).rglob("*") if p.name in kinds):
        kept = name.read_bytes()
        name.write_text(text)
        status, said = ends(certify, "--workdir", evil, "--out", evil / "new.jsonl")
        assert status == (2 if said else 0)
        name.write_bytes(kept)
        (evil / "new.jsonl").unlink(missing_ok=True)


SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    "text", [SCRIPT, "\x1b]0;x\x07", "$\\frac", "\\input{x}", "\n\\input{x}", "=1+1"]
)
def test_text_of_a_record_is_text_in_every_format(evil, capsys, text):
    path = evil / "certificates.jsonl"
    header, *rows = path.read_text().splitlines()
    header = json.loads(header)
    header |= dict(device=text, host=text, date=text)
    header["config"]["reference"] = dict(paper=text, table=text, clean=1.0)
    path.write_text("\n".join([json.dumps(header), *rows]) + "\n")
    named = evil.with_name("".join(c for c in text if c not in "/\0"))
    os.rename(evil, named)
    for form in ("text", "csv", "html", "latex"):
        assert report.main([str(named), "--format", form]) == 0
        said = capsys.readouterr().out
        assert SCRIPT not in said or form != "html"
        assert "\x1b" not in said
        run = [line for line in said.splitlines() if not line.startswith("%")]
        assert form != "latex" or not any("\\input{" in line for line in run)
