"""Text, CSV and HTML of a report: what they say, and that they stay readable."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from test_recheck import N, lipschitz, smoothed

from jaxcert.analysis import figures, tables
from jaxcert.analysis.metrics import summary
from jaxcert.analysis.page import page
from jaxcert.analysis.recheck import recheck
from jaxcert.analysis.tables import Entry, Reference

RADII = [0.0, 0.25, 0.5, 0.75, 1.0]


def entry(name="gaussian", *, k=(400, 700, 900, N), reference=None, radii=RADII):
    c = smoothed(np.array(k))
    header = c.header | dict(
        method="smoothing", norm="l2", dataset="digits", split="test", device="<cpu>"
    )
    c = c._replace(header=header)
    return Entry(name, c, summary(c, radii), recheck(c), reference)


@pytest.mark.parametrize(
    "radius, text",
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (1.0, "1"),
        (36 / 255, "36/255"),
        (108 / 255, "108/255"),
        (8 / 255, "8/255"),
        (51 / 255, "0.2"),
        (0.123456, "0.1235"),
        (16.5, "16.5"),
    ],
)
def test_radii_are_written_as_papers_write_them(radius, text):
    assert tables.radius_text(radius) == text


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("radii", [RADII, np.arange(21) * 0.25])
def test_text_fits_a_terminal(count, radii):
    names = [f"{'long' * 20}{i}" for i in range(count)]
    many = (400, 700, 900, N) * 10  # so that errors are below ten points
    entries = [entry(name, k=many, radii=radii) for name in names]
    lines = tables.text(entries).splitlines()
    assert max(len(line) for line in lines if line not in names) <= 100
    heads = [line for line in lines if re.match(r"^ +(images|\d)", line)]
    shown = " ".join(heads).replace("images", "").replace("abstain", "").split()
    assert shown == [tables.radius_text(r) for r in radii]
    if len(radii) == 5:
        assert len(heads) == 1, "five radii stand in one block"


def test_text_prints_shares_with_their_error():
    row = tables.text([entry()]).splitlines()[3]
    # radii of 700, 900, 1000 votes: 0.22, 0.57, 1.23
    cells = re.split(r"  +", row)
    assert cells[:3] == ["gaussian", "4", "25.0"]
    assert cells[3:] == ["75.0 ±21.7", "50.0 ±25.0", "50.0 ±25.0"] + ["25.0 ±21.7"] * 2


def test_best_is_marked_only_among_the_same_images():
    better, worse = entry("a", k=(700, 900, N, N)), entry("b", k=(700, 700, 900, N))
    lines = tables.text([better, worse]).splitlines()
    assert lines[3].count("*") == 5
    assert lines[4].count("*") == 1, "a tie at radius 0"
    other = worse.certificates._replace(index=np.arange(4) + 50)
    assert "*" not in tables.text([better, worse._replace(certificates=other)])


def test_published_numbers_stand_below_ours():
    reference = Reference("Cohen et al., Table 1", {0.0: 0.7725, 0.5: 0.5})
    text = tables.text([entry(reference=reference)])
    assert re.search(r"\n  published +77\.25 +50\.0", text)
    assert "Cohen et al., Table 1" in text


def test_failing_evidence_names_the_images():
    e = entry()
    e.certificates.radius[2] += 0.1
    sentence = tables.evidence(e._replace(recheck=recheck(e.certificates)))
    assert "1 of 3" in sentence and "images 20)" in sentence


def test_missing_evidence_is_named_in_words_and_colour():
    c = smoothed([900], counts=None)._replace(label=np.array([1]))
    e = Entry("bare", c, summary(c, [0.0]), recheck(c))
    sentence = (
        "1 of 1 certificates exceed their evidence (images 0): its rows have no counts"
    )
    assert sentence in tables.evidence(e)
    assert 'class="check bad"' in page([e])


def test_average_radius_never_stands_alone():
    text = tables.text([entry()])
    last = text.rstrip().splitlines()[-2:]
    assert "average radius" in " ".join(last) and "constant classifier" in text


def test_csv_has_full_precision_and_one_row_each():
    entries = [entry("a"), entry("b", k=(N, N, N))]
    rows = list(csv.DictReader(io.StringIO(tables.csv(entries))))
    assert [row["record"] for row in rows] == ["a", "b"]
    for row, e in zip(rows, entries, strict=True):
        shares = [float(row[f"certified_{tables.radius_text(r)}"]) for r in RADII]
        assert shares == e.summary.certified.tolist()
        assert float(row["acr"]) == e.summary.acr
        assert row["checked"] == str(e.recheck.checked)


class Outline(HTMLParser):
    """Tags left open, and addresses a browser would load."""

    EMPTY = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)
        names = ("src", "href", "xlink:href", "data")
        self.loaded += [v for k, v in attributes if k in names and v[0] != "#"]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages():
    reference = Reference("a <paper>", {0.25: 0.5})
    named = entry("<one>", reference=reference)
    c = lipschitz([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    plain = Entry("lot", c, summary(c, [0.0, 36 / 255]), recheck(c))
    return [page([named]), page([named, entry("two")]), page([plain])]


def test_page_is_closed_and_loads_nothing(pages):
    for text in pages:
        outline = Outline(text)
        assert outline.open == [] and outline.loaded == []
        assert "@import" not in text and "url(http" not in text
        assert "<script" not in text


def test_names_are_escaped(pages):
    for text in pages[:2]:
        assert "&lt;one&gt;" in text and "<one>" not in text
        assert "<cpu>" not in text and "a &lt;paper&gt;" in text


def test_page_orders_accuracy_before_average_radius(pages):
    for text in pages:
        assert text.index("<h2>Certified accuracy") < text.index("average radius")


def test_page_states_what_was_certified(pages):
    for word in ("n 1000", "sigma 0.5", "at most 0.001", "digits", "abstained"):
        assert word in pages[0]
    assert "deterministic" in pages[2] and "36/255" in pages[2]


def test_page_of_failing_evidence_says_so_in_its_colour():
    e = entry()
    e.certificates.radius[2] += 0.1
    text = page([e._replace(recheck=recheck(e.certificates))])
    assert 'class="check bad"' in text and "exceed their evidence" in text


def test_figures_are_svg_that_follows_the_page():
    e = entry()
    draw = [figures.radius_curves, figures.p_lower_curves]
    for svg in (f(["a", "b"], [e.certificates] * 2) for f in draw):
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "currentColor" in svg and figures._INK not in svg


def test_equal_records_give_equal_figures():
    c = entry().certificates
    assert figures.radius_curves(["a"], [c]) == figures.radius_curves(["a"], [c])


def test_figure_of_a_record_without_a_correct_image():
    c = smoothed([900], label=np.array([0]))
    assert figures.radius_curves(["a"], [c]).startswith("<svg")


def test_curve_falls_exactly_at_the_radii():
    radius = np.array([0.5, 0.25, 0.5, np.inf])
    assert figures._steps(radius).tolist() == [0, 0.25, 0.5]
    assert len(figures._steps(np.arange(5000))) <= figures._POINTS + 1


def test_what_rigour_costs_is_told_in_every_form():
    c = lipschitz(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]))
    c = c._replace(radius_paper=c.radius / 0.5)
    found = Entry("lot", c, summary(c, RADII), recheck(c))
    assert "0.50000 of these (median)" in " ".join(tables.text([found]).split())
    row = next(csv.DictReader(io.StringIO(tables.csv([found]))))
    assert float(row["radius_by_paper"]) == 0.5 and row["paper_0.25"]
    document = page([found])
    assert "by estimates" in document and "no proof" in document
    without = found._replace(summary=summary(c._replace(radius_paper=None), RADII))
    assert "estimates" not in tables.text([without]) + page([without])
