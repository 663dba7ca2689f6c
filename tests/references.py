"""The oracle: every optimizer and schedule in plain NumPy float64, written from the papers.

An optimizer takes gradients [steps, ...] and learning rates [steps], and yields one update a step.
A schedule takes whole units and a fraction of one.
"""

import numpy as np


def gd(gradients, rates):
    for g, rate in zip(gradients, rates, strict=False):
        yield -rate * g


def momentum(gradients, rates, *, beta):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=False):
        v = beta * v + (1 - beta) * g
        yield -rate * v


def heavy_ball(gradients, rates, *, decay, nesterov=False):
    v = 0.0
    for g, rate in zip(gradients, rates, strict=False):
        v = decay * v + g
        yield -rate * (g + decay * v if nesterov else v)


def adagrad(gradients, rates, *, initial_accumulator_value, eps):
    s = initial_accumulator_value
    for g, rate in zip(gradients, rates, strict=False):
        s = s + g**2
        yield -rate * g / (np.sqrt(s) + eps)


def rmsprop(gradients, rates, *, decay, eps):
    s = 0.0
    for g, rate in zip(gradients, rates, strict=False):
        s = decay * s + (1 - decay) * g**2
        yield -rate * g / (np.sqrt(s) + eps)


def adam(gradients, rates, *, b1, b2, eps):
    m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        yield -rate * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)


def adam_of_changing_decays(gradients, rates, *, b1, b2, eps):
    """Adam whose decays [steps] differ from step to step: averages of g and g² over averages of ones."""
    m = s = m_of_ones = s_of_ones = 0.0
    for g, rate, p, q in zip(gradients, rates, b1, b2, strict=False):
        m, m_of_ones = p * m + (1 - p) * g, p * m_of_ones + (1 - p)
        s, s_of_ones = q * s + (1 - q) * g**2, q * s_of_ones + (1 - q)
        yield -rate * (m / m_of_ones) / (np.sqrt(s / s_of_ones) + eps)


def inverse_time_decay(whole, fraction=0.0, *, init_value, decay_rate, transition_steps=1, staircase=False):
    periods = whole // transition_steps if staircase else (whole + fraction) / transition_steps
    return init_value / (1.0 + decay_rate * periods)


def exponential_decay(whole, fraction=0.0, *, init_value, transition_steps, decay_rate, staircase=False):
    periods = whole // transition_steps if staircase else (whole + fraction) / transition_steps
    return init_value * np.float64(decay_rate) ** periods


def step_decay(whole, fraction=0.0, *, init_value, transition_steps, decay_rate=0.5):
    return init_value * np.float64(decay_rate) ** (whole // transition_steps)


def per_epoch(formula, steps_per_epoch, **numbers):
    """The formula with epochs for units, as a function of the step."""
    return lambda step: formula(step // steps_per_epoch, (step % steps_per_epoch) / steps_per_epoch, **numbers)
