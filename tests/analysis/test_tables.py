"""Text, CSV and HTML of a report: what they say, and that they stay readable."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from refusals import names
from test_recheck import N, lipschitz, smoothed

from jaxcert.analysis import facts, figures, spreadsheet, tables
from jaxcert.analysis.compare import Difference, difference
from jaxcert.analysis.compare import against as compared
from jaxcert.analysis.facts import (
    Entry,
    Reference,
)
from jaxcert.analysis.latex import latex
from jaxcert.analysis.metrics import interval, per_class, summary
from jaxcert.analysis.page import _theory, page
from jaxcert.analysis.recheck import recheck
from jaxcert.data.sources import Source
from jaxcert.errors import InputError

RADII = [0.0, 0.25, 0.5, 0.75, 1.0]


def entry(name="gaussian", *, k=(400, 700, 900, N), reference=None, radii=RADII):
    c = smoothed(np.array(k))
    header = c.header | dict(
        method="smoothing", norm="l2", dataset="digits", split="test", device="<cpu>"
    )
    c = c._replace(header=header)
    return Entry(name, c, summary(c, radii), recheck(c), reference)


FIGURES = (
    "class_bars difference_curves p_lower_curves radius_curves radius_theory votes_curves "
    "training_curves"
).split()


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their figures, which take most of their time."""
    for name in FIGURES:
        monkeypatch.setattr(
            f"jaxcert.analysis.figures.{name}", lambda *_, **__: "<svg/>"
        )


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
        (3 * 0.05, "0.15"),
        (0.123456, "0.123456"),
        (1 / 7, "0.142857143"),
        (2e-12, "2e-12"),
        (16.5, "16.5"),
        (5e-324, "4.941e-324"),
    ],
)
def test_radii_are_written_as_papers_write_them(radius, text):
    assert facts.radius_text(radius) == text


def test_a_share_is_rounded_alike_with_and_without_its_error():
    """numpy rounds 59.85 to 59.8."""
    share = np.float64(5985 / 10_000)
    assert facts.percent(share) == "59.9"
    assert facts.with_error(share, 0.005, 0.58, 0.61) == "59.9 ±0.5"


def test_two_radii_never_share_a_column():
    radii = facts.distinct([0.12346, 0.123456, 3 * 0.05, 0.15, 0.0, 0.12346])
    assert radii.tolist() == [0.0, 0.123456, 0.12346, 0.15]
    (row,) = csv.DictReader(io.StringIO(spreadsheet.csv([entry(radii=radii)])))
    shown = [k.removeprefix("certified_") for k in row if k.startswith("certified_")]
    assert shown == ["0", "0.123456", "0.12346", "0.15"]
    assert facts.distinct([]).tolist() == []


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
    assert shown == [facts.radius_text(r) for r in radii]
    if len(radii) == 5:
        assert len(heads) == 1, "five radii stand in one block"


def test_text_prints_shares_with_their_error():
    row = tables.text([entry()]).splitlines()[3]
    # radii of 700, 900, 1000 votes: 0.22, 0.57, 1.23
    cells = re.split(r"  +", row)
    assert cells[:3] == ["gaussian", "4", "25.0"]
    assert cells[3:] == ["75.0 ±21.7", "50.0 ±25.0", "50.0 ±25.0"] + ["25.0 ±21.7"] * 2


def test_best_is_marked_only_among_the_same_images():
    better = entry("a", k=(700, 900, N, N) * 10)
    worse = entry("b", k=(700, 700, 900, N) * 10)
    lines = tables.text([better, worse]).splitlines()
    assert lines[3].count("*") == 4, "not at radius 0, where they tie"
    assert lines[4].count("*") == 0
    other = worse.certificates._replace(index=np.arange(4) + 50)
    assert "*" not in tables.text([better, worse._replace(certificates=other)])


def retold(e, **header):
    """The entry with words of its header replaced."""
    c = e.certificates
    c = c._replace(header=c.header | header)
    return e._replace(certificates=c, summary=summary(c, e.summary.radii))


