"""The report on runs with and without generated images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcert.analysis import configured, report, table_settings
from jaxcert.errors import InputError
from jaxcert.papers import study_groups, study_page
from jaxcert.papers.study_runs import TEST, TRAIN, Run, read


def show(
    workdirs: Sequence[str | Path],
    *,
    form: str | None = None,
    radii: Sequence[float] | None = None,
    out: str | Path | None = None,
    **unfit: Any,
) -> int:
    """Print the report of `study`, or write it to `out`, and return 0, the exit status.
    Raises InputError as `study`, for another option of a report, and, after it is written,
    if a radius exceeds its evidence."""
    for key, value in unfit.items():
        if value:
            raise InputError(
                f"--study compares workdirs of its own accord: leave --{key} out."
            )
    runs = _runs(workdirs)
    report.write(_study_text(runs, form or "text", radii), out)
    for run in runs:
        for split, name in (("test", TEST), ("train", TRAIN)):
            if (c := getattr(run, split)) is not None:
                report.fail_if_exceeding(
                    table_settings.recheck_with_settings(c), Path(run.name) / name, c
                )
    return 0


def study(
    workdirs: Sequence[str | Path],
    *,
    form: str = "text",
    radii: Sequence[float] | None = None,
) -> str:
    """Return the report on runs with and without generated images, as 'text', 'csv',
    'html' or 'latex'. radii as in `entries`. Raises InputError as `study_runs.read` and
    `study_groups.make`."""
    return _study_text(_runs(workdirs), form, radii)


def _runs(workdirs: Sequence[str | Path]) -> list[Run]:
    runs = map(read, workdirs)
    return [run._replace(reference=configured.reference(run.config)) for run in runs]


def _study_text(runs: Sequence[Run], form: str, radii: Sequence[float] | None) -> str:
    forms = dict(
        text=study_page.text,
        csv=study_page.csv,
        html=study_page.html,
        latex=study_page.latex,
    )
    if form not in forms:
        raise InputError(f"a study has no format {form}: take {', '.join(forms)}.")
    return forms[form](studies(runs, radii))


def studies(
    runs: Sequence[Run], radii: Sequence[float] | None = None
) -> list[study_groups.Study]:
    """Return the study of each norm and data set among runs. radii: as in `entries`. Raises
    InputError as `study_groups.make`."""
    found = []
    for group in study_groups.groups(runs):
        own: list[float] = list(radii or ())
        for run in group if radii is None else ():
            own += configured.radii_of(run.name, run.config, run.test)
        own = own or configured.usual_radii([run.test for run in group])
        found.append(study_groups.make(group, own))
    return found
