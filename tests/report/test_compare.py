import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax.report.compare import compare
from gdjax.report.rows import Budget
from gdjax.report.schedules import schedules_for

FULL, MINI = gdjax.full_batch(), gdjax.mini_batch(5)
ORDERED = gdjax.mini_batch(5, shuffle=False)
"""Compiles in a third of the time."""


def regression(rows, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3)).astype(np.float32)
    return x, x @ np.array([1, -2, 3], np.float32) + random.normal(size=rows).astype(np.float32)


def squares(w, batch):
    return jnp.mean((batch[0] @ w - batch[1]) ** 2)


def largest(w, batch):
    return jnp.max(jnp.abs(batch[0] @ w - batch[1]))


def start(key):
    return jax.random.normal(key, (3,))


TRAIN, VALIDATION, TEST = regression(22, 0), regression(10, 1), regression(11, 2)


def small(optimizers, regimes=(MINI,), *, seeds=3, epochs=4, **settings):
    settings = {"metrics": {"largest error": largest}, "validation": VALIDATION, "test": TEST} | settings
    return compare(
        squares, start, TRAIN, optimizers=optimizers, regimes=regimes, seeds=seeds, epochs=epochs, **settings
    )


def row_of(comparison, optimizer, schedule=None):
    (row,) = (row for row in comparison.rows if (row.optimizer, row.schedule) == (optimizer, schedule))
    return row


def test_one_optimizer_under_two_names_is_tied_and_its_runs_are_those_of_fit():
    comparison = small({"one": gdjax.momentum, "two": gdjax.momentum}, learning_rates=[0.03, 0.1])
    one, two = (row_of(comparison, name) for name in ("one", "two"))
    np.testing.assert_array_equal(one.test_loss, two.test_loss)
    np.testing.assert_array_equal(one.curves.validation_loss, two.curves.validation_loss)
    assert [row.tied for row in comparison.rows] == [True, True]
    assert len(np.unique(one.test_loss[one.chosen])) == 3
    for seed in range(3):
        result = gdjax.fit(
            squares, start, TRAIN, optimizer=gdjax.momentum(one.learning_rate), regime=MINI, epochs=4, seed=seed,
            validation=VALIDATION,
        )  # fmt: skip
        curves = one.curves
        np.testing.assert_allclose(one.test_loss[one.chosen, seed], squares(result.params, TEST), rtol=1e-4)
        np.testing.assert_allclose(one.metrics["largest error"][one.chosen, seed], largest(result.params, TEST), 1e-4)
        validation = result.history.validation_loss
        np.testing.assert_allclose(curves.validation_loss[one.chosen, seed, 1:], validation, rtol=1e-4)
    first = squares(start(jax.random.split(jax.random.key(2), 3)[0]), VALIDATION)
    np.testing.assert_allclose(one.curves.validation_loss[one.chosen, 2, 0], first, rtol=1e-5)


def distance(w, batch):
    return jnp.mean((w - batch) ** 2)


def scalar(optimizers, *, train=1.0, validation=1.0, test=1.0, w=0.0, **settings):
    """One full-batch step from `w` towards `train`: gd at rate r ends at w + 2r (train − w)."""
    data, validation, test = (np.full(4, v, np.float32) for v in (train, validation, test))
    settings = {"seeds": 1, "epochs": 1, "regimes": [FULL]} | settings
    init = w if callable(w) else lambda key: jnp.asarray(w)
    return compare(distance, init, data, optimizers=optimizers, validation=validation, test=test, **settings)


def test_validation_chooses_and_test_reports():
    (row,) = scalar(
        {"gd": (gdjax.gd, 0.5)},
        validation=0.2,
        test=1.0,
        learning_rates=[0.5, 0.1],
        metrics={"loss²": lambda w, batch: w},
    ).rows
    assert row.learning_rate == 0.1
    assert row.interval(row.test_loss).mean == pytest.approx(0.8**2)
    assert row.interval(row.metrics["loss²"]).mean == pytest.approx(0.2)
    assert row.validation()[-1] == pytest.approx(0, abs=1e-12)
    assert (row.customary_rate, row.customary_loss()) == (0.5, 0.0)
    assert row.tied


