"""The oracle: every optimizer and schedule in plain NumPy float64, written from the papers.

An optimizer takes gradients [steps, ...] and learning rates [steps], and yields one update a step. One that
looks at the parameters takes their starting value too, and moves it by what it yields.
A schedule takes whole units and a fraction of one.
"""

import itertools

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
        yield -rate * g / np.sqrt(s + eps)


def rmsprop(
    gradients,
    rates,
    *,
    decay,
    eps,
    initial_scale=0.0,
    eps_in_sqrt=True,
    centered=False,
    momentum=None,
    nesterov=False,
    bias_correction=False,
):
    """Centered, the variance E[(g − E g)²] is averaged as such: E[g²] − (E g)² would cancel."""
    mean = average = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        weights = 1 - decay**t if bias_correction else 1.0
        weight = (1 - decay) / weights
        if centered:
            average = (1 - weight) * (average + weight * (g - mean) ** 2)
            mean = mean + weight * (g - mean)
        else:
            average = (1 - weight) * average + weight * g**2
        square = average + initial_scale * decay**t / weights
        step = -rate * g / (np.sqrt(square + eps) if eps_in_sqrt else np.sqrt(square) + eps)
        if momentum is not None:
            v = step + momentum * v
            step = step + momentum * v if nesterov else v
        yield step


def adadelta(gradients, rates, params, *, rho, eps, weight_decay=0.0, mask=1.0):
    """The decay joins the gradient, so it goes through the averages."""
    s = d = 0.0
    for g, rate, decay in zip(gradients, rates, _each_step(weight_decay), strict=False):
        g = g + mask * decay * params
        s = rho * s + (1 - rho) * g**2
        direction = np.sqrt(d + eps) / np.sqrt(s + eps) * g
        d = rho * d + (1 - rho) * direction**2
        params = params - rate * direction
        yield -rate * direction


def adam(gradients, rates, *, b1, b2, eps, eps_root=0.0, nesterov=False):
    m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        yield -rate * _first_moment(m, g, t, b1, nesterov) / (np.sqrt(s / (1 - b2**t) + eps_root) + eps)


def _first_moment(m, g, t, b1, nesterov):
    """Its bias corrected; under Nesterov's look-ahead that of the next step, had it the same gradient."""
    return b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t) if nesterov else m / (1 - b1**t)


def adam_of_changing_decays(gradients, rates, *, b1, b2, eps):
    """Adam whose decays [steps] differ from step to step: averages of g and g² over averages of ones."""
    m = s = m_of_ones = s_of_ones = 0.0
    for g, rate, p, q in zip(gradients, rates, b1, b2, strict=False):
        m, m_of_ones = p * m + (1 - p) * g, p * m_of_ones + (1 - p)
        s, s_of_ones = q * s + (1 - q) * g**2, q * s_of_ones + (1 - q)
        yield -rate * (m / m_of_ones) / (np.sqrt(s / s_of_ones) + eps)


def nadam(gradients, rates, *, b1, b2, eps, eps_root=0.0):
    """Dozat (2016), algorithm 2, without its factor ν on the second moment; b1 is a number or [steps + 1] of them."""
    m, s, product = 0.0, 0.0, 1.0
    decays = np.broadcast_to(b1, len(gradients) + 1)
    for t, (g, rate, now, following) in enumerate(zip(gradients, rates, decays, decays[1:], strict=False), start=1):
        m = now * m + (1 - now) * g
        s = b2 * s + (1 - b2) * g**2
        product = product * now
        direction = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        yield -rate * direction / (np.sqrt(s / (1 - b2**t) + eps_root) + eps)


def amsgrad(gradients, rates, *, b1, b2, eps, eps_root=0.0, bias_correction_mu=True, bias_correction_nu=True):
    m = s = largest = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        largest = np.maximum(largest, s / (1 - b2**t) if bias_correction_nu else s)
        yield -rate * (m / (1 - b1**t) if bias_correction_mu else m) / (np.sqrt(largest + eps_root) + eps)


def adamax(gradients, rates, *, b1, b2, eps):
    m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = np.maximum(b2 * s, np.abs(g) + eps)
        yield -rate * m / (1 - b1**t) / s


def radam(gradients, rates, *, b1, b2, eps, eps_root=0.0, threshold=5.0, nesterov=False):
    m = s = 0.0
    longest = 2 / (1 - b2) - 1
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g**2
        direction = _first_moment(m, g, t, b1, nesterov)
        unbiasing = -np.expm1(t * np.log1p(b2 - 1))  # 1 − b2ᵗ to the last digit: in `length` only 4 of 2,000 are left
        length = longest - 2 * t * b2**t / unbiasing
        if length >= threshold:
            ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            direction = np.sqrt(ratio) * direction / (np.sqrt(s / unbiasing + eps_root) + eps)
        yield -rate * direction


def adabelief(gradients, rates, *, b1, b2, eps, eps_root, nesterov=False):
    m = s = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        yield -rate * _first_moment(m, g, t, b1, nesterov) / (np.sqrt(s / (1 - b2**t)) + eps)


def yogi(gradients, rates, *, b1, b2, eps, initial_accumulator_value=1e-6):
    m, s = 0.0, initial_accumulator_value
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=False), start=1):
        m = b1 * m + (1 - b1) * g
        s = s - (1 - b2) * np.sign(s - g**2) * g**2
        yield -rate * m / (1 - b1**t) / (np.sqrt(s / (1 - b2**t)) + eps)


def adamw(gradients, rates, params, *, weight_decay, mask=1.0, **numbers):
    """The decay stays beside the moments; `mask` is 1 where it acts and 0 elsewhere."""
    for adam_step, rate, decay in zip(_unit_steps(gradients, **numbers), rates, _each_step(weight_decay), strict=False):
        step = rate * (adam_step - mask * decay * params)
        params = params + step
        yield step


