"""Faults in what reports show beside numbers, and in the copies of the metrics."""

FOLDER = "jaxcert"

_PICTURES = "tests/analysis/test_report_pictures.py"
_TRACKERS = "tests/training/test_trackers.py"

FAULTS = [
    (
        "pictures: the smallest radii are the largest",
        "analysis/pictures.py",
        '"Smallest radii": right[_SHOWN:][::-1][:_SHOWN],',
        '"Smallest radii": right[_SHOWN:][:_SHOWN],',
        f"{_PICTURES}::test_images_that_are_worth_a_look_by_hand",
    ),
    (
        "pictures: images stand in the order of the data set",
        "analysis/pictures.py",
        "for place, image in zip(order, taken, strict=True):",
        "for place, image in enumerate(taken):",
        f"{_PICTURES}::test_a_page_has_the_images_of_these_rows_and_what_is_said_of_them",
    ),
    (
        "figures: the axis of shares is cut below the band",
        "analysis/figures.py",
        "min(100, 10 * max(1, math.ceil(most / 10 - 1e-9)))",
        "min(100, 10 * max(1, math.floor(most / 10)))",
        f"{_PICTURES}::test_axes_end_where_the_curves_do",
    ),
    (
        "headline: who cannot be told apart is ahead",
        "analysis/tables.py",
        "(close if best.rivals[i] else ahead.setdefault(winner, [])).append(i)",
        "ahead.setdefault(winner, []).append(i)",
        f"{_PICTURES}::test_the_headline_says_who_is_ahead_where",
    ),
    (
        "markdown: a bar in a name ends its cell",
        "analysis/markdown.py",
        r'return re.sub(r"([\\`|<_])"',
        r'return re.sub(r"([\\`<_])"',
        f"{_PICTURES}::test_markdown_has_the_shares_in_a_table",
    ),
    (
        "trackers: a program that failed is asked again",
        "training/trackers.py",
        "            del self._open[program]\n",
        "            pass\n",
        f"{_TRACKERS}::test_a_program_that_fails_is_left_out_and_the_run_goes_on",
    ),
    (
        "trackers: a run that is continued is a new one",
        "training/trackers.py",
        "if step and path.is_file():",
        "if not step and path.is_file():",
        f"{_TRACKERS}::test_a_run_that_is_continued_keeps_its_name",
    ),
    (
        "card: what its readers wrote is lost",
        "api/cards.py",
        "        return parts[0], parts[1]\n",
        "        return _NEW, parts[1]\n",
        "tests/test_zoo.py::test_a_card_says_what_is_certified_and_keeps_what_stands_around",
    ),
    (
        "card: damaged markers are noticed when the network is there",
        "api/cards.py",
        "    _around(path)\n    added",
        "    added",
        "tests/test_zoo.py::test_a_card_says_what_is_certified_and_keeps_what_stands_around",
    ),
]
