"""Training of l_inf-dist nets.

Zhang, Cai, Lu, He and Wang, Towards Certifying l_inf Robustness using Neural Networks with
l_inf-dist Neurons (2021, arXiv:2102.05363): hinge. Zhang, Jiang, He and Wang, Boosting the
Certified Robustness of L-infinity Distance Nets (2022, arXiv:2110.06850): mixture,
crossentropy for the hybrid.

    worst_j = 1 + (f_j - f_y) / (2 eps),  worst_y = 0            (f without its scale s)
    mixture = mean max_j clip(worst_j, 0, 1) + lam CE(s f, y)
    hinge   = mean [(1 - mix) max_j relu(worst_j) + mix mean_j relu(worst_j)]
    crossentropy = (1 - mix) CE(worst', y) + mix CE(s f, y)

worst' are the upper bounds of f_j - f_y of the hybrid's head. p rises from 8 to 1000 and
then is infinity, lam falls log-linearly with it. The original code re-estimates no means;
we do, before each evaluation, so that a checkpoint of any epoch can be judged.
"""

from __future__ import annotations

from jaxcert.errors import one_of, within
from jaxcert.interfaces import Method, Model, Run
from jaxcert.methods import _linf
from jaxcert.methods.cross_entropy import cross_entropy


def make(
    model: Model,
    run: Run,
    *,
    eps: float,
    loss: str = "mixture",
    lam: float = 0.1,
    lam_end: float = 0.0005,
    mix: float = 0.25,
    p_start: float = 100,
    p_end: float = 1250,
    eps_start: float = 0,
    eps_end: float = 0,
) -> Method:
    """loss: mixture | hinge | crossentropy. eps in pixels, all marks in epochs; mix is the
    share of the mean (hinge) or of the clean loss (crossentropy). Raises InputError."""
    within("[0, 1]", of="method", mix=mix)

    def crossentropy(logits, worst, label):
        robust = cross_entropy(worst, label)
        return (1 - mix) * robust + mix * cross_entropy(logits, label)

    objectives = {
        "mixture": lambda z, v, y, lam: _linf.mixture(z, v, y, lam=lam),
        "hinge": lambda z, v, y, lam: _linf.hinge(v, mix=mix),
        "crossentropy": lambda z, v, y, lam: crossentropy(z, v, y),
    }
    one_of(objectives, of="method", loss=loss)
    return _linf.method_of(
        model,
        run,
        objectives[loss],
        eps=eps,
        p_start=p_start,
        p_end=p_end,
        lam=lam,
        lam_end=lam_end,
        eps_start=eps_start,
        eps_end=eps_end,
        smooth=0.0,  # the authors' command for hybrids ramps eps linearly
    )
