"""The README's Python runs as printed."""

import pathlib
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

README = pathlib.Path(__file__).parent.parent / "README.md"
EXAMPLE, ALGEBRA, MODEL, DEVICES, MORE, SAVED, SWEEP, ANSWERS, LOOP = (
    "\n".join(line.removeprefix(indent) for line in code.splitlines())
    for indent, code in re.findall(r"^( *)```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
)


@pytest.fixture(scope="module")
def example():
    names = {"print": lambda *_: None}
    exec(EXAMPLE, names)
    return names


def test_first_example(example):
    losses = example["result"].history.loss
    assert losses[-1] < 0.5 * losses[0]


def test_algebra(example):
    exec(ALGEBRA, example)
    np.testing.assert_array_equal(example["adam"].init(np.zeros(2)).count, 0)


def test_saved(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(SAVED, example)
    first = example["result"]
    assert first.stopped_early
    assert (tmp_path / "runs" / "first").is_dir()
    exec(SAVED, example)
    again = example["result"]
    np.testing.assert_array_equal(again.history.validation_loss, first.history.validation_loss)
    assert len(again.history.notes) == 1


class Network(eqx.Module):
    layer: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __call__(self, x, *, key, inference):
        return self.layer(self.dropout(x, key=key, inference=inference))


def test_model_with_dropout(example):
    x = jax.random.normal(jax.random.key(0), (100, 3))
    parts = {"train": (x, jnp.argmax(x, axis=1)), "validation": (x[:20], jnp.argmax(x[:20], axis=1))}
    model = Network(eqx.nn.Linear(3, 3, key=jax.random.key(1)), eqx.nn.Dropout(0.1))
    names = {"gdjax": example["gdjax"], "jax": jax, "optax": optax, "model": model, **parts}
    exec(MODEL, names)
    history = names["result"].history
    assert history.validation_loss.shape == (30,)
    assert history.validation_loss[-1] < history.validation_loss[0]
    np.testing.assert_allclose(history.learning_rate[[0, 20, 40]], [1e-3, 5e-4, 2.5e-4], rtol=1e-6)


def test_page_of_devices():
    page = (README.parent / "docs" / "devices.md").read_text("utf-8")
    names = {"print": lambda plan: printed.append(str(plan))}
    printed = []
    for code in re.findall(r"^```python\n(.*?)```", page, re.DOTALL | re.MULTILINE):
        exec(code, names)
    assert "8 cpu devices; mini_batch(512), 20 steps an epoch" in printed[0]
    assert names["result"].history.loss.shape == (3,)


def test_many_devices(example):
    names = example | {"print": lambda plan: printed.append(str(plan))}
    printed = []
    exec(DEVICES, names)
    assert names["result"].history.loss.shape == (20,)
    assert "8 cpu devices; mini_batch(64, shards=8)" in printed[0]


def test_what_a_run_can_also_do(example):
    names = example | {"optax": optax}
    exec(MORE, names)
    result = names["result"]
    assert result.history.loss[-1] < 0.5 * result.history.loss[0]
    assert int(result.state.optimizer_state.inner[1].count) == 950
    assert not np.array_equal(result.average["a"], result.params["a"])
    assert names["half"].init(jnp.ones(2, jnp.bfloat16))


def test_sweep(example):
    lines = []
    exec(SWEEP, example | {"print": lambda *line: lines.append(line)})
    ((best, loss, _, shape),) = lines
    assert set(best) == {"learning_rate", "b1"}
    assert loss < 0.3
    assert shape == (128, 4, 20)


def test_answers(example):
    lines = []
    exec(ANSWERS, example | {"print": lambda *line: lines.append(line)})
    (rate, why), (size, because), (best, share) = lines
    assert 1e-3 < rate < 1
    assert "middle of" in why
    assert 1 <= size <= 300
    assert "gradient noise scale" in because
    assert set(best) == {"learning_rate", "b1"}
    assert share < 0.2


def test_own_loop(example):
    lines = []
    names = example | {
        "print": lambda stop, loss: lines.append((stop, float(loss))),
    }
    exec(LOOP, names)
    assert [stop for stop, _ in lines] == [100, 250, 1000]
    assert int(names["state"].epoch) == 200
    assert lines[-1][1] < lines[0][1]
