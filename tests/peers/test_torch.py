"""`gdjax.presets.torch` beside PyTorch's own optimizers, running."""

import inspect
import math

import jax
import numpy as np
import pytest
import torch
from peers.metrics import METRICS, rates_on_plateau
from peers.pairs import all_pairs
from peers.problems import PROBLEMS, STEPS, assert_same_path, flat, path

import gdjax
from gdjax.presets import torch as presets

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64")]

BOUND = 1e-10


@pytest.fixture(autouse=True, scope="module")
def double():
    """One thread, and float64 also for what PyTorch keeps beside the parameters, as NAdam's product of momenta."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


def _anything(row):
    return True


def _tame(row):
    """Without memory of the squares the step is m / |g|, which is no path where g passes zero; g / |g| is one."""
    return row["beta2"] > 0 or row["beta1"] == 0


_BETAS = {"beta1": (0.9, 0.0), "beta2": (0.999, 0.0, 0.98)}
_EPS = {"eps": (1e-8, 0, 1.0)}
_DECAY = {"weight_decay": (0, 0.1)}
_MAXIMIZE = {"maximize": (False, True)}
_DECOUPLED = {"decoupled_weight_decay": (False, True)}

# Name -> (PyTorch's class, learning rates of the problems, options, which rows may be).
OPTIMIZERS = {
    "sgd": (
        torch.optim.SGD,
        {"network": 0.02, "rosenbrock": 1e-4},
        {"momentum": (0, 0.9, 0.5), "dampening": (0, 0.3), **_DECAY, "nesterov": (False, True), **_MAXIMIZE},
        lambda row: not row["nesterov"] or (row["momentum"] > 0 and row["dampening"] == 0),  # PyTorch's own rule
    ),
    "adam": (
        torch.optim.Adam,
        {"network": 0.003, "rosenbrock": 0.002},
        {**_BETAS, **_EPS, **_DECAY, "amsgrad": (False, True), **_MAXIMIZE, **_DECOUPLED},
        _tame,
    ),
    "adamw": (
        torch.optim.AdamW,
        {"network": 0.003, "rosenbrock": 0.002},
        {**_BETAS, **_EPS, "weight_decay": (1e-2, 0, 0.3), "amsgrad": (False, True), **_MAXIMIZE},
        _tame,
    ),
    "adamax": (
        torch.optim.Adamax,
        {"network": 0.003, "rosenbrock": 0.002},
        {**_BETAS, **_EPS, **_DECAY, **_MAXIMIZE},
        _tame,
    ),
    "nadam": (
        torch.optim.NAdam,
        {"network": 0.003, "rosenbrock": 0.002},
        {**_BETAS, **_EPS, **_DECAY, "momentum_decay": (4e-3, 0, 0.1), **_DECOUPLED, **_MAXIMIZE},
        _tame,
    ),
    "radam": (
        torch.optim.RAdam,
        {"network": 0.003, "rosenbrock": 5e-4},
        {**_BETAS, **_EPS, **_DECAY, **_DECOUPLED, **_MAXIMIZE},
        _tame,
    ),
    "rmsprop": (
        torch.optim.RMSprop,
        {"network": 0.003, "rosenbrock": 0.0004},
        {
            "alpha": (0.99, 0.0, 0.95),
            **_EPS,
            **_DECAY,
            "momentum": (0, 0.9, 0.5),
            "centered": (False, True),
            **_MAXIMIZE,
        },
        # Without memory: m / |g| as above, and g² − g² = 0 under the root.
        lambda row: row["alpha"] > 0 or (row["momentum"] == 0 and not row["centered"]),
    ),
    "adagrad": (
        torch.optim.Adagrad,
        {"network": 0.1, "rosenbrock": 0.05},
        {"lr_decay": (0, 0.01), **_DECAY, "initial_accumulator_value": (0, 0.5), "eps": (1e-10, 0, 1e-2), **_MAXIMIZE},
        _anything,
    ),
    "adadelta": (
        torch.optim.Adadelta,
        {"network": 0.2, "rosenbrock": 0.03},
        {"rho": (0.9, 0.0, 0.5), "eps": (1e-6, 1e-4), **_DECAY, **_MAXIMIZE},  # with ε = 0 it never moves
        lambda row: row["rho"] > 0 or row["eps"] == 1e-6,  # without memory a root is steep; this one is hardly met
    ),
}

ROWS = [
    pytest.param(name, problem, row, id=f"{name}-{problem}-{number}")
    for name, (_, _, options, allowed) in OPTIMIZERS.items()
    for problem in PROBLEMS
    for number, row in enumerate(all_pairs(options, allowed))
]


def settings(row):
    """A row as keywords of both sides."""
    row = dict(row)
    return row | {"betas": (row.pop("beta1"), row.pop("beta2"))} if "beta1" in row else row


def peers_path(make, problem, scheduler=None, *, maximize=False):
    """PyTorch's parameters after every update, (STEPS, size)."""
    start, loss = PROBLEMS[problem]
    params = {name: torch.nn.Parameter(torch.tensor(leaf)) for name, leaf in start.items()}
    optimizer = make(params.values())
    schedule = scheduler and scheduler(optimizer)
    seen = []
    for step in range(STEPS):
        optimizer.zero_grad()
        ((-1 if maximize else 1) * loss(params, step, torch)).backward()
        optimizer.step()
        if schedule:
            schedule.step()
        seen.append(flat(torch, params).detach())
    return torch.stack(seen).numpy()