def moved(e, by=50):
    """The entry at other images."""
    c = e.certificates
    return e._replace(certificates=c._replace(index=c.index + by))


def test_shortened_names_stay_distinct():
    shared = "cifar10_resnet110_noise_0.50"
    methods = ("catrs", "consistency", "consistenca", "gaussian")
    names = [f"{method}_{shared}" for method in methods]
    names += ["..." + shared[-17:], "short"]
    short = tables.short_names(names)
    assert len(set(short.values())) == 6 and short["short"] == "short"
    rows = tables.text([entry(n) for n in names]).splitlines()[3:9]
    assert len({row.split()[0] for row in rows}) == 6
    one = tables.short_names(names[:1])[names[0]]
    assert one == "...net110_noise_0.50", "20 letters where nothing is like it"
    c = entry().certificates
    drawn = figures.difference_curves(names[:2], [c, c], [1, None])
    assert drawn != figures.difference_curves(names[1::-1], [c, c], [1, None])


def test_constant_classifier_that_never_wins_is_not_given_a_number():
    c = entry().certificates
    c = c._replace(radius=c.radius * 1e3)
    words = facts.average_radius(Entry("far", c, summary(c, RADII), recheck(c)))
    assert "constant classifier has" in words and "inf" not in words


@pytest.mark.usefixtures("undrawn")
def test_why_there_is_no_best_is_said_in_every_form():
    one, two, other = entry("one"), entry("two"), moved(entry("mnist"))
    fault = (
        "No best record at each radius is shown: one has no image in common with mnist."
    )
    for form in (tables.text, page, latex):
        assert fault in " ".join(form([one, two, other]).split())
        assert "No best record" not in form([one, two])


def test_records_that_meet_only_in_pairs_have_no_best():
    entries = [entry(name, k=(700, 900)) for name in "abc"]
    for e, index in zip(entries, ([0, 1], [1, 2], [0, 2]), strict=True):
        e.certificates.index[:] = index
    assert "is shown: no image is in all of them." in tables.text(entries)


@pytest.mark.usefixtures("undrawn")
def test_difference_that_is_not_shown_is_told():
    entries = [entry("a"), retold(entry("b"), sigma=0.25), moved(entry("c"))]
    names, records = "abc", [e.certificates for e in entries]
    found = compared(names, records, RADII, [0])
    entries = [
        e._replace(against=minus, not_comparable=why)
        for e, (minus, why) in zip(entries, found, strict=True)
    ]
    for form in (tables.text, page, latex):
        said = " ".join(form(entries).split())
        assert "is shown for b: sigma 0.25 where a has sigma 0.5." in said
        assert "is shown for c: no image in common with a." in said
        assert tables.NO_BASELINE not in said


def test_figure_says_of_how_many_images_the_best_is():
    one, two = entry("one"), moved(entry("two"), 10)  # three are common
    document = page([one, two])
    assert "both of the 3 images that all records with radii have" in document


def predictions(name="classes"):
    c = entry().certificates
    c = c._replace(
        radius=np.zeros(4), p_lower=None, counts=None, predicted=np.ones(4, int)
    )
    header = c.header | dict(procedure=dict(name="predict"), format="tsv")
    c = c._replace(header=header)
    return Entry(name, c, summary(c, RADII), recheck(c))


def test_predictions_have_clean_accuracy_only():
    text = tables.text([predictions()])
    cells = re.split(r"  +", text.splitlines()[3])
    assert cells == ["classes", "4", "0.0", "100.0 [39.7, 100.0]", *["--"] * 4]
    assert "average radius" not in text and "wrong class" not in text
    assert "certify" not in text and "a table without radii" in text
    (row,) = csv.DictReader(io.StringIO(spreadsheet.csv([predictions()])))
    assert row["certified_0"] == "1.0"
    assert not any([row["certified_0.25"], row["wrong_certified_0.25"], row["acr"]])
    document = page([predictions()])
    assert "average radius</th>" not in document and "Vote prob" not in document
    assert "provably" not in document and "nan" not in document.split("</style>")[1]
    assert " & 100.0 & -- & -- & -- & -- & --" in latex([predictions()])