def test_grid_is_widened_at_an_edge_only():
    comparison = scalar({"inside": (gdjax.gd, 0.3), "low": (gdjax.gd, 1e-5), "high": (gdjax.gd, 1e5)})
    inside, low, high = (row_of(comparison, name) for name in ("inside", "low", "high"))
    half_decades = 10.0 ** (np.arange(-3, 4) / 2)
    np.testing.assert_allclose(inside.curves.rates, 0.3 * half_decades, rtol=1e-3)
    np.testing.assert_allclose(low.curves.rates, 1e-5 * 10.0 ** (np.arange(-3, 11) / 2), rtol=1e-3)
    np.testing.assert_allclose(high.curves.rates, 1e5 * 10.0 ** (np.arange(-17, 4) / 2), rtol=1e-3)
    assert inside.learning_rate == 0.3
    assert [row.learning_rate for row in (low, high)] == pytest.approx([0.3162, 0.3162])
    for row in comparison.rows:
        expected = (1 - 2 * np.float64(row.curves.rates)) ** 2
        np.testing.assert_allclose(row.test_loss[:, 0], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(row.curves.validation_loss[:, 0, -1], row.test_loss[:, 0], rtol=1e-6)
    assert high.runs == 21


def test_a_run_that_flies_away_in_its_last_update_diverged():
    (row,) = scalar({"gd": gdjax.gd}, learning_rates=[0.3, 1e3]).rows
    np.testing.assert_allclose(row.test_loss[:, 0], [0.16, 1999.0**2], rtol=1e-4)
    assert list(row.diverged[:, 0]) == [False, True]


def quartic(w, batch):
    return jnp.mean(batch) * w**4 / 4


def near_or_far(key):
    """0.5, or 8 from where gd at a rate above 2/8² flies away."""
    return jnp.where(jax.random.uniform(key) < 0.5, 0.5, 8.0)


def test_diverged_runs_are_counted_never_averaged_and_never_chosen():
    ones = np.ones(2, np.float32)
    comparison = compare(
        quartic, near_or_far, ones, validation=ones, test=ones, regimes=[FULL], seeds=6, epochs=8,
        optimizers={"gd": (gdjax.gd, 0.5), "fast": (lambda rate: gdjax.gd(100 * rate), 0.01)},
        learning_rates=[0.01, 0.5],
    )  # fmt: skip
    gd, fast = (row_of(comparison, name) for name in ("gd", "fast"))
    starts = np.asarray([near_or_far(jax.random.split(jax.random.key(seed), 3)[0]) for seed in range(6)])
    far = starts == 8
    assert 0 < far.sum() < 6
    np.testing.assert_array_equal(gd.diverged, [[False] * 6, far])
    assert (gd.learning_rate, gd.diverged_runs) == (0.01, 0)  # though 0.5 has the lower loss where it has one
    assert gd.test_loss[1, ~far].mean() < gd.test_loss[0].mean()
    assert gd.customary_loss() == math.inf
    assert (fast.learning_rate, fast.diverged_runs) == (0.01, far.sum())
    assert fast.interval(fast.test_loss).mean == pytest.approx(fast.test_loss[0, ~far].mean())
    np.testing.assert_array_equal(np.isnan(fast.losses()), far)
    assert np.isfinite(fast.validation()).all()
    # Diverged runs count first: the low mean of those that are left is no merit.
    assert fast.interval(fast.test_loss).mean < gd.interval(gd.test_loss).mean
    assert [(row.optimizer, row.tied) for row in comparison.rows] == [("gd", True), ("fast", False)]


def test_all_diverged():
    comparison = scalar({"gd": gdjax.gd}, learning_rates=[1e10, 1e30], seeds=2, epochs=3)
    (row,) = comparison.rows
    assert row.diverged.all()
    assert np.isnan([row.interval(row.test_loss).mean, row.validation()[-1]]).all()
    assert set(row.cost(comparison.target).values()) == {math.inf}


def test_budget_in_updates_counts_every_example():
    regimes = [ORDERED, gdjax.mini_batch(5, shuffle=False, drop_remainder=True)]
    whole, dropped = sorted(
        small({"gd": gdjax.gd}, regimes, budget=Budget("updates", 8), learning_rates=[0.1], seeds=1).rows,
        key=lambda row: row.regime.drop_remainder,
    )
    assert list(whole.curves.updates) == list(dropped.curves.updates) == list(range(9))
    assert list(whole.examples) == [0, 5, 10, 15, 20, 22, 27, 32, 37]  # 22 rows: 5, 5, 5, 5, 2
    assert list(dropped.examples) == [5 * i for i in range(9)]
    run = gdjax.training(squares, optimizer=gdjax.gd(0.1), regime=ORDERED)
    state, _ = run.steps(run.init(start, 0), tuple(map(jnp.asarray, TRAIN)), 8, capacity=8)
    np.testing.assert_allclose(whole.test_loss[0, 0], squares(state.params, TEST), rtol=1e-4)


def test_budget_in_epochs_and_small_record(monkeypatch):
    plain = small(
        {"gd": gdjax.gd}, [gdjax.mini_batch(3, shuffle=False)], learning_rates=[0.1], budget=Budget("updates", 40)
    ).best
    assert (plain.curves.updates[-1], len(plain.curves.updates)) == (40, 16)
    monkeypatch.setattr("gdjax.report.compare.RECORD_STEPS", 1)  # 22 rows: at least the 8 steps of an epoch
    monkeypatch.setattr("gdjax.report.rows.POINTS", 2)
    pieces = small(
        {"gd": gdjax.gd}, [gdjax.mini_batch(3, shuffle=False)], learning_rates=[0.1], budget=Budget("updates", 40)
    ).best
    np.testing.assert_array_equal(plain.test_loss, pieces.test_loss)
    assert list(pieces.curves.updates) == [0, 20, 40]
    assert list(pieces.examples) == [0, 22 * 2 + 4 * 3, 22 * 5]


def test_budget_in_seconds_is_that_of_one_run(monkeypatch):
    monkeypatch.setattr("gdjax.report.compare.seconds_per_update", lambda planned: 0.01)
    row = small({"gd": gdjax.gd}, [FULL], budget=Budget("seconds", 0.2), learning_rates=[0.1, 0.2]).best
    assert (row.curves.updates[-1], row.examples[-1]) == (20, 20 * 22)


def test_seconds_are_measured():
    row = small({"gd": gdjax.gd}, [FULL], budget=Budget("seconds", 1e-3), learning_rates=[0.1, 0.2]).best
    assert (np.diff(row.curves.updates) > 0).all()
    assert row.seconds == pytest.approx(row.curves.seconds / 6)
    assert row.seconds > 0
    assert row.compile_seconds > 0


def test_schedules_run_on_the_best_cell_of_each_optimizer():
    schedules = {name: schedules_for(4)[name] for name in ("step", "plateau")}
    comparison = small({"gd": gdjax.gd}, [FULL, ORDERED], learning_rates=[0.02, 0.05], schedules=schedules, seeds=2)
    constant = [row for row in comparison.rows if row.schedule is None]
    best = min(constant, key=lambda row: row.validation()[-1])
    assert best.regime == ORDERED
    scheduled = [row for row in comparison.rows if row.schedule is not None]
    assert sorted(row.name for row in scheduled) == [f"gd with {name}, {ORDERED}" for name in ("plateau", "step")]
    step = row_of(comparison, "gd", "step")
    rates = gdjax.schedules.per_epoch(gdjax.schedules.step_decay(step.learning_rate, 1))
    result = gdjax.fit(squares, start, TRAIN, optimizer=gdjax.gd(rates), regime=ORDERED, epochs=4, seed=1)
    np.testing.assert_allclose(step.test_loss[step.chosen, 1], squares(result.params, TEST), rtol=1e-4)
    last = [row.validation()[-1] for row in comparison.rows]
    assert last == sorted(last)
    assert comparison.target == pytest.approx(1.1 * last[0])


def test_other_factories_take_their_customary_rate():
    optimizers = {
        "optax": (optax.sgd, 0.2),
        "gd": (gdjax.gd, 0.2),
    }
    one, two = small(optimizers, [FULL], seeds=2).rows
    assert one.customary_rate == two.customary_rate == 0.2
    np.testing.assert_allclose(one.test_loss, two.test_loss, rtol=1e-4)


def test_given_rates_need_no_customary_one_and_a_loss_may_ask_for_a_key():
    def noisy(w, batch, *, key, training):
        noise = jax.random.normal(key, batch[1].shape) if training else 0.0
        return squares(w, (batch[0], batch[1] + noise))

    def run(loss_fn):
        return compare(
            loss_fn, start, TRAIN, optimizers={"mine": optax.sgd}, regimes=[FULL], validation=VALIDATION, test=TEST,
            seeds=2, epochs=3, learning_rates=[0.1, 0.05],
        ).best  # fmt: skip

    row = run(noisy)
    assert list(row.curves.rates) == [0.05, 0.1]
    assert math.isnan(row.customary_rate)
    assert math.isnan(row.customary_loss())
    for seed in range(2):
        optimizer = gdjax.gd(row.learning_rate)
        params = gdjax.fit(noisy, start, TRAIN, optimizer=optimizer, regime=FULL, epochs=3, seed=seed).params
        np.testing.assert_allclose(row.test_loss[row.chosen, seed], squares(params, TEST), rtol=1e-4)


def test_cost_is_that_of_the_first_point_at_the_target(made_row):
    row = made_row(losses=(0.2, 0.4))  # mean validation losses 1, 0.65, 0.3 after 0, 4, 8 updates
    assert row.seconds == pytest.approx(1.8 / 6)
    assert row.cost(0.31) == {"updates": 8, "examples": 40, "seconds": pytest.approx(0.3)}
    assert row.cost(0.7) == {"updates": 4, "examples": 20, "seconds": pytest.approx(0.15)}
    assert row.cost(1.5)["updates"] == 0
    assert set(row.cost(0.29).values()) == {math.inf}


@pytest.mark.parametrize(("settings", "argument", "value"), [
    ({"optimizers": {"mine": optax.sgd}}, "optimizers['mine']", "sgd"),
    ({"optimizers": {"mine": 0.1}}, "optimizers['mine']", "0.1"),
    ({"optimizers": {"mine": (optax.sgd, -1)}}, "optimizers['mine']", "-1"),
    ({"optimizers": {}}, "optimizers", "{}"),
    ({"regimes": []}, "regimes", "[]"),
    ({"regimes": ["full"]}, "regimes[0]", "'full'"),
    ({"seeds": 0}, "seeds", "0"),
    ({"epochs": 0}, "epochs", "0"),
    ({"epochs": 1.5}, "epochs", "1.5"),
    ({"learning_rates": [0.1, -1]}, "learning_rates", "-1"),
    ({"learning_rates": []}, "learning_rates", "[]"),
    ({"metrics": {"loss": largest}}, "metrics", "'loss'"),
    ({"validation": (VALIDATION[0], VALIDATION[1][:-1])}, "validation[1]", "9"),
    ({"validation": None}, "validation", "None"),
    ({"test": None}, "test", "None"),
    ({"test": (TEST[0] * np.nan, TEST[1])}, "test[0]", "NaN"),
])  # fmt: skip
def test_errors_before_anything_is_compiled(settings, argument, value, monkeypatch):
    monkeypatch.setattr("gdjax.report.compare.plans", lambda *_, **__: pytest.fail("compiled"))
    with pytest.raises((ValueError, TypeError)) as error:
        small(**{"optimizers": {"gd": gdjax.gd}, "regimes": [FULL]} | settings)
    message = str(error.value)
    assert f"`{argument}`" in message
    assert value in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("unit", "amount", "value"),
    [("updates", 0, "0"), ("updates", math.inf, "inf"), ("epochs", 0.5, "0.5"), ("minutes", 3, "'minutes'")],
)
def test_a_budget_is_a_positive_amount_of_a_known_unit(unit, amount, value):
    with pytest.raises((ValueError, TypeError), match=f"^`budget` must .*got {value}"):
        Budget(unit, amount)