@pytest.mark.parametrize(("name", "problem", "row"), ROWS)
def test_the_path_is_pytorchs(name, problem, row):
    make, rates, _, _ = OPTIMIZERS[name]
    numbers = {"lr": rates[problem], **settings(row)}
    peers = peers_path(lambda params: make(params, **numbers), problem, maximize=row["maximize"])
    mine = path(getattr(presets, name)(**numbers), problem, maximize=row["maximize"])
    assert_same_path(mine, peers, problem, BOUND)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_order_and_defaults_are_pytorchs(name):
    mine = inspect.signature(getattr(presets, name)).parameters
    peers = inspect.signature(OPTIMIZERS[name][0]).parameters
    assert {key: parameter.default for key, parameter in mine.items()} == {key: peers[key].default for key in mine}
    positions = [key for key, parameter in mine.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert positions == list(peers)[1 : 1 + len(positions)]


SCHEDULES = {
    "lambda": (
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + 0.02 * step)),
        lambda rate: gdjax.schedules.inverse_time_decay(rate, 0.02),
    ),
    "steps": (
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=70, gamma=0.5),
        lambda rate: gdjax.schedules.step_decay(rate, 70),
    ),
    "function": (
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.6 + 0.4 * math.cos(0.1 * step)),
        lambda rate: lambda step: rate * (0.6 + 0.4 * jax.numpy.cos(0.1 * step.astype(float))),
    ),
}
MEMORIES = {  # options through which an earlier learning rate could reach a later step
    "sgd": {"momentum": 0.9, "weight_decay": 0.1},
    "adamw": {"weight_decay": 0.1},
    "rmsprop": {"momentum": 0.9, "centered": True},
    "adagrad": {"lr_decay": 0.01},
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", MEMORIES)
def test_the_path_under_a_schedule_is_pytorchs(name, schedule):
    make, rates, _, _ = OPTIMIZERS[name]
    rate, numbers = rates["network"], MEMORIES[name]
    scheduler, scheduled = SCHEDULES[schedule]
    peers = peers_path(lambda params: make(params, lr=rate, **numbers), "network", scheduler)
    mine = path(getattr(presets, name)(lr=scheduled(rate), **numbers), "network")
    assert_same_path(mine, peers, "network", BOUND)


PLATEAUS = {
    "mode": ("min", "max"),
    "factor": (0.1, 0.7, 0.0),
    "patience": (1, 0, 3),
    "threshold": (1e-4, 0.0, 0.125),
    "threshold_mode": ("rel", "abs"),
    "cooldown": (0, 1, 3),
    "min_lr": (0, 0.02, 0.7),  # the last above the rate itself
    "eps": (1e-8, 0, 0.2),
}
RATE = 0.5


@pytest.mark.parametrize("row", all_pairs(PLATEAUS), ids=lambda row: "-".join(map(str, row.values())))
def test_the_rates_on_a_plateau_are_pytorchs(row):
    mine = rates_on_plateau(presets.reduce_lr_on_plateau(presets.sgd(RATE), **row))
    for name, metrics in METRICS.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=RATE)
        judge = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **row)
        peers = []
        for metric in metrics:
            judge.step(metric)
            peers.append(optimizer.param_groups[0]["lr"])
        np.testing.assert_allclose(mine[name], np.array(peers)[:, None] * [1, 1], rtol=1e-12, err_msg=name)


def test_names_order_and_defaults_on_a_plateau_are_pytorchs():
    mine, peers = (
        [(key, parameter.default) for key, parameter in inspect.signature(function).parameters.items()]
        for function in (presets.reduce_lr_on_plateau, torch.optim.lr_scheduler.ReduceLROnPlateau)
    )
    assert mine == peers