@pytest.mark.usefixtures("undrawn")
def test_predictions_are_never_best():
    entries = [entry("a"), entry("b"), predictions()]
    found = tables.best_of(entries)
    assert found.winner.tolist() == [0] * 5, "although it is right everywhere"
    assert tables.best_of(entries[1:]) is None
    assert "*" not in tables.text(entries)
    assert "textbf{100" not in latex(entries) and "<b>100" not in page(entries)
    assert tables.best_of([predictions("x"), *entries]).winner.tolist() == [1] * 5


def drawn_lines(monkeypatch, draw):
    """Lines of the panels of a figure, [x, y] each."""
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_, **__: figure)
    return [[np.array(x.get_data()) for x in a.lines] for a in draw().axes]


def test_survival_and_distribution_are_mirror_images(monkeypatch):
    c = entry().certificates
    left, right = drawn_lines(monkeypatch, lambda: figures.p_lower_curves(["a"], [c]))
    np.testing.assert_array_equal(left[0][0], right[0][0])
    np.testing.assert_allclose(left[0][1] + right[0][1], 100)
    assert left[0][1][-1] == 0 and left[0][0][-1] == 1
    reached = np.sort(c.p_lower[c.correct])
    assert set(reached) <= set(left[0][0]), "it falls where it does"


def test_published_numbers_stand_below_ours():
    reference = Reference("Cohen et al., Table 1", {0.0: 0.7725, 0.5: 0.5})
    text = tables.text([entry(reference=reference)])
    assert re.search(r"\n  published +77\.25 +50\.0", text)
    assert "Cohen et al., Table 1" in text


def test_failing_evidence_names_the_images():
    e = entry()
    e.certificates.radius[2] += 0.1
    sentence = facts.evidence(e._replace(recheck=recheck(e.certificates)))
    assert "1 of 3" in sentence and "images 20)" in sentence


def test_missing_evidence_is_named_in_words_and_colour():
    c = smoothed([900], counts=None)._replace(label=np.array([1]))
    e = Entry("bare", c, summary(c, [0.0]), recheck(c))
    sentence = (
        "1 of 1 certificates exceed their evidence (images 0): its rows have no counts"
    )
    assert sentence in facts.evidence(e)
    assert 'class="check bad"' in page([e])


def test_average_radius_never_stands_alone():
    text = tables.text([entry()])
    last = text.rstrip().splitlines()[-2:]
    assert "average radius" in " ".join(last) and "constant classifier" in text


def test_csv_has_full_precision_and_one_row_each():
    entries = [entry("a"), entry("b", k=(N, N, N))]
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv(entries))))
    assert [row["record"] for row in rows] == ["a", "b"]
    for row, e in zip(rows, entries, strict=True):
        shares = [float(row[f"certified_{facts.radius_text(r)}"]) for r in RADII]
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
    return [page([named]), page(against()), page([plain])]


def against():
    """Two records of 40 images, the first better at radius 0 and worse at larger ones."""
    one, two = (
        entry("<one>", k=(700, 700, 700, 900) * 10),
        entry("two", k=(400, 700, 900, N) * 10),
    )
    found = difference(one.certificates, two.certificates, RADII, name="two")
    return [
        one._replace(against=found, reference=Reference("a <paper>", {0.25: 0.5})),
        two,
    ]


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


def test_page_leaves_out_what_is_empty():
    e = entry()
    header = e.certificates.header | {"xla_flags": "", "host": "x86_64"}
    text = page([e._replace(certificates=e.certificates._replace(header=header))])
    assert "x86_64" in text and "xla flags" not in text


def test_page_of_failing_evidence_says_so_in_its_colour():
    e = entry()
    e.certificates.radius[2] += 0.1
    text = page([e._replace(recheck=recheck(e.certificates))])
    assert 'class="check bad"' in text and "exceed their evidence" in text


