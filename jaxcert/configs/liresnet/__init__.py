"""GloroNets of the LiResNet architecture: Hu et al. (2023)."""
