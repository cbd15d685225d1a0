"""Planted faults of jaxcert/models/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/models"

CONSTANTS = "tests/models/test_constants.py"
DISTANCE = "tests/models/test_dist_net.py"
_210 = f"{CONSTANTS}::test_layers_of_norm_2_3_5_and_a_head_of_7_give_210"
_PRODUCT = f"{CONSTANTS}::test_lip_convnet_has_the_product_of_its_layers_over_the_std"
_BOX = f"{DISTANCE}::test_interval_contains_every_image_of_the_box_and_never_says_less"
_LAYERS = "tests/nn/test_norms_of_layers.py"
_LIRESNET = f"{_LAYERS}::test_liresnet_with_layers_of_2_3_5_and_7"

FAULTS = [
    (
        "liresnet: estimate without the stem",
        "liresnet.py",
        "math.prod(norms) * self.head",
        "math.prod(norms[1:]) * self.head",
        _LIRESNET,
    ),
    (
        "liresnet: blocks left out of the bound",
        "liresnet.py",
        "self.stem, self.blocks, self.neck, self.neck_dense\n        return",
        "self.stem, self.neck, self.neck_dense\n        return",
        _LIRESNET,
    ),
    (
        "liresnet: blocks left out of the estimate",
        "liresnet.py",
        "self.neck_dense, self.blocks\n        norms",
        "self.neck_dense\n        norms",
        _LIRESNET,
    ),
    (
        "chain: first layer left out",
        "_parts.py",
        "math.prod(norms) * rounding * head",
        "math.prod(norms[1:]) * rounding * head",
        _210,
    ),
    (
        "chain: largest layer for the product",
        "_parts.py",
        "math.prod(norms) * rounding * head",
        "max(norms) * rounding * head",
        _210,
    ),
    (
        "chain: head left out of the growth",
        "_parts.py",
        " * max(float(head.max()), 1.0)",
        " * max(0.0, 1.0)",
        _210,
    ),
    (
        "chain: shrinking layers count in the growth",
        "_parts.py",
        "math.prod(max(norm, 1.0) for norm in norms)",
        "math.prod(min(norm, 9e9) for norm in norms)",
        _210,
    ),
    (
        "lip_convnet: (1 + L) / 2 becomes L / 2",
        "_parts.py",
        "(1 + math.prod(bound() for bound in bounds)) / 2",
        "math.prod(bound() for bound in bounds) / 2",
        _PRODUCT,
    ),
    (
        "lip_convnet: residual layers count as plain",
        "lip_convnet.py",
        "Averaged(conv) if self._is_residual(i) else conv",
        "conv",
        _PRODUCT,
    ),
    (
        "lip_convnet: std left out of the bound",
        "lip_convnet.py",
        "pairwise=bound.pairwise / self.std,",
        "pairwise=bound.pairwise / 1.0,",
        _PRODUCT,
    ),
    (
        "lip_convnet: sqrt 2 left out of the bound",
        "lip_convnet.py",
        "self.num_classes), SQRT2)\n        bound",
        "self.num_classes), 1.0)\n        bound",
        _PRODUCT,
    ),
    (
        "lip_convnet: head left out of the bound",
        "lip_convnet.py",
        "layers.append(self.last)",
        "layers",
        _PRODUCT,
    ),
    (
        "lip_convnet: sqrt 2 left out of the estimate",
        "lip_convnet.py",
        "SQRT2 / self.std)",
        "1.0 / self.std)",
        _PRODUCT,
    ),
    (
        "lip_convnet: std multiplies the estimate",
        "lip_convnet.py",
        "SQRT2 / self.std)",
        "SQRT2 * self.std)",
        _PRODUCT,
    ),
    (
        "lip_convnet: residual sum is not halved",
        "lip_convnet.py",
        "x = (x + y) / 2 if",
        "x = (x + y) / 1 if",
        f"{CONSTANTS}::test_jacobian_of_lip_convnet_reaches_its_constant",
    ),
    (
        "lip_convnet: images are not divided by std",
        "lip_convnet.py",
        "dtype)) / self.std",
        "dtype)) / 0.4",
        f"{CONSTANTS}::test_jacobian_of_lip_convnet_reaches_its_constant",
    ),
    (
        "dist_net: bound without the factor 2",
        "dist_net.py",
        "head = np.full((self.num_classes, self.num_classes), 2.0)",
        "head = np.full((self.num_classes, self.num_classes), 1.0)",
        f"{CONSTANTS}::test_distance_nets_have_twice_the_scale_over_the_std",
    ),
    (
        "dist_net: std multiplies the bound",
        "dist_net.py",
        "scale / self.std * (1 + 1e-12) * head",
        "scale * self.std * (1 + 1e-12) * head",
        f"{CONSTANTS}::test_distance_nets_have_twice_the_scale_over_the_std",
    ),
    (
        "dist_net: near and far ends change places",
        "dist_net.py",
        "scale * -(far + bias), scale * -(near + bias)",
        "scale * -(near + bias), scale * -(near + bias)",
        _BOX,
    ),
    (
        "dist_net: lower end of the label is not taken",
        "dist_net.py",
        "take_along_axis(low, label[:, None], 1) - high",
        "take_along_axis(high, label[:, None], 1) - high",
        _BOX,
    ),
]