def test_figures_are_svg_that_follows_the_page():
    c = entry().certificates
    names, both = ["a", "b"], [c, entry(k=(700, 700, 700, 900)).certificates]
    drawn = [
        figures.radius_curves(names, both),
        figures.p_lower_curves(names, both),
        figures.difference_curves(names, both, [None, 0]),
        figures.radius_theory([(0.25, 0.001, 100, 0.0), (0.5, 0.001, 10**8, 1e-6)]),
        figures.class_bars("a", c, RADII, ["$a", "猫" * 30][: len(np.unique(c.label))]),
    ]
    for svg in drawn:
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "currentColor" in svg and figures.INK not in svg


def test_classes_are_called_by_the_names_of_their_data_set(monkeypatch):
    told = []
    monkeypatch.setattr(
        figures, "class_bars", lambda *given, **_: told.append(given[3]) or "<svg/>"
    )
    for name in FIGURES[1:]:
        monkeypatch.setattr(figures, name, lambda *_, **__: "<svg/>")
    plain = entry()
    image = np.zeros((plain.certificates.index.max() + 1, 2, 2, 1), np.uint8)
    called = tuple(f"<{k}>\udcff" for k in range(plain.certificates.label.max() + 1))
    source = Source(image, plain.certificates.label, 9, "mine", class_names=called)
    text = page([plain._replace(source=source)])
    number = plain.certificates.label[0]
    assert f'<th scope="row">&lt;{number}&gt;?</th>' in text
    assert f"<{number}>?" in told[0]
    page([plain])
    assert str(number) in told[1]


@pytest.mark.parametrize("noise, reach", [("gaussian", "4.75"), ("grid", "5.27")])
def test_theory_ends_where_the_noise_does(monkeypatch, noise, reach):
    told = []
    monkeypatch.setattr(
        figures.Axes, "annotate", lambda _, text, *a, **k: told.append(text)
    )
    c = entry().certificates
    procedure = dict(name="certify", noise=noise)
    header = c.header | dict(sigma=1.0, alpha=0.001, procedure=procedure)
    many = c._replace(header=header, n=np.full(len(c.n), 10**8))
    _theory([entry()._replace(certificates=many)])
    assert told[0] == reach  # of the radius; then of its slope


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
    row = next(csv.DictReader(io.StringIO(spreadsheet.csv([found]))))
    assert float(row["radius_by_paper"]) == 0.5 and row["paper_0.25"]
    document = page([found])
    assert "by estimates" in document and "no proof" in document
    without = found._replace(summary=summary(c._replace(radius_paper=None), RADII))
    assert "estimates" not in tables.text([without]) + page([without])


def test_many_falls_are_thinned_to_an_even_grid():
    radius = np.append(np.linspace(0, 0.1, 5000), [0.5, 1.0])  # most are near 0
    shown = figures._steps(radius)
    assert len(shown) <= figures._POINTS + 1 and {0.5, 1.0} <= set(shown)
    assert set(shown) <= set(radius)


def test_legend_names_stay_within_the_figure():
    c = entry().certificates
    names = [f"{'long' * 20}{i}" for i in range(2)]
    svg = figures.difference_curves(names, [c, c], [None, 0])
    assert 'width="417.6pt"' in svg, "nothing has widened it"


def test_no_best_is_listed_where_nothing_is_certified():
    entries = [entry("one", k=(0, 0)), entry("two", k=(0, 0))]
    assert not entries[0].summary.certified.any()
    assert "largest at each radius" not in tables.text(entries)


def test_comparison_names_the_best_and_marks_the_worse():
    text = tables.text(against())
    block = text[text.index("largest at each radius,") :].splitlines()
    assert [line.split() for line in block[3:8]] == [
        ["radius", "share", "record"],
        ["0", "100.0", "<one>"],
        ["0.25", "50.0", "two"],
        ["0.5", "50.0", "two"],
        ["0.75", "25.0", "two"],
    ]
    row = next(line for line in text.splitlines() if re.match("<one> +two", line))
    assert row.count("!") == 2 and "+25.0 [+9.5, +38.1]" in row and "-25.0 [" in row


