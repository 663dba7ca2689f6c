import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from gdjax import tasks

ROWS = 90
PARTS = ("train", "validation", "test")


def table():
    """A small Titanic: the target is not last; `rank` rises with the row, so that it tells rows apart."""
    i = np.arange(ROWS)
    random = np.random.default_rng(0)
    return pd.DataFrame({
        "PassengerId": i + 1,
        "rank": i * 0.5,
        "Survived": (i % 3 == 0).astype(int),
        "Name": [f"Person, Mr. {n}" for n in i],
        "Sex": np.where(i % 2, "male", "female"),
        "Age": np.where(i % 7 == 0, np.nan, random.lognormal(3, 1, ROWS)),
        "Cabin": [None if n % 2 else "ABC"[n % 3] for n in i],
        "alone": i % 5 == 0,
    })  # fmt: skip


def load(folder, frame, target="Survived", **settings):
    path = folder / "titanic.csv"
    frame.to_csv(path, index=False)
    return tasks.load(str(path), target=target, **settings)


def rows_of(task):
    """Row numbers of the three parts, told by the column `rank` (the first one kept)."""
    ranks = np.concatenate([np.asarray(getattr(task, part)[0][:, 0]) for part in PARTS])
    rows = np.argsort(np.argsort(ranks))
    return dict(
        zip(PARTS, np.split(rows, np.cumsum([len(getattr(task, part)[1]) for part in PARTS])[:-1]), strict=True)
    )


def test_split_is_disjoint_stratified_and_aligned(tmp_path):
    frame = table()
    task = load(tmp_path, frame)
    rows = rows_of(task)
    assert [len(rows[part]) for part in PARTS] == [54, 18, 18]
    assert sorted(np.concatenate([*rows.values()])) == list(range(ROWS))
    for part in PARTS:
        y = np.asarray(getattr(task, part)[1])
        np.testing.assert_array_equal(y, frame["Survived"].to_numpy()[rows[part]])
        assert y.mean() == pytest.approx(1 / 3, abs=1e-6)


