"""Evaluates what single papers do: generated data, quality of images and norms of gradients; and
writes the tables and figures of a paper as it prints them, beside the numbers that it has there."""