def test_page_compares_several_records(pages):
    for words in ("Largest at each radius", "Against the baseline", "▼ −25.0", "− two"):
        assert words in pages[1] and words not in pages[0] and words not in pages[2]
    for words in ("survival form", "What a vote probability is worth"):
        assert words in pages[0] and words not in pages[2]
    assert pages[1].index("Against the baseline") < pages[1].index("average radius")


def test_csv_holds_differences_and_the_best():
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv(against()))))
    assert [row["best_0"] for row in rows] == ["True", "False"]
    assert [row["baseline"] for row in rows] == ["two", ""]
    assert float(rows[0]["difference_0"]) == 0.25 and rows[1]["difference_0"] == ""
    assert float(rows[0]["difference_low_0.5"]) <= float(rows[0]["difference_0.5"]) < 0
    assert rows[0]["n_trivial"] and list(rows[0])[-4] == "acr", "the average comes last"


def test_csv_of_classes_and_votes_have_a_row_each():
    one = entry("one")
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv_classes([one, entry()]))))
    table = per_class(one.certificates, RADII)
    assert len(rows) == 2 * len(table.label)
    assert rows[0]["record"] == "one" and float(rows[0]["acr"]) == table.acr[0]
    assert float(rows[0]["certified_0.5"]) == table.certified[0, 2]
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv_votes([one]))))
    shares = [float(row["correct_with_p_lower"]) for row in rows]
    assert float(rows[0]["p"]) == 0.5 and shares[0] == 0.75
    assert shares == sorted(shares, reverse=True) and shares[-1] < 0.75
    c = lipschitz([[3.0, 1.0, 0.0]])
    with pytest.raises(InputError, match=names("csv-votes", "--sigma")):
        spreadsheet.csv_votes([Entry("lot", c, summary(c, RADII), recheck(c))])


@pytest.mark.usefixtures("undrawn")
def test_gradient_norms_stand_in_every_form_but_latex():
    group = dict(images=800, mean=1.25, error=0.1)
    norms = dict(easy=group, hard=group | dict(mean=2.5), ratio=0.5, ratio_error=0.04)
    e = entry()._replace(gradients=norms)
    told = "easy 1.25 (800 images), hard 2.5 (800 images), easy / hard 0.5 ±0.04"
    assert told in " ".join(tables.text([e]).split()) and told in page([e])
    row = next(csv.DictReader(io.StringIO(spreadsheet.csv([e]))))
    assert (row["gradient_easy"], row["gradient_ratio"]) == ("1.25", "0.5")
    empty = dict(images=0, mean=None, error=None)
    e = e._replace(gradients=norms | dict(hard=empty, ratio=None, ratio_error=None))
    assert "easy 1.25 (800 images)\n" in tables.text([e]) and page([e])


def test_latex_groups_by_sigma_and_marks_best_and_worse():
    other = entry("50%_\\x")
    header = other.certificates.header | dict(sigma=float(np.float32(0.1)))
    other = other._replace(certificates=other.certificates._replace(header=header))
    lines = latex([*against(), other]).splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    *rows, error, warning, _ = [row.removesuffix(r" \\").split(" & ") for row in rows]
    head, small, one, two = rows
    shown = ["0", "0.25", "0.5", "0.75", "1", "ACR (constant)"]
    assert head == [r"$\sigma$", "record", *shown]
    assert small[:2] == ["0.1", r"50\%\_\textbackslash{}x"]
    assert "textbf" not in " ".join(small)
    assert one[:3] == ["0.5", "<one>", r"\textbf{100.0}"] and two[0] == ""
    assert one[3] == r"\textcolor{gray}{25.0}" and two[3] == r"\textbf{50.0}"
    assert not any("textbf" in row[-1] for row in rows), "the average is never best"
    assert re.fullmatch(r"0\.\d{3} \(1\.\d{3}\)", two[-1])
    assert r"95 \% intervals of the shares reach up to" in error[0]
    assert "ACR misleads" in warning[0]
    assert r"\multicolumn{8}" in warning[0]
    best = next(line for line in lines if "largest of all" in line).partition(r"\\ % ")
    assert best[0].split(" & ")[2:7] == ["100.0", "50.0", "50.0", "25.0", "25.0"]
    assert best[2].startswith(r"by <one> (or 50%_\x), two (or 50%_\x), ")
    assert sum(line == r"\midrule" for line in lines) == 3
    assert "% <one>: " in "\n".join(lines) and "baseline two" in "\n".join(lines)


