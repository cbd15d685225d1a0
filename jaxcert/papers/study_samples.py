"""Training images beside the generated ones that the runs of a study drew from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxcert.analysis.figures import INK, as_svg, panels_of
from jaxcert.data import sources
from jaxcert.data.generated import open_generated
from jaxcert.data.sources import Source
from jaxcert.errors import InputError
from jaxcert.papers.study_figures import Drawn
from jaxcert.papers.study_groups import Study
from jaxcert.papers.study_runs import Run

COLUMNS = 8
"""How many images of each class are shown."""
MAY_BE_SHOWN = ("digits", "mnist")
"""Data sets whose images may be handed on in a page; those of CIFAR-10 may not."""
_MOST_ROWS = 10


def beside(study: Study) -> Drawn | None:
    """Draw images of each class, real and generated. None for other data sets than the digits
    and MNIST, and where the images are not on this machine."""
    runs = [
        run
        for cell in study.cells
        if cell.generated.share
        for run in cell.runs.values()
    ]
    if study.dataset not in MAY_BE_SHOWN or not runs:
        return None
    run = max(runs, key=lambda r: r.config["data"]["generated_count"])
    data = run.config["data"]
    try:
        real = sources.open(
            study.dataset,
            "train",
            dir=data["dir"],
            download=False,
            pad=data.get("pad", 0),
        )
        made = open_generated(_place(run))
    except InputError:
        return None
    if made.image.shape[1:] != real.image.shape[1:]:
        return None
    figure, panels = panels_of(2)
    for axes, source in zip(panels, (real, made), strict=True):
        axes.imshow(
            _sheet(source), cmap="gray", vmin=0, vmax=255, interpolation="nearest"
        )
        axes.set_axis_off()
    for axes, name in zip(panels, ("training images", "generated images"), strict=True):
        axes.set_title(name, fontsize=10, color=INK, loc="left")
    figure.set_figheight(4.6)
    caption = (
        f"{COLUMNS} images of each class, a row for a class: training images of "
        f"{study.dataset}, and those of {Path(data['generated']).name}."
    )
    title = "Real and generated images"
    svg = as_svg(figure, panels[0], False, salt=f"{title}{study.norm}{study.dataset}")
    return Drawn(title, svg, caption)


def _place(run: Run) -> Path:
    """Return where the generated images of a run are: as it names them, or beside its workdir
    where the folder of the study was moved."""
    named = Path(run.config["data"]["generated"]).expanduser()
    return named if named.exists() else Path(run.name).parent / named.name


def _sheet(source: Source) -> np.ndarray:
    """Return [H,W] or [H,W,3] uint8, a row of images for each class, white between them."""
    h, w, channels = source.image.shape[1:]
    rows = min(source.num_classes, _MOST_ROWS)
    sheet = np.full((rows * (h + 1), COLUMNS * (w + 1), channels), 255, np.uint8)
    for k in range(rows):
        of_class = np.flatnonzero(source.label == k)
        # evenly over the class: published files are sorted by confidence
        chosen = of_class[:: max(1, len(of_class) // COLUMNS)][:COLUMNS]
        for column, i in enumerate(chosen):
            y, x = k * (h + 1), column * (w + 1)
            sheet[y : y + h, x : x + w] = source.image[np.array([i])][0]
    return sheet[..., 0] if channels == 1 else sheet
