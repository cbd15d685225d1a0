"""Runs the code of notebooks from top to bottom, without Jupyter, in the folder it is called in:

    python tests/run_notebook.py notebooks/quickstart.ipynb

So it shows that a notebook works with an installed package and needs no checkout.
"""

import json
import sys
from pathlib import Path


def run(path: str | Path) -> None:
    """Run the code cells of a notebook in one namespace."""
    cells = json.loads(Path(path).read_text())["cells"]
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            code = compile("".join(cell["source"]), f"{path}, cell {number}", "exec")
            exec(code, names)


if __name__ == "__main__":
    for each in sys.argv[1:]:
        run(each)
