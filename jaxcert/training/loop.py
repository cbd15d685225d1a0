"""The training loop: steps, evaluations, checkpoints, and what is written of them."""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcert import config as configs
from jaxcert import random_keys, sharding
from jaxcert.data import generated as generated_sets
from jaxcert.errors import InputError, check_file, interruptible
from jaxcert.locks import only_writer
from jaxcert.progress import Progress, say
from jaxcert.training import build, limits, manifold, optim
from jaxcert.training.evaluation import Evaluations, network_of
from jaxcert.training.metrics import MetricWriter, Speed
from jaxcert.training.trackers import Trackers
from jaxcert.workdirs.checkpoint import Checkpoints
from jaxcert.workdirs.runs import refuse_another

AHEAD = 2
"""Steps that may be under way before the loop waits for the first of them."""


def train(config: ConfigDict, workdir: str | Path) -> Any:
    """Train `config` into `workdir`, and return the final TrainState.

    Continues from the newest checkpoint there; the result is bit for bit that of an
    uninterrupted run on as many devices. Raises InputError for impossible settings, a
    workdir of another config or one that another process is writing, a damaged checkpoint,
    or a loss that is not finite (the last good checkpoint stays).
    """
    if jax.process_index() > 0:  # of several processes the first holds the lock
        return _train(config, Path(workdir))
    with only_writer(workdir, option="--workdir"):
        return _train(config, Path(workdir))


