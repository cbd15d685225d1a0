"""Planted faults of attacks along rays and of their audit: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/attacks"

_RAYS = "tests/attacks/test_rays.py"
_NEAREST = f"{_RAYS}::test_the_nearest_image_on_a_ray_is_found_to_a_share_of_the_way"
_PARTS = "tests/test_attack.py::test_parts_are_searched_in_turn_and_what_is_found_not_at_larger_radii"

_BROKEN = "tests/benchmarks/test_attacks.py::test_a_pair_is_broken_where_another_class_is_nearer_than_any_record_claims"

FAULTS = [
    (
        "attacks, campaign: one record alone is checked",
        "../../benchmarks/attacks.py",
        "for c in claims(workdir) for i in audit",
        "for c in claims(workdir)[:1] for i in audit",
        _BROKEN,
    ),
    (
        "attacks, campaign: images without a radius count",
        "../../benchmarks/attacks.py",
        "pairs=int((radius > 0).sum())",
        "pairs=int((radius >= 0).sum())",
        _BROKEN,
    ),
    (
        "attacks, rays: the half that keeps its class is searched",
        "rays.py",
        "return (jnp.where(lost, low, middle), jnp.where(lost, middle, high)), None",
        "return (jnp.where(lost, middle, low), jnp.where(lost, high, middle)), None",
        _NEAREST,
    ),
    (
        "attacks, rays: the farthest image stays the best",
        "rays.py",
        "(reach < best.reach)",
        "(reach > best.reach)",
        _NEAREST,
    ),
    (
        "attacks, rays: only the end of a ray is looked at",
        "rays.py",
        "jnp.arange(1, SHARES + 1, dtype=image.dtype) / SHARES",
        "jnp.arange(1, SHARES + 1, dtype=image.dtype) * 0 + 1",
        f"{_RAYS}::test_a_class_in_the_middle_of_a_ray_is_seen",
    ),
    (
        "attacks, rounding: pixels are not rounded in other ways",
        "rounding.py",
        "better = margin > top",
        "better = margin < top",
        f"{_RAYS}::test_roundings_break_a_certificate_without_slack_and_none_with_it",
    ),
    (
        "attacks, audit: what was found is searched again at larger radii",
        "audit.py",
        "(predicted >= 0) & np.isnan(distance) & (eps > 0)",
        "(predicted >= 0) & (eps > 0)",
        _PARTS,
    ),
    (
        "attacks, audit: a part is filled up with images of its own",
        "audit.py",
        "these = rows[start : start + size]",
        "these = rows[start : start + 1]",
        _PARTS,
    ),
    (
        "attacks, audit: a found image stays where the search left it",
        "audit.py",
        "found = _inside(found, pixels, eps * (1 - less), model.norm)",
        "found = np.asarray(found, np.float64)",
        "tests/certificates/test_exact_cases.py::test_an_attack_that_leaves_its_ball_is_taken_back_into_it",
    ),
]
