"""Workdirs of runs that never were: certificates by hand, with their evidence."""

from __future__ import annotations

import json

import numpy as np

from jaxcert.records import FORMAT_1, Certificates, Writer

RADII = (0.0, 0.25, 0.5)


def certificates(radius, correct, start=0):
    """Images of two classes, all of label 0; a radius is the margin of their logits."""
    radius, correct = np.asarray(radius, float), np.asarray(correct, bool)
    count = len(radius)
    return Certificates(
        index=np.arange(start, start + count),
        label=np.zeros(count, int),
        predicted=np.where(correct, 0, 1),
        radius=radius,
        n=np.ones(count, int),
        seconds=np.zeros(count),
        logits=np.where(correct[:, None], [1, 0], [0, 1]) * radius[:, None],
    )


def of_counts(certified, correct, images, start=0):
    """The first `certified` images at radius 0.3, all `correct` ones right, the rest 0."""
    place = np.arange(images)
    return certificates(
        np.where(place < certified, 0.3, 0.0), place < correct, start=start
    )


def workdir(
    path,
    *,
    test=None,
    train=None,
    evaluations=(),
    model=None,
    method=None,
    data=None,
    seed=0,
    reference=None,
    header=None,
    **config,
):
    """A finished run; test and train are Certificates."""
    config = dict(
        seed=seed,
        model=dict(name="net", depth=2) | (model or {}),
        method=dict(name="lot") | (method or {}),
        optim=dict(name="sgd", lr=0.1),
        data=dict(
            name="digits",
            dir="",
            batch=10,
            epochs=10,
            epoch_images=0,
            generated="",
            generated_count=0,
            generated_share=0.7,
            augment=dict(crop=4, generated_crop=None),
        )
        | (data or {}),
        certify=dict(radii=list(RADII)),
        reference=reference or {},
        **config,
    )
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    shared = dict(
        format=FORMAT_1,
        method="lipschitz",
        norm="l2",
        alpha=0,
        num_classes=2,
        procedure=dict(name="margin", logit_slack=0.0),
        pairwise_bound=1.0,
        dataset="digits",
    )
    for split, name, rows in (
        ("test", "certificates", test),
        ("train", "train", train),
    ):
        if rows is not None:
            known = shared | {"split": split} | (header or {})
            with Writer(path / f"{name}.jsonl", known) as writer:
                writer.append(rows)
    lines = [
        json.dumps({"step": 10 * (i + 1), "split": "test", **values})
        for i, values in enumerate(evaluations)
    ]
    if lines:
        (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return path


def with_generated(count=1_000_000, share=0.7, source="5m.npz", **data):
    data = dict(generated=f"gen/{source}", generated_count=count, **data)
    return data | dict(generated_share=share)
