"""EDM, the diffusion models of Karras et al. (2022)."""
