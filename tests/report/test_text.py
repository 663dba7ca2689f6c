import contextlib
import io
import math

import numpy as np
import pytest

import gdjax
from gdjax import tasks
from gdjax.report.compare import compare
from gdjax.report.rows import Budget
from gdjax.report.schedules import CONSTANT, schedules_for
from gdjax.report.statistics import Interval, mean_interval
from gdjax.report.text import number, reproduce, seconds, table, verdict

FAR = (0.8, 0.9, 1.0)


@pytest.mark.parametrize(("interval", "shown"), [
    (Interval(0.12345, 0.11345, 0.13345), "0.123 ± 0.010"),
    (Interval(12.345, 9.0, 15.69), "12.3 ± 3.3"),
    (Interval(1234.5, 1034.5, 1434.5), "1234 ± 200"),
    (Interval(0.5, 0.5, 0.5), "0.5 ± 0"),
    (Interval(0.12345678, math.nan, math.nan), "0.1235"),
    (mean_interval(np.zeros(0)), "-"),
])  # fmt: skip
def test_number(interval, shown):
    assert number(interval) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.01234, "0.012"), (12.34, "12"), (123.4, "123")])
def test_seconds(value, shown):
    assert seconds(value) == shown


@pytest.mark.parametrize(("others", "ties"), [
    ([], "the only row"),
    ([("adam", FAR, False)], "and no other row is as good"),
    ([("adam", (0.3, 0.4, 0.6), True)], "tied with adam, mini_batch(5)"),
    ([(name, (0.3, 0.4, 0.6), True) for name in "abc"] + [("d", FAR, False)], "tied with 3 of the other 4 rows"),
])  # fmt: skip
def test_verdict(made, made_row, others, ties):
    sentence = verdict(made(made_row(), *(made_row(name, losses, tied=tied) for name, losses, tied in others)), "moons")
    assert sentence.startswith("On moons, gd, mini_batch(5) at rate 0.1 is best, with a test loss of 0.40 ± 0.25 and ")
    assert f"accuracy 0.60 ± 0.25 ({ties}); it is also the cheapest way to a validation loss of 0.45, " in sentence
    assert sentence.endswith("after 40 examples (8 updates, 0.2 s).")
    assert sentence.count(". ") == 0


def test_verdict_names_what_is_cheaper_and_baselines_that_are_as_good(made, made_row):
    cheap = made_row("adam", (0.3, 0.4, 0.6), examples=np.asarray([0, 10, 20]))
    baselines = {"majority": {"loss": 0.9, "accuracy": 0.5}, "linear model": {"loss": 0.1, "accuracy": 0.9}}
    sentence = verdict(made(made_row(), cheap, baselines=baselines), "moons")
    assert "but no better than the baseline linear model; adam, mini_batch(5) is the cheapest way" in sentence
    assert "majority" not in sentence


def test_verdict_without_a_target_reached_of_one_seed_and_of_nothing(made, made_row):
    assert verdict(made(made_row(), target=0.1), "x").endswith("0.60 ± 0.25 (the only row).")
    assert "(one seed, so nothing can be said of ties)" in verdict(made(made_row(losses=(0.4,)), target=0.45), "x")
    lost = made(made_row(diverged=range(3)))
    assert verdict(lost, "x") == "On x, every run diverged: no learning rate that was tried works."


def columns(text):
    """The table's cells: {(line, header): cell}; columns begin where their header does, two spaces apart."""
    header, *lines = text.splitlines()
    starts = [i for i in range(len(header)) if header[i] != " " and header[max(0, i - 2) : i].strip() == ""]
    return [
        {header[a:b].strip(): line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)}
        | {"": line[: starts[0]].strip()}
        for line in lines
    ]