def lamb(gradients, rates, params, *, weight_decay, mask=1.0, **numbers):
    """For one leaf: both norms are the leaf's."""
    for adam_step, rate, decay in zip(_unit_steps(gradients, **numbers), rates, _each_step(weight_decay), strict=False):
        direction = adam_step - mask * decay * params
        lengths = np.linalg.norm(params), np.linalg.norm(direction)
        step = rate * (lengths[0] / lengths[1] if all(lengths) else 1.0) * direction
        params = params + step
        yield step


def lion(gradients, rates, params, *, b1, b2, weight_decay, mask=1.0):
    m = 0.0
    for g, rate, decay in zip(gradients, rates, _each_step(weight_decay), strict=False):
        step = -rate * (np.sign(b1 * m + (1 - b1) * g) + mask * decay * params)
        m = b2 * m + (1 - b2) * g
        params = params + step
        yield step


def _unit_steps(gradients, **numbers):
    """The steps of Adam at a learning rate of 1."""
    return adam(gradients, itertools.repeat(1.0), **numbers)


def _each_step(number):
    """A number for every step, or [steps] of them."""
    return itertools.repeat(number) if np.ndim(number) == 0 else number


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


def constant(whole, fraction=0.0, *, value):
    return np.full(np.shape(whole), value)


def piecewise_constant(whole, fraction=0.0, *, init_value, boundaries_and_scales):
    scales = [np.where(whole >= boundary, scale, 1.0) for boundary, scale in boundaries_and_scales.items()]
    return init_value * np.prod(scales, axis=0)


def inverse_square_root(whole, fraction=0.0, *, init_value, transition_steps):
    return init_value / np.sqrt(1.0 + (whole + fraction) / transition_steps)


def polynomial(whole, fraction=0.0, *, init_value, end_value, power, transition_steps):
    remaining = 1.0 - np.minimum(whole + fraction, transition_steps) / transition_steps
    return end_value + (init_value - end_value) * remaining**power


def linear(whole, fraction=0.0, *, init_value, end_value, transition_steps):
    return np.interp(whole + fraction, [0, transition_steps], [init_value, end_value])


def cosine_decay(whole, fraction=0.0, *, init_value, decay_steps, alpha=0.0, exponent=1.0):
    wave = (1.0 + np.cos(np.pi * np.minimum(whole + fraction, decay_steps) / decay_steps)) / 2
    return init_value * (alpha + (1 - alpha) * wave**exponent)


def cyclic(whole, fraction=0.0, *, init_value, peak_value, transition_steps, decay_rate=1.0):
    cycle = whole // (2 * transition_steps)
    height = 1.0 - np.abs((whole + fraction) / transition_steps - 2 * cycle - 1)
    return init_value + (peak_value - init_value) * height * np.float64(decay_rate) ** cycle


def one_cycle(
    whole, fraction=0.0, *, transition_steps, peak_value, pct_start=0.3, div_factor=25.0, final_div_factor=1e4
):
    peak_step = int(pct_start * transition_steps)
    begin, end = peak_value / div_factor, peak_value / div_factor / final_div_factor
    rise, fall = {"decay_steps": max(peak_step, 1)}, {"decay_steps": transition_steps - peak_step}
    up = begin + peak_value - cosine_decay(whole, fraction, init_value=peak_value, alpha=begin / peak_value, **rise)
    later = np.maximum(whole - peak_step, 0)
    down = cosine_decay(later, fraction, init_value=peak_value, alpha=end / peak_value, **fall)
    return np.where(whole < peak_step, up, down)


def nadam_momentum(whole, fraction=0.0, *, b1, momentum_decay=0.004):
    return b1 * (1.0 - 0.5 * 0.96 ** ((whole + fraction + 1.0) * momentum_decay))


def join(formulas, boundaries):
    """The formulas one after the other, as a formula."""

    def joined(whole, fraction=0.0):
        value = formulas[0](whole, fraction)
        for boundary, formula in zip(boundaries, formulas[1:], strict=True):
            value = np.where(whole >= boundary, formula(np.maximum(whole - boundary, 0), fraction), value)
        return value

    return joined


def warmup(formula, warmup_steps, init_value=0.0):
    """The formula after a linear warm-up, as a formula."""

    def line(whole, fraction):
        return np.interp(whole + fraction, [0, max(warmup_steps, 1)], [init_value, formula(0)])

    return join([line, formula], [warmup_steps])


def warmup_stable_decay(
    whole, fraction=0.0, *, peak_value, warmup_steps, stable_steps, decay_steps, init_value=0.0, end_value=0.0
):
    corners = np.cumsum([0, warmup_steps, stable_steps, decay_steps])
    return np.interp(whole + fraction, corners, [init_value, peak_value, peak_value, end_value])


def restarts(formula, period, factor=1):
    """The formula anew in each cycle, stretched to it, as a formula of the time passed."""

    def restarted(whole, fraction=0.0):
        begin, length, time = np.zeros(np.shape(whole)), np.full(np.shape(whole), period), np.asarray(whole)
        while np.any(time >= begin + length):
            over = time >= begin + length
            begin, length = np.where(over, begin + length, begin), np.where(over, length * factor, length)
        return formula((time + fraction - begin) * period / length)

    return restarted


def per_run(formula, units, steps, **numbers):
    """The formula with shares of a run of `steps` for units, as a function of the step."""

    def shared(step):
        done = np.minimum(step, steps) * units
        return formula(done // steps, (done % steps) / steps, **numbers)

    return shared