def test_split_is_a_function_of_the_seed(tmp_path):
    first, again, other = (load(tmp_path, table(), seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.train[0], again.train[0])
    assert set(rows_of(first)["test"]) != set(rows_of(other)["test"])


def test_encoding_is_the_formula_fitted_on_training_rows(tmp_path):
    frame = table()
    task = load(tmp_path, frame)
    rows = rows_of(task)
    train = frame.iloc[rows["train"]]

    def standard(column):
        return lambda part: (column(part) - column(train).mean()) / column(train).std(ddof=0)

    columns = [
        standard(lambda part: part["rank"]),
        standard(lambda part: part["Age"].fillna(train["Age"].median())),
        standard(lambda part: part["alone"].astype(float)),
        standard(lambda part: part["Age"].isna().astype(float)),
        *(lambda part, word=word: part["Sex"] == word for word in ("female", "male")),
        *(lambda part, word=word: part["Cabin"].fillna("(missing)") == word for word in ("(missing)", "A", "B", "C")),
    ]
    for part in PARTS:
        expected = np.stack([column(frame.iloc[rows[part]]).to_numpy(float) for column in columns], axis=1)
        x = getattr(task, part)[0]
        assert x.dtype == jnp.float32
        np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_other_rows_never_reach_the_training_matrix(tmp_path, part):
    frame = table()
    task = load(tmp_path, frame)
    rows = rows_of(task)[part]
    frame.loc[rows, "rank"] = 1e6
    frame.loc[rows, "Age"] = -1e6
    frame.loc[rows[:3], "Age"] = np.nan
    frame.loc[rows, ["Sex", "Cabin"]] = "never seen"
    changed = load(tmp_path, frame)
    np.testing.assert_array_equal(task.train[0], changed.train[0])
    np.testing.assert_array_equal(getattr(changed, part)[0][:, -6:], 0)
    assert np.isfinite(getattr(changed, part)[0]).all()


def test_regression_target_is_standardized_by_training_rows(tmp_path):
    frame = table().drop(columns="Survived").assign(fare=lambda t: 100 + 7.3 * t["rank"] ** 2)
    task = load(tmp_path, frame, "fare")
    rows = rows_of(task)
    own = frame["fare"].to_numpy()
    assert task.target_mean == pytest.approx(own[rows["train"]].mean())
    assert task.target_scale == pytest.approx(own[rows["train"]].std())
    for part in PARTS:
        y = np.asarray(getattr(task, part)[1])
        np.testing.assert_allclose(y * task.target_scale + task.target_mean, own[rows[part]], rtol=1e-4, atol=1e-2)


def test_what_is_left_out_is_said_by_name(tmp_path):
    frame = table().assign(empty=np.nan, same=3, Name=[f"Person {i}" for i in range(ROWS)])
    frame = pd.concat([frame] * 2, ignore_index=True).assign(
        PassengerId=np.arange(2 * ROWS) + 1, Name=[f"Person {i}" for i in range(2 * ROWS)]
    )
    assert load(tmp_path, frame).notes == (
        "'Survived' holds integers of 2 values: taken as classes (--task regression overrides).",
        "Column 'PassengerId' is left out: it looks like an identifier.",
        "Column 'Name' is left out: it is text of 108 values.",
        "Column 'empty' is left out: it is empty.",
        "Column 'same' is left out: it has one value.",
    )


@pytest.mark.parametrize(("values", "task", "kind", "classes"), [
    (["b", "a", "c"], None, "classification", ("a", "b", "c")),
    ([True, False, True], None, "classification", ("False", "True")),
    ([0, 1, 2], None, "classification", ("0", "1", "2")),
    ([0, 1, 2], "regression", "regression", ()),
    ([0.5, 1.5, 2.5], None, "regression", ()),
    ([0.5, 1.5, 2.5], "classification", "classification", ("0.5", "1.5", "2.5")),
])  # fmt: skip
def test_kind_follows_the_target_or_the_user(tmp_path, values, task, kind, classes):
    loaded = load(tmp_path, table().assign(Survived=values * (ROWS // 3)), task=task)
    assert (loaded.kind, loaded.classes) == (kind, classes)
    assert loaded.init(jax.random.key(0))[-1]["b"].shape == (len(classes) or 1,)
    assert loaded.train[1].dtype == (jnp.int32 if classes else jnp.float32)


def test_fewer_rows_drawn_by_the_seed(tmp_path):
    task, again, other = (load(tmp_path, table(), rows=30, seed=seed) for seed in (0, 0, 1))
    assert [len(getattr(task, part)[1]) for part in PARTS] == [18, 6, 6]
    np.testing.assert_array_equal(task.train[0], again.train[0])
    assert not np.array_equal(task.train[0], other.train[0])
    assert len(load(tmp_path, table(), rows=1000).train[1]) == 54


def test_a_class_too_small_to_stratify_is_said(tmp_path):
    task = load(tmp_path, table().assign(Survived=["rare", *["common"] * (ROWS - 1)]))
    assert "A class of 'Survived' has 1 rows: the split is not stratified." in task.notes


@pytest.mark.parametrize(("change", "settings", "argument", "value"), [
    pytest.param({}, {"target": "survived"}, "target", "'survived'", id="no such target"),
    pytest.param({}, {"task": "ranking"}, "task", "'ranking'", id="no such task"),
    pytest.param({}, {"rows": 9}, "rows", "9", id="too few rows asked for"),
    pytest.param({}, {"rows": 20.5}, "rows", "20.5", id="rows no integer"),
    pytest.param({}, {"seed": -1}, "seed", "-1", id="negative seed"),
    pytest.param({}, {"seed": 2**32}, "seed", str(2**32), id="seed too large"),
    pytest.param({}, {"hidden": (8, 0)}, "hidden", "0", id="empty layer"),
    pytest.param({"Survived": "yes"}, {}, "target", "1", id="one class"),
    pytest.param({"Survived": [0.5, np.inf] * (ROWS // 2)}, {}, "target", "'Survived'", id="infinite target"),
    pytest.param({"Survived": ["a", "b"] * (ROWS // 2)}, {"task": "regression"}, "task", "regression", id="text"),
    pytest.param({"Survived": np.arange(ROWS)}, {"task": "classification"}, "task", "90 values", id="all classes"),
    pytest.param({"Survived": [f"t{i}" for i in range(ROWS)]}, {}, "task|target", "90 values", id="many words"),
])  # fmt: skip
def test_errors(tmp_path, change, settings, argument, value):
    with pytest.raises((ValueError, TypeError), match=rf"^`({argument})` must .*, got .*\.$") as error:
        load(tmp_path, table().assign(**change), **settings)
    assert value in str(error.value)


@pytest.mark.parametrize(("data", "settings", "argument", "value"), [
    ("digit", {}, "data", "'digit'"),
    ("digits", {"target": "x"}, "target", "'x'"),
    ("digits", {"task": "regression"}, "task", "regression"),
])  # fmt: skip
def test_errors_of_built_in_data(data, settings, argument, value):
    with pytest.raises(ValueError, match=rf"^`{argument}` must .*, got .*\.$") as error:
        tasks.load(data, **settings)
    assert value in str(error.value)


def test_too_few_rows_and_no_column(tmp_path):
    with pytest.raises(ValueError, match=r"^`data` must have at least 10 rows to split, got 9\.$"):
        load(tmp_path, table()[:9])
    with pytest.raises(ValueError, match=r"^`data` must have a column to learn from, got none.*'Name' is left out"):
        load(tmp_path, pd.concat([table()[["Name", "Survived"]].assign(Name=f"{i}" + table()["Name"]) for i in "ab"]))


def identity(task, scores):
    """Parameters and inputs of a network without hidden layers that answers `scores` [rows, out]."""
    x = jnp.asarray(scores, jnp.float32)
    return [{"w": jnp.eye(x.shape[1]), "b": jnp.zeros(x.shape[1])}], x


@pytest.mark.parametrize("present", [(0, 1, 2), (0, 2)])
def test_classification_metrics_are_sklearns(tmp_path, present):
    task = load(tmp_path, table().assign(Survived=["a", "b", "c"] * (ROWS // 3)), hidden=())
    random = np.random.default_rng(1)
    scores, y = random.normal(size=(50, 3)), random.choice(present, 50, p=None if len(present) == 3 else (0.8, 0.2))
    if len(present) == 2:
        scores[:, 1] -= 100  # sklearn warns of a class that is answered and never right
    params, x = identity(task, scores)
    batch, answers = (x, jnp.asarray(y, jnp.int32)), scores.argmax(axis=1)
    assert list(task.metrics) == ["balanced accuracy", "accuracy"]
    oracle = {
        "balanced accuracy": sklearn.metrics.balanced_accuracy_score(y, answers),
        "accuracy": sklearn.metrics.accuracy_score(y, answers),
    }
    for name, metric in task.metrics.items():
        np.testing.assert_allclose(metric(params, batch), oracle[name], rtol=1e-6)
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        task.loss(params, batch), sklearn.metrics.log_loss(y, probabilities, labels=[0, 1, 2]), rtol=1e-5
    )


def test_regression_metrics_are_sklearns(tmp_path):
    task = load(tmp_path, table().assign(Survived=np.arange(ROWS) * 2.5 + 1000), hidden=())
    random = np.random.default_rng(1)
    answers, y = random.normal(size=(2, 50, 1))
    params, x = identity(task, answers)
    batch = (x, jnp.asarray(y[:, 0], jnp.float32))
    own_y, own_answers = (v[:, 0] * task.target_scale + task.target_mean for v in (y, answers))
    assert list(task.metrics) == ["RMSE", "R²"]
    np.testing.assert_allclose(
        task.rmse(params, batch), sklearn.metrics.root_mean_squared_error(own_y, own_answers), rtol=1e-5
    )
    np.testing.assert_allclose(task.r_squared(params, batch), sklearn.metrics.r2_score(own_y, own_answers), rtol=1e-5)


def test_text_that_looks_like_numbers_is_announced_and_huge_numbers_are_refused(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("price;x;y\n" + "\n".join(f'"{i % 7},5";{i}.5;{i}.25' for i in range(40)))
    task = tasks.load(str(path), target="y")
    assert any("Column 'price' is taken as text, though it looks like numbers" in note for note in task.notes)
    path.write_text("x,y\n" + "\n".join(f"{i}.5,{i}e200" for i in range(40)))
    with pytest.raises(ValueError, match=r"`data` must hold numbers within ±1e\+18, got larger ones in 'y'"):
        tasks.load(str(path), target="y")
