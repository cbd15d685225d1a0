"""Planted faults of classifiers outside of JAX: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

_HOST = "tests/test_host.py"
_SAME = f"{_HOST}::test_votes_are_those_of_the_same_function_in_jax"
_ONNX = "tests/test_host_onnx.py"
_FAILS = f"{_HOST}::test_what_fails_for_good_stays_in_n"
_NEVER = f"{_HOST}::test_answers_that_never_came_may_be_of_another_class"

FAULTS = [
    (
        "host: votes that count are those of the selection",
        "certificates/hosting.py",
        "first, total = start - (ends - size)",
        "first, total = start * 0 - (ends - size)",
        _SAME,
    ),
    (
        "host: images that fill the last batch are passed too",
        "certificates/hosting.py",
        'side="right"), total - begin',
        'side="right"), total',
        _SAME,
    ),
    (
        "host: votes under noise that was not drawn count",
        "certificates/hosting.py",
        "kept = noisy if drawn.all() else noisy[drawn]",
        "drawn = drawn | True; kept = noisy",
        f"{_HOST}::test_samples_whose_noise_was_not_drawn_are_not_passed",
    ),
    (
        "host: a missing answer is none for the rival",
        "certificates/hosting.py",
        'if rival != "single":',
        'if rival == "none":',
        _NEVER,
    ),
    (
        "host: a missing answer is none for the second class",
        "certificates/hosting.py",
        'if procedure == "predict":',
        'if procedure == "none":',
        _NEVER,
    ),
    (
        "host: a classifier that has changed is certified",
        "certificates/smoothing.py",
        "            vote.check()",
        "            vote.check",
        f"{_HOST}::test_a_classifier_that_has_changed_is_not_certified",
    ),
    (
        "host: logits that are not finite are votes",
        "host/answers.py",
        "return np.where(finite, found.argmax(1), NONE)",
        "return found.argmax(1)",
        f"{_HOST}::test_logits_that_are_not_finite_are_no_votes",
    ),
    (
        "oracle: what fails for good is a vote",
        "host/oracle.py",
        'self._warn("failed", f"failed for good: {first_line(fault)}")\n'
        "        return np.full(len(part), NONE)",
        'self._warn("failed", f"failed for good: {first_line(fault)}")\n'
        "        return np.full(len(part), 0)",
        _FAILS,
    ),
    (
        "oracle: the budget is exceeded by one question",
        "host/oracle.py",
        "self._sent + len(part) > self._budget",
        "self._sent >= self._budget",
        f"{_HOST}::test_a_budget_is_never_exceeded_and_loses_nothing",
    ),
    (
        "oracle: what is refused is asked again",
        "host/oracle.py",
        "if wrong or isinstance(error, _Refused):",
        "if wrong:",
        f"{_HOST}::test_an_address_that_refuses_is_not_asked_again",
    ),
    (
        "bound: the rival of an oracle that may fail",
        "certificates/bounding.py",
        'base.get("may_fail")',
        'base.get("fails")',
        _FAILS,
    ),
    (
        "recheck: the rival of an oracle that may fail",
        "analysis/recheck_header.py",
        'base.get("may_fail") is True',
        'base.get("may_fail") == 2',
        _FAILS,
    ),
    (
        "onnx: weights beside the file are not in its digest",
        "host/onnx_file.py",
        "found.update(part)",
        "found.update(part[:0])",
        f"{_ONNX}::test_a_record_has_the_digest_of_the_file_and_of_its_weights",
    ),
    (
        "onnx: channels last where both orders fit",
        "host/onnx_file.py",
        "for axes in ((0, 3, 1, 2), (0, 1, 2, 3)):",
        "for axes in ((0, 1, 2, 3), (0, 3, 1, 2)):",
        f"{_ONNX}::test_votes_are_those_of_the_file",
    ),
]