def below_zero(w, batch):
    """A loss without a lower bound of 0, such as a negative log-likelihood."""
    return distance(w, batch) - 1000


def test_losses_may_be_negative():
    ones = np.ones(4, np.float32)
    comparison = compare(
        below_zero, lambda key: jnp.asarray(0.0), ones, optimizers={"gd": gdjax.gd}, regimes=[FULL], validation=ones,
        test=ones, seeds=1, epochs=3, learning_rates=[0.01, 0.4],
    )  # fmt: skip
    (row,) = comparison.rows
    assert not row.diverged.any()
    assert row.learning_rate == 0.4
    assert row.point_of(comparison.target) is not None


def test_a_model_with_functions_among_its_leaves():
    def init(key):
        return {"w": start(key), "activation": jnp.tanh}

    def loss(params, batch):
        return jnp.mean((params["activation"](batch[0] @ params["w"]) - batch[1]) ** 2)

    settings = {"validation": VALIDATION, "test": TEST, "seeds": 2, "epochs": 3, "learning_rates": [0.1]}
    (row,) = compare(loss, init, TRAIN, optimizers={"gd": gdjax.gd}, regimes=[FULL], **settings).rows
    params = gdjax.fit(loss, init, TRAIN, optimizer=gdjax.gd(0.1), regime=FULL, epochs=3, seed=1).params
    np.testing.assert_allclose(row.test_loss[0, 1], loss(params, TEST), rtol=1e-4)


