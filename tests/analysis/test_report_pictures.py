"""What a page shows beside numbers: images, training, and figures and tables for elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re

import matplotlib.image
import numpy as np
import pytest
from refusals import names
from test_recheck import N, smoothed
from test_report import workdir

from jaxcert.analysis import (
    configured,
    figures,
    markdown,
    page,
    pictures,
    report,
    tables,
)
from jaxcert.analysis.facts import Entry
from jaxcert.analysis.metrics import summary
from jaxcert.analysis.recheck import recheck
from jaxcert.certificate import Certificates
from jaxcert.data.sources import Source
from jaxcert.errors import InputError

RADII = [0.0, 0.25, 0.5]


def entry(name, k, **more):
    c = smoothed(np.array(k))
    c = c._replace(header=c.header | dict(method="smoothing", norm="l2"))
    return Entry(name, c, summary(c, RADII), recheck(c), **more)


def rows(radius, label, predicted) -> Certificates:
    size = len(radius)
    return Certificates(
        index=np.arange(size) * 2,
        label=np.array(label, np.int32),
        predicted=np.array(predicted, np.int32),
        radius=np.array(radius, float),
        n=np.ones(size, np.int64),
        seconds=np.zeros(size),
    )


def test_images_that_are_worth_a_look_by_hand():
    radius = [*np.arange(1, 24) / 10, 0.7, 0.2, 0.0, 0.0]
    label, predicted = [1] * 27, [1] * 23 + [0, 0, 1, -1]
    found = pictures.extremes(rows(radius, label, predicted))
    assert [x.tolist() for x in found.values()] == [
        list(range(22, 12, -1)),
        list(range(10)),
        [23, 24],
    ]
    found = pictures.extremes(rows([0.1, 0.3, 0.0], [-1] * 3, [1, 0, 2]))
    assert {k: v.tolist() for k, v in found.items()} == {"Largest radii": [1, 0]}
    assert pictures.extremes(rows([0.0], [1], [1])) == {}


def pixels(html):
    """The images of a page, float [H,W,C]."""
    found = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [matplotlib.image.imread(io.BytesIO(base64.b64decode(x))) for x in found]


def test_a_page_has_the_images_of_these_rows_and_what_is_said_of_them():
    image = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2, 1) * 10
    source = Source(image, np.zeros(6, np.int32), 3, "mine")
    c = rows([0.5, 0.25, 0.75], [1, 2, 1], [1, 1, 1])
    e = entry("a", [700])._replace(certificates=c, source=source)
    html = "".join(pictures.gallery(e))
    for position, shown in zip((4, 0, 2), pixels(html), strict=True):
        np.testing.assert_allclose(
            shown[..., 0], image[position, ..., 0] / 255, atol=1e-6
        )
    assert "2<br>1, is 2<br>r 0.25" in html and 'alt="image 4: class 1"' in html
    named = e._replace(source=source._replace(class_names=("cat", "dog", "<owl>")))
    html = "".join(pictures.gallery(named))
    assert "dog, is &lt;owl&gt;<br>r 0.25" in html
    assert 'alt="image 4: dog"' in html
    wide = np.zeros((1, 200, 100, 3), np.float32)
    wide[:, :2, :2] = [[[1.0, 0.0, 0.5]]]
    many = e._replace(
        certificates=rows([0.5], [1], [1]), source=source._replace(image=wide)
    )
    (shown,) = pixels("".join(pictures.gallery(many)))
    assert shown.shape[:2] == (66, 33), "a third of 200 x 100"
    np.testing.assert_allclose(shown[0, 0, :3], np.array([4, 0, 2]) / 9, atol=0.003)
    assert pictures.gallery(e._replace(source=None)) == []


def test_training_is_drawn_from_what_metrics_say(tmp_path, monkeypatch):
    lines = [
        dict(step=1, split="train", epoch=0.5, loss=2.0, accuracy=0.25, lr=0.1),
        dict(step=2, split="train", epoch=1.0, loss=1.0, accuracy=0.5, lr=0.1),
        dict(step=2, split="test", epoch=1.0, **{"certified_0.25": 0.3}),
        dict(step=2, split="run", epoch=1.0, epochs=3),
    ]
    odd = ['{"step": 3, "split"', "[]", '{"step": null, "split": "x", "epoch": 1}']
    text = "\n".join([*map(json.dumps, lines), *odd])
    (tmp_path / "metrics.jsonl").write_text(text)
    found = pictures.training_lines(configured.metrics_of(tmp_path))
    assert found == {
        "train": {
            "loss": ([0.5, 1.0], [2.0, 1.0]),
            "accuracy": ([0.5, 1.0], [0.25, 0.5]),
        }
    }
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_, **__: figure)
    left, right = figures.training_curves(found).axes
    assert left.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert right.lines[0].get_ydata().tolist() == [25.0, 50.0]
    assert [line.get_label() for line in left.lines if len(line.get_xdata()) == 0] == [
        "train: loss",
        "train: accuracy",
    ]
    assert right.get_ylim() == (0, 50) and right.get_xlim() == (0, 1)
    assert pictures.training_lines(lines[:1]) == {}
    assert configured.metrics_of(tmp_path / "none") == []


def test_axes_end_where_the_curves_do(monkeypatch):
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_, **__: figure)
    label = np.array([1] * 10 + [0] * 90)
    c = smoothed(np.full(100, 700), label=label)
    axes = figures.radius_curves(["a"], [c]).axes[0]
    high = axes.collections[0].get_paths()[0].vertices[:, 1].max()
    assert 10 < high < axes.get_ylim()[1] == 20
    assert axes.get_xlim()[1] == pytest.approx(1.01 * c.radius.max())
    axes = figures.radius_curves(["a"], [smoothed([900] * 100)]).axes[0]
    assert axes.get_ylim()[1] == 100


def test_a_figure_is_a_file_and_never_text(tmp_path):
    path = workdir(tmp_path / "a")
    for form, start in dict(pdf=b"%PDF", png=b"\x89PNG", svg=b"<?xml").items():
        out = tmp_path / f"a.{form}"
        assert report.show([path], form=form, out=out) == 0
        assert out.read_bytes().startswith(start)
        assert out.read_bytes() == report.report([path], form=form)
    with pytest.raises(InputError, match=names("--out")):
        report.show([path], form="png")


def test_logs_are_drawn_beside_and_named(tmp_path, monkeypatch):
    ours, theirs = workdir(tmp_path / "ours"), tmp_path / "cohen.tsv"
    table = "idx\tlabel\tpredict\tradius\tcorrect\ttime\n"
    theirs.write_text(table + "0\t1\t1\t0.3\t1\t0:00:01\n7\t1\t0\t0.9\t0\t0:00:01\n")
    found = report.entries([ours], against=[theirs], radii=RADII)
    said = (
        "For reference cohen: 50.0 % at 0, 50.0 % at 0.25, 0.0 % at 0.5, of its own 2"
    )
    assert said in " ".join(report.render(found, "text").split())
    assert said in report.render(found, "markdown") and len(found) == 1
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_, **__: figure)
    (axes,) = figures.radius_curves(
        ["ours"], [found[0].certificates], found[0].beside
    ).axes
    line = next(line for line in axes.lines if line.get_label() == "cohen")
    assert line.get_xdata().tolist() == [0.0, 0.3] and line.get_ydata()[1] == 50
    with pytest.raises(InputError, match=names("--against", "csv")):
        report.show([ours], form="csv", against=[theirs])
    other = workdir(tmp_path / "other", norm="l1")
    with pytest.raises(InputError, match=names("l2 and l1")):
        report.entries([ours], against=[other])


def test_the_headline_says_who_is_ahead_where(monkeypatch):
    many, few = [N] * 60, [700] * 30 + [400] * 30
    text = tables.headline([entry("few", few), entry("many", many)])
    assert text == (
        "Of the 60 images that all records with radii have, many certifies most at radius "
        "0, 0.25 and 0.5 (100.0 % at 0)."
    )
    text = tables.headline([entry("one", many), entry("two", many)])
    assert text.endswith(
        "at 0, 0.25 and 0.5 no record is ahead of all others by the 95 % interval."
    )
    assert tables.headline([entry("a", [400]), entry("b", [400])]) == ""
    for name in "radius_curves p_lower_curves votes_curves radius_theory".split():
        monkeypatch.setattr(figures, name, lambda *_, **__: "<svg/>")
    for name in ("class_bars", "difference_curves"):
        monkeypatch.setattr(figures, name, lambda *_, **__: "<svg/>")
    text = page.page([entry("few", few), entry("many", many)])
    assert re.search(r'class="lead">Of the 60 images .* many certifies most', text)


def test_markdown_has_the_shares_in_a_table():
    text = markdown.markdown(
        [entry("few|_", [700] * 30 + [400] * 30), entry("b", [N] * 60)]
    )
    lines = text.splitlines()
    at = lines.index("| record | images | abstained, % | 0 | 0.25 | 0.5 |")
    assert lines[at + 1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert lines[at + 2].startswith(r"| few\|\_ | 60 | 50.0 | 50.0 ±6.5 |")
    assert "| **100.0 [94.0, 100.0]** |" in lines[at + 3]
    assert lines[0].startswith("Of the 60 images") and "- average radius" in text