@pytest.mark.parametrize("sigma", [0.5, None])
def test_latex_marks_no_best_among_other_images(sigma):
    easy = retold(moved(entry("mnist", k=(N, N, N, N))), sigma=sigma)
    text = latex([retold(entry("a"), sigma=sigma), easy])
    assert "textbf" not in text
    other = retold(moved(entry("mnist", k=(N,) * 4), 0), dataset="mnist", sigma=sigma)
    assert "textbf" not in latex([retold(entry("a"), sigma=sigma), other])


def test_latex_says_of_which_images_its_marks_are():
    text = latex(against())
    assert "of the record's own images" in text
    assert "grey: worse than the baseline at the images that both have" in text
    assert "baseline two at 40 images" in text


def test_latex_without_noise_has_no_sigma():
    c = lipschitz([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    text = latex([Entry("lot", c, summary(c, RADII), recheck(c))])
    assert "sigma$" not in text and "\nlot & " in text


def test_changed_votes_are_told_in_text_and_page():
    e = entry()
    header = e.certificates.header
    header = header | dict(procedure=header["procedure"] | dict(n0=100))
    c = e.certificates._replace(header=header, changed=np.array([1, 0, 3, 0]))
    e = e._replace(certificates=c, summary=summary(c, RADII))
    words = "bfloat16 changed 1 % of n0 votes per image (at most 3 of 100)"
    assert words in " ".join(tables.text([e]).split()) and words in page([e])


def interval_entry(name="sortnet", radii=(0.0, 8 / 255, 0.05, 0.1, 0.2), **changed):
    """20 images, certified at 0.05 (8), 0.1 (8) or not (4), and a wrong one of each."""
    radius = np.repeat([0.0, 0.05, 0.1], [4, 8, 8])
    c = lipschitz(np.tile([3.0, 1.0, 0.0], (20, 1)), radius=radius)
    c.label[[0, 4, 12]] = 1
    procedure = dict(name="interval", radii=[0.05, 0.1], logit_slack=1e-9)
    header = dict(method="interval", norm="linf", alpha=0, procedure=procedure)
    c = c._replace(header=header | changed)
    return Entry(name, c, summary(c, radii), recheck(c._replace(logits=None)))


@pytest.mark.usefixtures("undrawn")
def test_radii_that_were_not_tried_are_marked_in_every_form():
    e = interval_entry()
    np.testing.assert_array_equal(
        e.summary.certified, [0.85, np.nan, 0.7, 0.35, np.nan]
    )
    said = (
        "sortnet tried the radii 0, 0.05 and 0.1 alone and does not say what is certified "
        "at 8/255 and 0.2"
    )
    for form in (tables.text, page, latex):
        assert said in " ".join(form([e]).replace("\n% ", " ").split())
    cells = re.split(r"  +", tables.text([e]).splitlines()[3])
    assert cells[3::2][:2] == ["85.0 ±8.0", "70.0 ±10.2"] and cells[4] == "--"
    assert "70.0 ±10.2 % provably so within ℓ∞ radius 0.05" in page([e])
    assert "& 85.0 & -- & 70.0 & 35.0 & --" in latex([e])
    (row,) = csv.DictReader(io.StringIO(spreadsheet.csv([e])))
    for name in ("certified", "low", "high", "at_least", "wrong_certified"):
        assert row[f"{name}_8/255"] == "" and row[f"{name}_0.05"]
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv_classes([e]))))
    assert [r["certified_8/255"] for r in rows] == ["", ""]
    classes = page([e]).partition("<h2>Classes")[2]
    assert "8/255" not in classes and ">0.05<" in classes


