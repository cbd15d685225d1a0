"""Make a workdir of a network that the papers' own PyTorch code has trained.

    python -m jaxcert.import_torch --state model.npz --config configs/sortnet/cifar10.py:8 \\
        --workdir runs/sortnet_8
    python -m jaxcert.certify --workdir runs/sortnet_8

Networks: L_inf-dist-net-v2 and SortNet (dist_net), LipConvNet with LOT or BRO
(lip_convnet), LiResNet, LiResNet++ and BRONet; of the smoothing papers the ResNets for
CIFAR (resnet, also those of akamaster) and ImageNet (resnet50) and LeNet; torchvision's
ResNet-18 and 34 (resnet18) and 50, 101 (resnet50); WRN-d-k by the names of TRADES
(wide_resnet); of EDM the denoisers (edm_unet), whose published weights are under
CC BY-NC-SA 4.0. The state dict is an npz or safetensors file, for the smoothing papers of the
entry `state_dict` of their checkpoints; what it does not say (rho, mean, std) is the config's.
MACER's own code and TRADES do not normalise: mean 0 and std 1; akamaster's does as for ImageNet,
(0.485, 0.456, 0.406) and (0.229, 0.224, 0.225). The checkpoint is for certification: it holds no
optimizer, nothing trains on.

The network is found behind any prefix of its names and in what holds it (DataParallel,
torch.compile, Lightning, {"net": ...}); of a file with several, such as the trained network
and its average, `--state FILE:ema` takes the one whose names begin with `ema`.

EDM's pickles hold code and are never opened here. Where its repository is at hand:
`torch.save(pickle.load(open(FILE, "rb"))["ema"].state_dict(), "edm.pt")`, then
`numpy.savez("edm.npz", **{k: v.numpy() for k, v in torch.load("edm.pt").items()})`. No tensor
shows whether a network with classes was also trained without: config.model.label_dropout
must be 0 if it was not, as none of the published ones was.

Without a workdir, from Python: `jaxcert.import_torch.network_of`.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly
from jaxcert.torch_import.network import network_of

__all__ = ["main", "network_of"]

OPTIONS: cli.Options = {
    "--state FILE": (
        str,
        "npz or safetensors file with the state dict; FILE:PART for one network of several",
    ),
}


def main(argv: list[str] | None = None) -> None:
    args = cli.parse(argv, __doc__, OPTIONS, needs="config")
    from jaxcert.torch_import.workdir import import_torch

    network = import_torch(args.state, args.config, args.workdir)
    command = "certify" if network.model.unconditional is None else "generate"
    again = f"python -m jaxcert.{command} --workdir {args.workdir}"
    print(f"{args.workdir} has the network; next: {again}")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
