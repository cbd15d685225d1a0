"""Train a network into a workdir; the same command continues an interrupted run exactly.

    python -m jaxcert.train --config configs/quickstart.py --workdir runs/quickstart
    python -m jaxcert.train --config configs/lot/cifar10.py:s --config.optim.lr=0.05

The workdir gets config.json, metrics.jsonl and checkpoints/. With
config.certify.after_training the run ends with certificates.jsonl and a report.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert.errors import InputError, exit_cleanly, interruptible
from jaxcert.progress import Progress


def train(config: ConfigDict, workdir: str | Path) -> Any:
    """Train `config` into `workdir` -> the final TrainState.

    Continues from the newest checkpoint there; the result is bit for bit that of an
    uninterrupted run on as many devices. Raises InputError for impossible settings, a
    workdir of another config or one that another process is writing, a damaged checkpoint,
    or a loss that is not finite (the last good checkpoint stays).
    """
    import jax

    from jaxcert.locks import only_writer

    if jax.process_index() > 0:  # of several processes the first holds the lock
        return _train(config, Path(workdir))
    with only_writer(workdir, option="--workdir"):
        return _train(config, Path(workdir))


def _train(config: ConfigDict, workdir: Path) -> Any:
    import jax

    from jaxcert.data import generated as generated_sets
    from jaxcert.training import sharding
    from jaxcert.training.checkpoint import Checkpoints
    from jaxcert.training.metrics import MetricWriter

    refuse_another(workdir, config)
    key, init_key, sweep_key = jax.random.split(jax.random.key(config.seed), 3)
    mesh, data = sharding.data_mesh(), _opened(config)
    prepared = _prepare(config, data, init_key, sweep_key, mesh)
    model, method, state, run_step, sweep = prepared
    _check_certificates(config, data, model, state)
    workdir.mkdir(parents=True, exist_ok=True)
    if data.generated:
        first = jax.process_index() == 0
        generated_sets.compare(data.generated, workdir / "generated.json", writes=first)
    configs.save(config, workdir / "config.json")
    per_epoch, total = data.run.steps_per_epoch, data.run.total_steps
    totals, pending = None, None
    with (
        Checkpoints(workdir, keep=config.checkpoint.keep) as checkpoints,
        _interruptible() as ends,
    ):
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, mesh)
        start = int(state.step)
        batches = data.batches(start, _weights(state), mesh)
        speaks = jax.process_index() == 0
        writer = MetricWriter(workdir, resume_step=start) if speaks else None
        line = Progress("train", total, "steps", start=start)
        for t in range(start, total):
            if t % per_epoch == 0 and _refreshes(method, t // per_epoch):
                refresh_key = jax.random.fold_in(sweep_key, t)
                extra = method.refresh.fn(state, partial(sweep, t), refresh_key)
                state = state._replace(extra=sharding.replicate(extra, mesh))
                batches = data.batches(t, _weights(state), mesh)
            phase = method.phase(t)
            state, totals = run_step(state, totals, next(batches), key, phase=phase)
            done = t + 1
            if writer and t == start:  # compiled: now the speed can be measured
                line.update(done)
            if pending:  # read one step late: the next one is already under way
                _log(writer, line, pending)
                pending = None
            stops = ends()
            saves = done == total or stops or _due(config.checkpoint, done, per_epoch)
            evaluates = _due(config.eval, done, per_epoch)
            evaluates |= done == total and config.eval.every_epochs > 0
            if saves or evaluates or done % config.log.every_steps == 0:
                pending, totals = (done, totals), None
            if saves or evaluates:
                _log(writer, line, pending)  # nothing that is not finite is saved
                pending = None
                shown = state.model_state
                if method.calibrate:
                    shown = method.calibrate(state, partial(sweep, t))
            if writer and evaluates:
                network = _network(model, state._replace(model_state=shown))
                try:
                    _evaluate(config, data.images, network, writer, done)
                except InputError:
                    if jax.process_count() == 1:  # saving is the work of all
                        checkpoints.save(state, shown)
                    raise
            if saves:
                checkpoints.save(state, shown)
            if stops:
                raise KeyboardInterrupt
    return state


def check(config: ConfigDict) -> None:
    """Raises InputError, before any work, for what `train` would refuse of a config."""
    import jax

    from jaxcert.training import sharding

    key, mesh, data = jax.random.key(0), sharding.data_mesh(), _opened(config)
    model, _, state, *_ = _prepare(config, data, key, key, mesh)
    _check_certificates(config, data, model, state)


def _opened(config: ConfigDict) -> Data:
    import jax

    from jaxcert.data import normalisation
    from jaxcert.training import sharding

    _check(config)
    sharding.use_precision(config.precision)
    if jax.process_index() == 0:
        normalisation.warn_of_another(config)
    return open_data(config)


def _interruptible():
    """Several processes cannot agree on a step: they end at once, as Python does."""
    import jax

    if jax.process_count() > 1:
        return nullcontext(lambda: False)
    return interruptible(at_once=False)


def _prepare(config: ConfigDict, data: Data, init_key, sweep_key, mesh):
    """(model, method, initial state, compiled step, sweep) of a config."""
    import jax

    from jaxcert import workdirs
    from jaxcert.data import sources
    from jaxcert.data.augment import augment
    from jaxcert.training import optim, sharding, step

    model = configs.build("models", config.model)
    for source in data.images.values():
        sources.check_model(
            source,
            image_shape=model.image_shape,
            num_classes=model.num_classes,
            exactly=model.unconditional is not None,  # of no other can it sample
        )
    keys = config.method.to_dict()
    others, _ = workdirs.open_all(keys.pop("networks", {}), mesh)
    method = configs.build(
        "methods", ConfigDict(keys), needs=others, model=model, run=data.run
    )
    tx = configs.call(optim.make, config.optim, what="optim", run=data.run)
    move = partial(augment, **config.data.augment)
    like = jax.ShapeDtypeStruct(
        (1, *model.image_shape), data.images["train"].image.dtype
    )
    real = jax.ShapeDtypeStruct((1,), bool)
    jax.eval_shape(
        move, init_key, {"image": like, "real": real}
    )  # refuse before compiling
    ema = optim.averaging(
        config.ema,
        config.ema_halflife,
        batch=config.data.batch,
        accumulate=config.optim.accumulate,
    )
    init = partial(step.init_state, model.init, tx, ema=ema is not None)
    if config.init:
        network, _ = workdirs.open_network(config.init, mesh)
        _check_start(config, model, network)
        start = network.params, network.state
        init = partial(step.init_state, lambda key: start, tx, ema=ema is not None)
    state = jax.jit(init)(key=init_key, extra=method.init_extra())
    return (
        model,
        method,
        sharding.replicate(state, mesh),
        step.compile(
            method,
            tx,
            augment=move,
            mesh=mesh,
            ema=ema,
            accumulate=config.optim.accumulate,
        ),
        partial(data.sweep, mesh, move, sweep_key),
    )


def _check_start(config: ConfigDict, model, network) -> None:
    import jax

    shapes = jax.eval_shape(model.init, jax.random.key(0))
    theirs = network.params, network.state
    same = jax.tree.structure(shapes) == jax.tree.structure(theirs)
    if not same or any(
        a.shape != b.shape
        for a, b in zip(jax.tree.leaves(shapes), jax.tree.leaves(theirs), strict=True)
    ):
        raise InputError(
            f"init: {config.init} holds a network of another shape: give one of the same "
            "config.model."
        )


class Data(NamedTuple):
    """The images of a config."""

    images: dict[str, Any]
    """split -> Source; 'train', and what the run itself certifies"""
    run: Any
    batches: Callable
    """(start, weights, mesh) -> iterator of batches from step `start`"""
    sweep: Callable
    """(mesh, augment, key, step) -> the real training set once, in order, augmented"""
    generated: Any = None
    """Source of the generated images, where there are"""


def open_data(config: ConfigDict) -> Data:
    """Open config.data: real images, generated ones, their mixture. Raises InputError."""
    import jax

    from jaxcert.data import generated as generated_sets
    from jaxcert.data import loader, mixture
    from jaxcert.interfaces import Run

    data = config.data
    if data.epochs < 1:
        raise InputError(f"data.epochs must be at least 1, not {data.epochs}.")
    images = _open_images(config)
    real, generated = images["train"], None
    if data.generated_count and not data.generated:
        raise InputError(
            f"data.generated_count asks for {data.generated_count:,} generated images and "
            "data.generated names none: give their file or folder by --config.data.generated."
        )
    if data.generated:
        generated = generated_sets.open_generated(
            data.generated, count=data.generated_count, seed=config.seed
        )
    plan = mixture.make(
        len(real.label),
        len(generated.label) if generated else 0,
        batch=data.batch,
        share=data.generated_share,
        epoch_images=data.epoch_images,
        seed=config.seed,
        order=data.order,
    )
    loader.check(real, generated, data.batch, devices=jax.device_count())
    total = data.epochs * plan.steps_per_epoch
    run = Run(plan.steps_per_epoch, total, len(real.label))

    def batches(start, weights, mesh):
        return loader.batches(
            real,
            generated,
            plan,
            start,
            mesh=mesh,
            total=total,
            placement=data.placement,
            weights=weights,
        )

    def sweep(mesh, augment, key, step):
        moved, key = jax.jit(augment), jax.random.fold_in(key, step)
        for number, batch in enumerate(loader.sweep(real, data.batch, mesh=mesh)):
            yield moved(jax.random.fold_in(key, number), batch)

    return Data(images, run, batches, sweep, generated)


def _open_images(config: ConfigDict) -> dict[str, Any]:
    """Split -> Source: what is trained on, and what the run itself certifies."""
    import jax
    from jax.experimental import multihost_utils

    from jaxcert.data import sources

    data, several = config.data, jax.process_count() > 1
    certified = [split for _, splits in _certificates(config) for split in splits]
    if several and jax.process_index() > 0:  # the first one downloads
        multihost_utils.sync_global_devices("data")
    images = {
        split: sources.open(
            data.name, split, dir=data.dir, download=data.download, pad=data.pad
        )
        for split in dict.fromkeys(["train", *certified])
    }
    if several and jax.process_index() == 0:
        multihost_utils.sync_global_devices("data")
    return images


def refuse_another(workdir: Path, config: ConfigDict) -> None:
    """Raises InputError if the workdir holds a run of another config, or of none that is
    known."""
    if not (workdir / "config.json").exists():
        if any((workdir / "checkpoints").glob("[0-9]*")):
            raise InputError(
                f"{workdir} has checkpoints and no config.json to tell of which run: restore "
                "it or name another --workdir."
            )
        return
    different = configs.differences(configs.read(workdir), config)
    if different:
        raise InputError(
            f"{workdir} holds a run of another config, different in {different[0]}: name "
            "another --workdir."
        )


def _check(config: ConfigDict) -> None:
    """Numbers of the loop itself."""
    if config.log.every_steps < 1 or config.checkpoint.keep < 1:
        raise InputError(
            "log.every_steps and checkpoint.keep must be at least 1, not "
            f"{config.log.every_steps} and {config.checkpoint.keep}."
        )
    if config.checkpoint.every_epochs < 0 or config.eval.every_epochs < 0:
        raise InputError(
            "checkpoint.every_epochs and eval.every_epochs must be at least 0."
        )
    if config.data.placement not in ("auto", "host", "device"):
        raise InputError(
            f"data.placement is {config.data.placement!r}: give 'auto', 'host' or 'device'."
        )


def _log(writer, line: Progress, pending) -> None:
    """Read the totals of an interval, write them (one process of several does); InputError
    if a step was not finite."""
    import jax

    done, totals = pending
    totals = jax.device_get(totals)
    if totals.bad_step < done:
        raise InputError(
            f"the loss or its gradient was not finite at step {int(totals.bad_step)}; the "
            "last good checkpoint is kept: lower optim.lr or set optim.clip_norm."
        )
    if writer is None:
        return
    means = {k: float(v) / int(totals.steps) for k, v in totals.sums.items()}
    writer.write(done, "train", means)
    shown = [f"{k} {means[k]:.4g}" for k in ("loss", "accuracy") if k in means]
    line.update(done, ", ".join(shown))


def _certificates(config: ConfigDict) -> list[tuple[ConfigDict, tuple[str, ...]]]:
    """(config, splits) of what the run certifies by itself: evaluations, and its end."""
    due = []
    if config.eval.every_epochs:
        cheap = ConfigDict(config.to_dict(), convert_dict=True)
        cheap.certify.update(config.eval.certify)
        due.append((cheap, ("train", "test")))
    if config.certify.after_training:
        due.append((config, (config.certify.split,)))
    return due


def _check_certificates(config: ConfigDict, data: Data, model, state) -> None:
    """Raises InputError, before any work, for a certificate that the run cannot compute.

    Of a model that prepares and bounds nothing: those are compiled in float64, for seconds
    or minutes."""
    import numpy as np

    from jaxcert import certify
    from jaxcert.interfaces import Bound
    from jaxcert.training import sharding

    ones = np.ones((model.num_classes, model.num_classes))
    hollow = model._replace(
        prepare=lambda params, state: state,
        lipschitz=model.lipschitz and (lambda params, state: (ones, state)),
        lipschitz_bound=model.lipschitz_bound and (lambda *a, **k: Bound(ones, 1.0)),
    )
    for each, splits in _certificates(config):
        for split in splits:
            certify.selected(each.certify, len(data.images[split].label))
        certify.certifier_of(each, _network(hollow, state), sharding.local_mesh())


def _network(model, state):
    """What is evaluated of a TrainState: the averaged weights where there are."""
    from jaxcert.interfaces import Network
    from jaxcert.training import sharding

    params = state.params if state.ema is None else state.ema
    return Network(model, *sharding.to_host((params, state.model_state)))


def _evaluate(config, images, network, writer, done: int) -> None:
    """The certificate of config.eval on a slice of train and test, by this process."""
    import jax
    import numpy as np

    from jaxcert import certify, records
    from jaxcert.analysis import metrics
    from jaxcert.training import sharding

    cheap, splits = _certificates(config)[0]
    chosen = cheap.certify
    key = jax.random.fold_in(jax.random.key(chosen.seed), configs.CERTIFY_STREAM)
    certifier = certify.certifier_of(cheap, network, sharding.local_mesh())
    for split in splits:
        source = images[split]
        index = certify.selected(chosen, len(source.label))
        parts = [
            certifier.certify(key, source.image[rows], source.label[rows], rows)
            for rows in np.split(index, range(chosen.batch, len(index), chosen.batch))
        ]
        values = metrics.certified_accuracy(records.concatenate(parts), chosen.radii)
        pairs = [p for p in zip(chosen.radii, values, strict=True) if p[1] == p[1]]
        writer.write(done, split, {f"certified_{r:.3g}": float(v) for r, v in pairs})


def _weights(state):
    import numpy as np

    extra = state.extra
    if not isinstance(extra, dict) or "weights" not in extra:
        return None
    weights = np.asarray(extra["weights"].addressable_data(0))
    return weights if weights.any() else None


def _due(section: ConfigDict, done: int, per_epoch: int) -> bool:
    return section.every_epochs > 0 and done % (section.every_epochs * per_epoch) == 0


def _refreshes(method, epoch: int) -> bool:
    return method.refresh is not None and method.refresh.due(epoch)


def main(argv: list[str] | None = None) -> int:
    from jaxcert import cli

    args = cli.parse(argv, __doc__, needs="config")
    if args.distributed:
        from jaxcert.training import processes

        processes.join(args.distributed, limit=args.distributed_wait)
    train(args.config, args.workdir)
    import jax

    if jax.process_count() > 1 or not args.config.certify.after_training:
        if jax.process_index() == 0:  # a certificate is one process' work
            classifies = bool(args.config.certify.name)
            more = "" if classifies else " --out FOLDER --count N"
            command = "certify" if classifies else "generate"
            print(
                f"trained; next: python -m jaxcert.{command} --workdir {args.workdir}{more}"
            )
        return 0
    from jaxcert import certify

    return certify.main(["--workdir", args.workdir])


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