def test_record_that_tried_some_radii_is_compared_at_these(monkeypatch):
    tried, other = interval_entry(), interval_entry("other")
    every = dict(method="lipschitz", norm="linf", alpha=0)
    c = other.certificates._replace(header=every, radius=np.full(20, 0.03))
    all_radii = other._replace(certificates=c, summary=summary(c, tried.summary.radii))
    found = difference(tried.certificates, c, tried.summary.radii)
    np.testing.assert_array_equal(np.isnan(found.difference), [0, 1, 0, 0, 1])
    best = tables.best_of([tried, all_radii])
    assert best.winner.tolist() == [0, -1, 0, 0, -1], "nobody is known at 8/255"
    assert tables.best_marks([tried, all_radii])[0].tolist() == [0, 0, 1, 1, 0]
    assert "lower bound" in page([tried, all_radii])
    records = [tried.certificates, c]
    lines = drawn_lines(
        monkeypatch, lambda: figures.difference_curves(["a", "b"], records, [1, None])
    )
    assert lines[0][0][0].tolist() == [0, 0.05, 0.1]
    lines = drawn_lines(monkeypatch, lambda: figures.radius_curves(["a", "b"], records))
    assert lines[0][0][0].tolist() == [0, 0.05, 0.1], "marks where it tried"
    np.testing.assert_allclose(lines[0][0][1], [85, 70, 35])


def unanimous(right: int, count: int, name="run"):
    """So many of the images are correct; the others are certified wrongly."""
    c = smoothed(np.full(count, N))
    c.predicted[right:] = 2
    c.counts[right:] = [0, 0, N]
    c = c._replace(header=c.header | dict(method="smoothing", norm="l2"))
    return Entry(name, c, summary(c, [0.0, 0.25]), recheck(c))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "right, count, text",
    [
        (3, 3, "100.0 [29.2, 100.0]"),
        (0, 150, "0.0 [0.0, 2.5]"),
        (1, 10_000, "0.0 [0.0, 0.1]"),
        (9_999, 10_000, "100.0 [99.9, 100.0]"),
        (1, 100, "1.0 ±1.0"),
    ],
)
def test_shares_near_0_and_1_have_an_interval_in_every_form(right, count, text):
    e = unanimous(right, count)
    assert facts.certified_share(e.summary, 0) == text
    printed = tables.text([e])
    assert text in printed and not re.search(r"±0\.0\b(?!\d)", printed)
    assert ("or [95 % interval]" in printed) == ("[" in text)
    share, _, error = text.partition(" ")
    document = page([e])
    assert f"{share} <small>{error}</small>" in document and "±0.0<" not in document
    assert f"Of {count:,} images, {text} % are" in document
    (row,) = csv.DictReader(io.StringIO(spreadsheet.csv([e])))
    low, high = interval(right / count, count)
    assert [float(row["low_0"]), float(row["high_0"])] == [low, high] and low < high
    assert (row["standard_error_0"] == "") == (right in (0, count))
    reach = re.search(r"up to (\S+) points", latex([e]))[1]
    far = 100 * max(high - right / count, right / count - low)
    assert far <= float(reach) < far + 0.1 + 1e-9


def test_band_of_a_curve_has_a_width_at_0_and_1(monkeypatch):
    monkeypatch.setattr(figures, "as_svg", lambda figure, *_, **__: figure)
    for right in (0, 30):
        e = unanimous(right, 30)
        (axes,) = figures.radius_curves(["a"], [e.certificates]).axes
        y = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert y.max() - y.min() >= 11, "of 30: up to 11.6 %"


@pytest.mark.usefixtures("undrawn")
def test_no_image_that_is_correct_is_said_in_words():
    e = unanimous(0, 5)
    for form in (tables.text, page):
        said = form([e]).partition("</style>")[2] or form([e])
        assert "no image is correct" in said and "nan" not in said
    c = e.certificates._replace(radius_paper=np.zeros(5))
    e = e._replace(summary=summary(c, [0.0, 0.25]), certificates=c)
    assert "no image has a radius by both" in facts.paper_radii(e)
    assert "±0.000" not in facts.average_radius(e)


