"""What single papers evaluate: generated data, quality of images, norms of gradients."""