def _train(config: ConfigDict, workdir: Path) -> Any:
    before = refuse_another(workdir, config)
    Trackers(config.track)  # a package that is missing is said before any work
    built = build.build(config)  # which fixes the generator
    key, init_key, sweep_key = jax.random.split(random_keys.key(config.seed), 3)
    data, model, method, mesh = built.data, built.model, built.method, built.mesh
    workdir.mkdir(parents=True, exist_ok=True)
    _check_places(config, workdir, built)
    if data.generated:
        generated_sets.compare(
            data.generated,
            workdir / "generated.json",
            begun=(workdir / "config.json").exists(),
            writes=jax.process_index() == 0,
        )
    sweep = partial(data.sweep, mesh, built.move, sweep_key)
    per_epoch, total = data.run.steps_per_epoch, data.run.total_steps
    stride = per_epoch if config.data.placement == "epoch" else 1
    _check_phases(method, stride, total)
    totals, pending = None, None
    keeping = config.checkpoint.keep, config.checkpoint.best
    with (
        Checkpoints(workdir, keep=keeping[0], best=keeping[1]) as checkpoints,
        _trackers(config) as trackers,
        _interruptible() as ends,
    ):
        start = checkpoints.latest() or 0
        state = build.initial_state(built, init_key)
        if checkpoints.latest() is not None:
            state = checkpoints.restore(state, mesh)
        run_step = build.compiled(built, config)
        configs.save(config, workdir / "config.json")
        batches = data.batches(start, weights=_weights(state), mesh=mesh)
        trackers.start(workdir, config.to_dict(), start)
        log = _Log(config, built, workdir, start, trackers)
        evaluations = Evaluations(config, data.images)
        queue = _Queue()
        if start and config.data.epochs > before:
            log.longer(before)
        for t in range(start, total, stride):
            if t % per_epoch == 0 and _refreshes(method, t // per_epoch):
                refresh_key = jax.random.fold_in(sweep_key, t)
                extra = method.refresh.fn(state, partial(sweep, t), refresh_key)
                state = state._replace(extra=sharding.replicate(extra, mesh))
                batches = data.batches(t, weights=_weights(state), mesh=mesh)
                # of the step to come: a run that continues here draws again
                log.kept(t + 1, _weights(state))
                log.restart(t)
            phase = method.phase(t)
            state, totals = run_step(state, totals, next(batches), key, phase=phase)
            queue.add(state.step)
            done = t + stride
            if t == start:  # compiled: now the speed can be measured
                log.restart(done)
                log.show(done)
            if pending:  # read one step late: the next one is already under way
                log.write(pending)
                pending = None
            stops, value = ends(), None
            saves = done == total or stops or _due(config.checkpoint, done, per_epoch)
            evaluates = config.eval.every_epochs > 0 and done == total
            if not evaluates and _due(config.eval, done, per_epoch):
                evaluates = bool(sharding.agreed(evaluations.allowed()))
            every = config.log.every_steps
            if saves or evaluates or done // every > t // every:
                pending, totals = (done, totals), None
            if saves or evaluates:
                log.write(pending)  # nothing that is not finite is saved
                pending = None
                shown = state.model_state
                if method.calibrate:
                    shown = method.calibrate(state, partial(sweep, t))
            if log.writer and evaluates:
                network = network_of(model, state._replace(model_state=shown))
                try:
                    value = evaluations.run(network, log.writer, done)
                except InputError:
                    if jax.process_count() == 1:  # saving is the work of all
                        checkpoints.save(state, shown)
                    raise
            if evaluates and config.checkpoint.best:
                value = sharding.agreed(value)
                saves |= checkpoints.is_best(value)
            if saves:
                checkpoints.save(state, shown, value)
            if saves or evaluates:
                log.restart(done)
            if stops:
                raise KeyboardInterrupt
    return state


def check(config: ConfigDict) -> int:
    """Return the bytes that the checkpoints of a run take. Raises InputError, before
    any work, for whatever `train` would refuse of a config."""
    state = build.build(config).state
    Trackers(config.track)
    return config.checkpoint.keep * limits.checkpoint_bytes(state)


def _check_places(config: ConfigDict, workdir: Path, built) -> None:
    """Raises InputError if the disk cannot hold the checkpoints to come, or if a record
    is in the way of the one that the run ends with, and OSError for a record that
    cannot be written. A run without a step left is not checked."""
    names = [p.name for p in (workdir / "checkpoints").glob("[0-9]*")]
    steps = [int(name) for name in names if name.isdecimal()]
    if max(steps, default=0) >= built.data.run.total_steps:
        return
    more = 2 if len(steps) < 2 else 1  # a new one is there before an old one goes
    limits.check_disk(workdir, more * limits.checkpoint_bytes(built.state))
    path = workdir / "certificates.jsonl"
    if not config.certify.after_training:
        return
    check_file(path, new=True)
    if path.exists():
        with open(path, "ab"):
            pass
        if path.stat().st_size:
            raise InputError(
                f"{path} holds certificates of the network as it is now: move the file away, "
                "or train with --config.certify.after_training=False, and certify with --out."
            )


def _trackers(config: ConfigDict) -> Trackers:
    """Return the programs that get the metrics; of several processes one has them."""
    return Trackers("" if jax.process_index() else config.track)


def _interruptible():
    """Yield a function that says whether Ctrl-C or SIGTERM came. Several processes
    cannot agree on a step to stop at, so they end at once, as Python does."""
    if jax.process_count() > 1:
        return nullcontext(lambda: False)
    return interruptible(at_once=False)


class _Queue:
    """Keeps the loop at most AHEAD steps before the device. JAX would queue tens of steps: a
    run that is told to stop would still take them all, and their batches fill memory."""

    def __init__(self):
        self._under_way: deque[jax.Array] = deque()

    def add(self, step: jax.Array) -> None:
        """Wait until all but the newest AHEAD steps are done. step: of the state, which the
        next step overwrites, so a copy of it is waited for."""
        self._under_way.append(jnp.copy(step))
        if len(self._under_way) > AHEAD:
            self._under_way.popleft().block_until_ready()


class _Log:
    """Writes metrics.jsonl and a line of progress. Of several processes one writes; all
    of them stop at a step that was not finite."""

    def __init__(
        self,
        config: ConfigDict,
        built,
        workdir: Path,
        start: int,
        trackers: Trackers | None = None,
    ):
        self._config, self._method, self._run = config, built.method, built.data.run
        self._start, self._explained, self._drifted = start, False, False
        self._rate = partial(optim.rate_at, config.optim, self._run)
        self._speed = Speed(config.data.batch, start)
        self._line = Progress("train", self._run.total_steps, "steps", start=start)
        self.writer = None
        if jax.process_index() == 0:
            per_epoch = self._run.steps_per_epoch
            self.writer = MetricWriter(
                workdir, resume_step=start, per_epoch=per_epoch, trackers=trackers
            )

    def restart(self, done: int) -> None:
        """Measure the speed from step `done` on."""
        self._speed.restart(done)

    def show(self, done: int) -> None:
        """Show the first progress."""
        if self.writer:
            self._line.update(done)

    def write(self, pending) -> None:
        """Read the sums of an interval and write their means. Raises InputError if a
        step was not finite."""
        done, totals = pending
        totals = jax.device_get(totals)
        if totals.bad_step < done:
            raise InputError(
                "the loss, its gradient or the new parameters were not finite at step "
                f"{int(totals.bad_step)}: train into another --workdir with a lower optim.lr, or "
                "with optim.clip_norm. A checkpoint from before is kept and good."
            )
        if self.writer is None:
            return
        means = {k: float(v) / int(totals.steps) for k, v in totals.sums.items()}
        speed = self._speed.read(done)
        more = {} if speed is None else {"images_per_s": round(speed, 1)}
        self.writer.write(done, "train", {**means, "lr": self._rate(done - 1), **more})
        shown = [f"{k} {means[k]:.4g}" for k in ("loss", "accuracy") if k in means]
        self._line.update(done, ", ".join(shown))
        if means.get("early") and not self._drifted:
            self._drifted = True
            say(
                f"train: by step {done:,} matrices had drifted by more than {manifold.LIMIT:g} "
                "from orthogonal and were made orthogonal at once; a lower optim.lr drifts less"
            )
        if means["loss"] < 0 and not self._explained:
            self._explained = True
            say(
                f"train: a loss below 0 is as it should be: the method {self._config.method.name} "
                "subtracts a reward from it, and lower is better"
            )

    def kept(self, step: int, weights: np.ndarray | None) -> None:
        """Write the share of the training images that a method still draws."""
        if self.writer and weights is not None:
            self.writer.write(step, "refresh", {"kept": float((weights > 0).mean())})

    def longer(self, before: int) -> None:
        """Say, and write down, what a larger number of epochs than before changes."""
        if self.writer is None:
            return
        after, step = self._config.data.epochs, self._start
        old = self._run._replace(total_steps=before * self._run.steps_per_epoch)
        rates = optim.rate_at(self._config.optim, old, step), self._rate(step)
        changed = [
            f"the learning rate goes on from {rates[1]:.4g} instead of {rates[0]:.4g}"
        ]
        if self._config.optim.schedule in optim.ENDLESS:
            changed = []
        if self._method.over_the_run:
            changed.append(f"{self._method.over_the_run} is that of {after} epochs")
        told = f"as if {after} had been asked for from the start"
        if changed:
            told = f"{' and '.join(changed)}, other than in a run of {after} from the start"
        say(f"train: {before} epochs become {after} at step {step:,}: {told}")
        self.writer.write(step, "run", {"epochs_before": before, "epochs": after})


def _check_phases(method, stride: int, total: int) -> None:
    """Raises InputError for an epoch that one program cannot run, as the method changes its
    phase within it."""
    for t in range(0, total if stride > 1 else 0, stride):
        if method.phase(t) != method.phase(t + stride - 1):
            raise InputError(
                f"data.placement is 'epoch', and the method changes from phase {method.phase(t)} "
                f"to {method.phase(t + stride - 1)} within epoch {t // stride + 1}: give "
                "data.placement=device."
            )


def _weights(state):
    extra = state.extra
    if not isinstance(extra, dict) or "weights" not in extra:
        return None
    weights = np.asarray(extra["weights"].addressable_data(0))
    return weights if weights.any() else None


def _due(section: ConfigDict, done: int, per_epoch: int) -> bool:
    return section.every_epochs > 0 and done % (section.every_epochs * per_epoch) == 0


def _refreshes(method, epoch: int) -> bool:
    return method.refresh is not None and method.refresh.due(epoch)