@pytest.mark.usefixtures("undrawn")
def test_best_of_one_image_in_a_hundred_is_not_marked():
    one, two = unanimous(51, 100, "one"), unanimous(50, 100, "two")
    text = tables.text([one, two])
    assert "*" not in text and "one (or two)" in text
    assert "<b>" not in page([one, two]) and "textbf" not in latex([one, two])
    rows = csv.DictReader(io.StringIO(spreadsheet.csv([one, two])))
    assert [row["best_0"] for row in rows] == ["False", "False"]
    clear = unanimous(80, 100, "clear")
    found = [clear, two, one]
    assert tables.text(found).count("*") == 2 + 1, "at both radii, and what * is"
    assert page(found).count("<b>") == 2 and latex(found).count("textbf") == 2
    rows = csv.DictReader(io.StringIO(spreadsheet.csv(found)))
    assert [row["best_0"] for row in rows] == ["True", "False", "False"]


@pytest.mark.usefixtures("undrawn")
def test_worse_is_said_only_where_the_whole_interval_is_below():
    base = unanimous(52, 100, "base")
    for right, worse in ((50, False), (30, True)):
        e = unanimous(right, 100, "new")
        found = difference(e.certificates, base.certificates, [0.0, 0.25], name="base")
        e = e._replace(against=found)
        assert found.worse.tolist() == [worse] * 2
        row = next(
            x for x in tables.text([e, base]).splitlines() if re.match("new +base ", x)
        )
        assert row.count("!") == 2 * worse
        assert ("▼ −" in page([e, base])) == worse
        assert ("textcolor" in latex([e, base])) == worse


def test_ends_of_an_interval_keep_their_side_of_0():
    far = np.array([[-0.3], [-0.4], [-0.0001]])
    minus = Difference("b", 9, *far)
    assert facts.percent(0.0) == "0.0" and minus.worse[0]
    assert tables.points(minus, 0) == "-30.0 [-40.0, -0.0]"
    minus = Difference("b", 9, *np.array([[0.0], [-0.0001], [0.0]]))
    assert tables.points(minus, 0) == "+0.0 [-0.1, +0.0]" and not minus.worse[0]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "header, words",
    [
        (dict(not_read=["note", "pA"]), "the columns note and pA were not read."),
        (dict(not_read=["pA"]), "the column pA was not read."),
        (
            dict(not_read=["pA"], comments=1),
            "the column pA and 1 comment were not read.",
        ),
        (dict(comments=2), "2 comments were not read."),
    ],
)
def test_what_was_not_read_is_named(header, words):
    e = retold(entry("t"), **header)
    for form in (tables.text, page, latex):
        assert f"Of the table t {words}" in " ".join(form([e]).split())


@pytest.mark.usefixtures("undrawn")
def test_votes_and_their_lower_bounds_are_named_apart():
    e = entry("one")
    rows = list(csv.DictReader(io.StringIO(spreadsheet.csv_votes([e]))))
    at = {float(row["p"]): row for row in rows}
    # votes 0.4, 0.7, 0.9 and 1 of 1000; their bounds are below
    assert at[0.7]["correct_with_votes"] == "0.75"
    assert at[0.7]["correct_with_p_lower"] == "0.5"
    document = page([e])
    assert "p_lower ≥ p" in document and "k/N, the share of the votes" in document
    assert "Figure 3 of Sun et al. (2024)" in document
    assert "Figure 3" not in page([predictions()])


def test_curves_of_votes_fall_where_the_votes_are(monkeypatch):
    c = entry().certificates
    left, right = drawn_lines(monkeypatch, lambda: figures.votes_curves(["a"], [c]))
    assert {0.7, 0.9, 1.0} <= set(left[0][0])
    np.testing.assert_allclose(left[0][1] + right[0][1], 100)