def test_table_is_aligned_and_says_everything(made, made_row):
    rows = (
        made_row(),
        made_row("adam", FAR, tied=False, diverged=[2], regime=gdjax.stochastic()),
        made_row("a_long_name", FAR, tied=None, customary_rate=math.nan),
    )
    text = table(made(*rows, baselines={"majority": {"loss": 0.693147, "accuracy": 0.5}}))
    *lines, _, _ = text.splitlines()
    best, adam, other, majority = columns("\n".join(lines))
    assert (best[""], adam[""], other[""]) == ("=", "", "?")
    assert best == {
        "": "=", "optimizer": "gd", "regime": "mini_batch(5)", "rate": "0.1", "test loss": "0.40 ± 0.25",
        "accuracy": "0.60 ± 0.25", "at customary": "0.4 at 0.01", "diverged": "0 of 3", "updates": "8",
        "examples": "40", "seconds": "0.2", "compile": "2.5", "to target": "40",
    }  # fmt: skip
    assert (adam["regime"], adam["diverged"], adam["test loss"]) == ("stochastic", "1 of 3", "0.85 ± 0.64")
    assert (other["optimizer"], other["at customary"], other["to target"]) == ("a_long_name", "-", "-")
    assert (majority["optimizer"], majority["test loss"], majority["accuracy"]) == ("(majority)", "0.6931", "0.5")
    assert not any(line != line.rstrip() for line in lines)


def test_table_shows_schedules_and_a_customary_rate_that_diverges(made, made_row):
    text = table(made(made_row(), made_row("gd", FAR, schedule="step", tied=False)))
    assert [line["schedule"] for line in columns("\n".join(text.splitlines()[:3]))] == ["constant", "step"]
    row = made_row()
    row.diverged[0, 1] = True
    assert columns("\n".join(table(made(row)).splitlines()[:2]))[0]["at customary"] == "diverged"


@pytest.fixture(scope="module")
def small_task(tmp_path_factory):
    """A regression read from a CSV, and the call that loads it."""
    path = tmp_path_factory.mktemp("task") / "table.csv"
    x = np.random.default_rng(0).normal(size=(40, 2))
    path.write_text("a,b,y\n" + "\n".join(f"{a},{b},{a - 2 * b}" for a, b in x))
    settings = {"target": "y", "hidden": ()}
    return tasks.load(str(path), **settings), f"tasks.load({str(path)!r}, target='y', hidden=())"


def scores(task, budget, regime, schedules):
    return compare(
        task.loss, task.init, task.train, optimizers={"gd": gdjax.gd}, regimes=[regime], validation=task.validation,
        test=task.test, metrics=task.metrics, budget=budget, schedules=schedules, learning_rates=[0.1], seeds=2,
    )  # fmt: skip


@pytest.mark.parametrize(("budget", "regime", "schedules"), [
    (Budget("epochs", 5), gdjax.full_batch(), ("step", "plateau")),
    (Budget("updates", 7), gdjax.mini_batch(16), ()),
    (Budget("seconds", 1e-4), gdjax.full_batch(), ("plateau",)),
])  # fmt: skip
def test_printed_lines_give_the_rows_metric(small_task, budget, regime, schedules):
    task, load = small_task
    known = schedules_for(5)
    comparison = scores(task, budget, regime, {name: known[name] for name in schedules})
    assert {row.schedule for row in comparison.rows} == {None, *schedules}
    for row in comparison.rows:
        text = reproduce(row, comparison, load, known.get(row.schedule, CONSTANT))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(text, {})
        name, value = printed.getvalue().rsplit(maxsplit=1)
        assert name == "RMSE"
        assert float(value) == pytest.approx(row.interval(row.metrics["RMSE"]).mean, rel=1e-3)
        assert len([line for line in text.splitlines() if line]) <= 12


def test_printed_lines_leave_diverged_runs_out_as_the_row_does(made, made_row):
    row = made_row(diverged=[2])
    text = reproduce(row, made(row), "task", CONSTANT)
    (seeds,) = (line for line in text.splitlines() if line.startswith("for seed in "))
    assert list(eval(seeds.removeprefix("for seed in ").removesuffix(":"))) == [0, 1]


@pytest.mark.parametrize("name", ["inverse_time", "step", "exponential", "plateau"])
def test_source_of_a_schedule_is_its_optimizer(name):
    choice = schedules_for(15)[name]
    built = choice(gdjax.momentum, 0.1)
    written = eval(choice.source.format(optimizer="momentum", rate=0.1), {"gdjax": gdjax})
    params, gradients = np.ones(3, np.float32), np.full(3, 0.5, np.float32)
    for epoch in (0, 4, 14):
        position = {"value": 1.0, "epoch": epoch, "epoch_fraction": 0.5, "epoch_value": np.float32(1.0)}
        one, two = (t.update(gradients, t.init(params), params, **position)[0] for t in (built, written))
        np.testing.assert_array_equal(one, two)
