"""Plain training: the mean cross-entropy of the logits. No certificate is promised."""

from __future__ import annotations

import optax

from jaxcert.interfaces import Method, Model, Run


def make(model: Model, run: Run) -> Method:
    """loss = mean CE(z, y)."""

    def loss(params, state, extra, batch, key, step, phase):
        logits, state = model.apply(params, state, batch["image"], train=True, key=key)
        value = cross_entropy(logits, batch["label"])
        correct = logits.argmax(-1) == batch["label"]
        return value, (state, {"accuracy": correct.mean()})

    return Method(loss=loss)


def cross_entropy(logits, label):
    """Mean over images; logits [B,K], label int [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
