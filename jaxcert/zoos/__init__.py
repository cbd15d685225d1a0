"""Folders of trained networks with their records, here or on a web server."""
