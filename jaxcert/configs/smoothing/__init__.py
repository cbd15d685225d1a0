"""Training for randomized smoothing: the methods that Sun et al. (2024) compare."""
