"""Classifiers that are asked and may fail to answer: slow functions, and addresses of HTTP."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcert.errors import InputError, at_least, whole_from
from jaxcert.host.answers import NONE, classes_of, first_line
from jaxcert.host.classifiers import NOTHING
from jaxcert.interfaces import HostVote

_MOST = 1 << 26
"""The most bytes of an answer that are read."""
_LATER = (408, 425, 429)
"""Statuses below 500 after which the same question may be answered."""


class _Refused(Exception):
    """The same question would be refused again."""


def oracle(
    ask: Callable[[np.ndarray], Any] | str,
    *,
    name: str,
    batch: int = 0,
    budget: int | None = None,
    retries: int = 3,
    wait: float = 1.0,
    timeout: float = 60.0,
) -> HostVote:
    """Return a slow classifier, which `smooth` takes in place of a JAX function: it is asked
    for each noisy image, asked again where it fails, and no more than a budget allows.

    ask: a function of a noisy image float32 [H,W,C] -> its class, or logits [K]; or the http
        or https address of one, which is sent the image as the bytes of an npy file and
        answers in JSON.
    name: what fixes the classifier, such as its version; nothing can check it, and a record
        says so.
    batch: how many images are asked for together, as [B,H,W,C] -> classes [B], or logits
        [B,K]; 0: one image without that axis.
    budget: the most images that are sent in all, again and again included; None: any number.
    retries, wait: how often a question that failed is asked again, with the same noise; the
        seconds before the first time, doubled each time.
    timeout: the seconds that an address may take for an answer.

    What fails for good, or is left out for the budget, is a vote for no class and stays in n,
    which can only make a radius smaller. So `smooth` refuses what assumes that all votes came:
    rival other than single, and procedure predict. Until the first good answer a failure raises
    InputError; afterwards it warns.
    """
    whole_from(0, batch=batch, retries=retries)
    at_least(0, wait=wait, timeout=timeout)
    if budget is not None:
        whole_from(1, budget=budget)
    if not isinstance(name, str) or not name:
        raise InputError("name must say what fixes the oracle, such as its version.")
    if isinstance(ask, str):
        if not ask.startswith(("http://", "https://")):
            raise InputError(
                "ask must be a function, or an address that begins with http:// or https://."
            )
        ask = _posting(ask, timeout)
    elif not callable(ask):
        raise InputError(
            f"ask must be a function or an address, not {type(ask).__name__}."
        )
    asked = _Asked(ask, name, batch, budget, retries, wait)
    base = {"name": "oracle", "stated": name, "fixed_by": NOTHING, "may_fail": True}
    return HostVote(asked.votes, base, may_fail=True)


class _Asked:
    """An oracle that counts what it was asked."""

    def __init__(self, ask, name, batch, budget, retries, wait):
        self._ask, self._who, self._batch = ask, f"the oracle {name}", batch
        self._budget, self._retries, self._wait = budget, retries, wait
        self._sent, self._answered, self._warned = 0, False, set()

    def votes(self, image: np.ndarray, num_classes: int) -> np.ndarray:
        """As `HostVote.votes`."""
        size = self._batch or 1
        parts = [image[at : at + size] for at in range(0, len(image), size)]
        return np.concatenate([self._classes(part, num_classes) for part in parts])

    def _classes(self, part: np.ndarray, num_classes: int) -> np.ndarray:
        fault = None
        for again in range(1 + self._retries):
            if self._budget is not None and self._sent + len(part) > self._budget:
                self._warn("budget", f"has used its budget of {self._budget:,} images")
                return np.full(len(part), NONE)
            if again:
                time.sleep(self._wait * 2 ** (again - 1))
            self._sent += len(part)
            try:
                found = classes_of(
                    self._answer(part), len(part), num_classes, self._who
                )
            except Exception as error:  # any: it is somebody's own code
                fault = error
                wrong = isinstance(error, InputError) and not self._answered
                if wrong or isinstance(error, _Refused):
                    break
            else:
                self._answered = True
                return found
        if not self._answered:
            if isinstance(fault, InputError):
                raise fault
            raise InputError(
                f"{self._who} does not answer: {first_line(fault)}; nothing was certified."
            ) from fault
        self._warn("failed", f"failed for good: {first_line(fault)}")
        return np.full(len(part), NONE)

    def _answer(self, part: np.ndarray) -> np.ndarray:
        """Return the answer for [B,H,W,C], from a copy: it must be the same each time."""
        found = np.asarray(self._ask(np.array(part if self._batch else part[0])))
        return found if self._batch else found[None]

    def _warn(self, kind: str, fault: str) -> None:
        """Warn once of each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(
                f"{self._who} {fault}: this and what follows of its kind are votes for no "
                "class, and stay in n.",
                stacklevel=2,
            )


def _posting(address: str, timeout: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that sends an array to an address, as the bytes of an npy file, and
    reads the JSON that comes back: a class, or logits, or a list of either."""

    def ask(image: np.ndarray) -> np.ndarray:
        body = io.BytesIO()
        np.save(body, image)
        kinds = {"Content-Type": "application/x-npy", "Accept": "application/json"}
        request = urllib.request.Request(address, body.getvalue(), kinds)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                found = np.asarray(json.loads(answer.read(_MOST)))
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in _LATER:
                raise _Refused(f"status {error.code}, {error.reason}") from None
            raise
        # JSON writes the logit 1.0 as 1
        logits = found.ndim == image.ndim - 2 and found.dtype.kind in "iu"
        return found.astype(np.float64) if logits else found

    return ask
