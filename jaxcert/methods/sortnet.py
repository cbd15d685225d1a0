"""Training of SortNet.

Zhang, Jiang, He and Wang, Rethinking Lipschitz Neural Networks and Certified Robustness: A
Boolean Function Perspective (2022, arXiv:2210.01787). The sort neuron is never trained itself:
dropping a random share rho of the hidden units and taking the distance over the rest has it as its
expectation (the network does this while it trains), relaxed to p = 8 ... 1000, infinity.

    worst_j = 1 + (f_j - f_y) / (2 eps),  worst_y = 0            (f without its scale s)
    mixture      = mean max_j clip(worst_j, 0, 1) + lam CE(s f, y)
    ce_hinge     = mean correct max_j relu(worst'_j - worst'_y + 1) + lam CE(s f, y)
    crossentropy = CE(worst', y) + lam CE(s f, y)
    ce_mixture   = mean correct CE(worst', y) + lam CE(s f, y)

worst' are the upper bounds of f_j - f_y of the hybrid's head, worst for a plain network;
correct is 1 where s f has its maximum at y. lam falls log-linearly as p rises. The means of
the mean shift are re-estimated before each evaluation, as in the paper.
"""

from __future__ import annotations

from jaxcert.errors import one_of
from jaxcert.interfaces import Method, Model, Run
from jaxcert.methods import _linf

LOSSES = {
    "mixture": _linf.mixture,
    "ce_hinge": _linf.ce_hinge,
    "crossentropy": _linf.crossentropy,
    "ce_mixture": _linf.ce_mixture,
}


def make(
    model: Model,
    run: Run,
    *,
    eps: float,
    loss: str = "mixture",
    lam: float = 0.2,
    lam_end: float = 0.002,
    p_start: float = 200,
    p_end: float = 2950,
    eps_start: float = 0,
    eps_end: float = 0,
) -> Method:
    """loss: mixture | ce_hinge | crossentropy | ce_mixture. eps in pixels, all marks in
    epochs. rho belongs to the network (model.rho). Raises InputError."""
    one_of(LOSSES, of="method", loss=loss)
    return _linf.method_of(
        model,
        run,
        lambda logits, worst, label, lam: LOSSES[loss](logits, worst, label, lam=lam),
        eps=eps,
        p_start=p_start,
        p_end=p_end,
        lam=lam,
        lam_end=lam_end,
        eps_start=eps_start,
        eps_end=eps_end,
        smooth=0.4,
    )
