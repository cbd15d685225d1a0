"""LipConvNets of LOT layers: Xu et al. (2022), as Altstidl et al. (2023) train them."""
