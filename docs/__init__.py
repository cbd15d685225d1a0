"""Pages, and what makes their tables: `python -m docs.tables`."""
