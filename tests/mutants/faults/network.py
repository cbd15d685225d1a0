"""Planted faults of the program that checks records against weights: (name, file, text,
replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_TEST = "tests/test_audit_network.py"
_CONSTANTS = f"{_TEST}::test_constants_are_those_that_are_proven_and_never_larger[{{}}]"
_LOGITS = f"{_TEST}::test_logits_are_the_networks[{{}}]"
_REJECTED = f"{_TEST}::test_what_the_network_does_not_give_is_rejected[{{}}]"

FAULTS = [
    (
        "network audit: the stride of a convolution is ignored",
        "audit_models.py",
        'stem = kinds.bounded_conv(of["stem"], side, 2, 2)',
        'stem = kinds.bounded_conv(of["stem"], side // 2, 2, 2)',
        _CONSTANTS.format("liresnet"),
    ),
    (
        "network audit: one step of Newton-Schulz less",
        "audit_layers.py",
        "for _ in range(10):",
        "for _ in range(9):",
        _LOGITS.format("lot"),
    ),
    (
        "network audit: q of SLL the wrong way round",
        "audit_layers.py",
        "@ q / q\n",
        "@ (1 / q) * q\n",
        _LOGITS.format("sll"),
    ),
    (
        "network audit: the skew part of SOC is doubled",
        "audit_layers.py",
        "a = (m - m[::-1, ::-1].swapaxes(2, 3)) / 2",
        "a = (m + m[::-1, ::-1].swapaxes(2, 3)) / 2",
        _LOGITS.format("soc"),
    ),
    (
        "network audit: a potential layer counts as 1",
        "audit_layers.py",
        "** 2 - 1)",
        "** 2 - 9)",
        f"{_TEST}::test_a_potential_layer_that_is_no_contraction",
    ),
    (
        "network audit: near and far ends are exchanged in hybrids",
        "audit_layers.py",
        "np.where(d > 0, d * low[:, None], d * high[:, None])",
        "np.where(d > 0, d * high[:, None], d * low[:, None])",
        f"{_TEST}::test_margins_are_the_networks[hybrid]",
    ),
    (
        "network audit: an averaged layer counts as one that is not",
        "audit_models.py",
        "constant = (1 + constant) / 2",
        "constant = (2 + constant) / 2",
        _CONSTANTS.format("lot"),
    ),
    (
        "network audit: weights of another network are compared",
        "audit_network.py",
        "if said not in (None, weights.digest):",
        "if said == weights.digest[:-1]:",
        f"{_TEST}::test_what_does_not_belong_together_is_not_judged[lipschitz]",
    ),
    (
        "network audit: smaller constants pass",
        "audit_network.py",
        "must((said >= least * (1 - TOLERANCE)).all(), smallest)",
        "must((said >= least * 0.4).all(), smallest)",
        f"{_TEST}::test_smaller_constants_are_rejected[lipschitz-one constant]",
    ),
    (
        "network audit: radii are believed",
        "audit_network.py",
        "needs = r * network.pairwise()[y][others]",
        "needs = 0 * network.pairwise()[y][others]",
        f"{_TEST}::test_a_radius_is_compared_with_what_the_network_proves",
    ),
    (
        "network audit: margins are believed",
        "audit_network.py",
        "must(abs(margin - own) <= slack,",
        "must(abs(margin - own) <= 1e9,",
        f"{_TEST}::test_smaller_constants_are_rejected[interval-constants]",
    ),
    (
        "network audit: a large slack hides another class",
        "audit_network.py",
        "least = -min(2 * slack, TOLERANCE * float(np.abs(z).max()))",
        "least = -2 * slack",
        _REJECTED.format("interval-class, below a large slack"),
    ),
    (
        "network audit: the model of the header is not compared",
        "audit_network.py",
        "fits = k in weights.model and weights.model[k] == v",
        "fits = k in weights.model",
        _REJECTED.format("lipschitz-std"),
    ),
    (
        "network audit: arrays that the model has no use for pass",
        "audit_network.py",
        "unused = sorted(set(of) - of.used)",
        "unused = sorted(set(of) & {None})",
        f"{_TEST}::test_arrays_that_the_model_has_no_use_for_are_refused[hybrid]",
    ),
    (
        "network audit: layers of the record are not compared",
        "audit_network.py",
        'fits = said["bound"] >= layer.constant * (1 - TOLERANCE)',
        'fits = said["bound"] >= layer.constant * 0.9',
        f"{_TEST}::test_layers_and_head_of_a_record_are_compared[lipschitz]",
    ),
]
