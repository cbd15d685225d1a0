"""The page on Altstidl et al. (2023): finished runs of a study beside the published numbers."""

from __future__ import annotations

from pathlib import Path

from jaxcert.errors import InputError
from jaxcert.papers import altstidl
from jaxcert.papers.exhibits import write
from jaxcert.papers.study_report import studies
from jaxcert.papers.study_runs import TEST, read

TITLE = "Raising the Bar for Certified Adversarial Robustness with Diffusion Models"


def show(workdir: str | Path) -> Path:
    """Write the page of the finished runs directly below a workdir into it, and return its path.

    Raises InputError as `study_runs.read` and `study_groups.make`, and without a run."""
    workdir = Path(workdir)
    folders = sorted(path.parent for path in workdir.glob(f"*/{TEST}"))
    if not folders:
        raise InputError(
            f"{workdir} has no finished run: name the --workdir of jaxcert.study, or of runs with "
            "and without generated images."
        )
    found = studies([read(folder) for folder in folders])
    exhibits = []
    for study in found:
        place = f"{study.dataset}_{study.norm}"
        for each in altstidl.exhibits(study):
            if len(found) > 1:
                title = f"{each.title} ({study.dataset}, {study.norm})"
                each = each._replace(name=f"{place}_{each.name}", title=title)
            exhibits.append(each)
    lead = [
        "Altstidl, Dobre, Eskofier, Gidel and Schwinn (2023), arXiv:2305.10388.",
        f"Runs: {len(folders)}, of {', '.join(f'{s.dataset} ({s.norm})' for s in found)}.",
    ]
    return write(workdir, TITLE, lead, exhibits)
