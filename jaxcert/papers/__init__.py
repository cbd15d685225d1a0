"""What single papers evaluate: generated data, quality of images, norms of gradients, and the
tables and figures of a paper as it prints them, beside the numbers that it has there."""