@pytest.mark.long
def test_a_hundred_comparisons_of_two_names_and_of_a_real_difference():
    tie = difference = 0
    for seed in range(100):
        parts = [regression(rows, 3 * seed + i) for i, rows in enumerate((30, 20, 30))]
        optimizers = {"one": gdjax.gd, "two": gdjax.gd, "slow": lambda rate: gdjax.gd(rate / 10)}
        comparison = compare(
            squares, start, parts[0], optimizers=optimizers, regimes=[ORDERED], validation=parts[1], test=parts[2],
            epochs=5, seeds=5, learning_rates=[0.03],
        )  # fmt: skip
        one, two, slow = (row_of(comparison, name) for name in ("one", "two", "slow"))
        tie += one.tied and two.tied and np.array_equal(one.losses(), two.losses())
        difference += slow.tied is False
    assert tie >= 90, tie
    assert difference >= 90, difference


def test_rates_and_gradient_norms_are_those_of_fit():
    """Also where the grid was widened: the first one, around 1e-5, has its best at the upper edge."""
    comparison = small(
        {"gd": (gdjax.gd, 1e-5)}, regimes=[ORDERED], seeds=2, schedules={"step": schedules_for(4)["step"]}
    )

    def norm(w, gradients, updates, state):
        return {"norm": jnp.sqrt(jnp.sum(gradients**2))}

    for row in comparison.rows:
        curves = row.curves
        assert len(curves.rates) > 7
        assert np.isnan(curves.learning_rate[..., 0]).all()
        assert np.isnan(curves.gradient_norm[..., 0]).all()
        for place in (0, len(curves.rates) - 1):
            rate = float(curves.rates[place])
            optimizer = gdjax.gd(rate) if row.schedule is None else schedules_for(4)["step"](gdjax.gd, rate)
            one = gdjax.fit(
                squares, start, TRAIN, optimizer=optimizer, regime=ORDERED, epochs=4, seed=1, record=norm,
                non_finite="keep",
            )  # fmt: skip
            np.testing.assert_allclose(curves.learning_rate[place, 1, 1:], one.history.learning_rate[4::5], rtol=1e-6)
            means = one.history.recorded["norm"].reshape(4, 5).mean(axis=1)
            np.testing.assert_allclose(curves.gradient_norm[place, 1, 1:], means, rtol=1e-4)
