"""The native loop: the 2-5-2-1 network trained by hand-written scalar code, compiled by numba.

The whole of what a step must do and nothing else: gradients by hand, float32, the rows in their given order.
"""

import numba
import numpy as np

SHAPES = ((2, 5), (5,), (5, 2), (2,), (2, 1), (1,))
"""Parameters as they lie in one vector: 0, 10, 15, 25, 27, 29."""


@numba.njit(fastmath=True, inline="always")
def add_gradient(p, x, row, target, scale, g, h, k, dk):
    """Adds `scale` times the gradient of one row's loss to g; h [5], k [2] and dk [2] are memory to work in."""
    a, b = x[row, 0], x[row, 1]
    logit = p[29]
    for i in range(5):
        h[i] = max(p[i] * a + p[5 + i] * b + p[10 + i], np.float32(0))
    for j in range(2):
        total = p[25 + j]
        for i in range(5):
            total += p[15 + 2 * i + j] * h[i]
        k[j] = max(total, np.float32(0))
        logit += p[27 + j] * k[j]
    d = scale * (np.float32(1) / (np.float32(1) + np.exp(-logit)) - target)
    g[29] += d
    for j in range(2):
        g[27 + j] += d * k[j]
        dk[j] = d * p[27 + j] if k[j] > 0 else np.float32(0)
        g[25 + j] += dk[j]
    for i in range(5):
        for j in range(2):
            g[15 + 2 * i + j] += dk[j] * h[i]
        dh = dk[0] * p[15 + 2 * i] + dk[1] * p[16 + 2 * i] if h[i] > 0 else np.float32(0)
        g[i] += dh * a
        g[5 + i] += dh * b
        g[10 + i] += dh


@numba.njit(fastmath=True)
def gd(p, x, y, batch, epochs, rate):
    """Gradient descent, in place; returns the steps made."""
    g, h, k, dk = np.zeros(30, np.float32), np.empty(5, np.float32), np.empty(2, np.float32), np.empty(2, np.float32)
    rate, steps = np.float32(rate), 0
    for _ in range(epochs):
        for first in range(0, len(x), batch):
            last = min(first + batch, len(x))
            g[:] = 0
            for row in range(first, last):
                add_gradient(p, x, row, y[row], np.float32(1 / (last - first)), g, h, k, dk)
            for i in range(30):
                p[i] -= rate * g[i]
            steps += 1
    return steps


@numba.njit(fastmath=True)
def adam(p, x, y, batch, epochs, rate):
    """Adam with its usual decays, in place; returns the steps made."""
    g, h, k, dk = np.zeros(30, np.float32), np.empty(5, np.float32), np.empty(2, np.float32), np.empty(2, np.float32)
    m, v = np.zeros(30, np.float32), np.zeros(30, np.float32)
    b1, b2, eps, steps = np.float32(0.9), np.float32(0.999), np.float32(1e-8), 0
    b1_power, b2_power = 1.0, 1.0
    for _ in range(epochs):
        for first in range(0, len(x), batch):
            last = min(first + batch, len(x))
            g[:] = 0
            for row in range(first, last):
                add_gradient(p, x, row, y[row], np.float32(1 / (last - first)), g, h, k, dk)
            b1_power, b2_power = b1_power * 0.9, b2_power * 0.999
            size, unbias = np.float32(rate / (1 - b1_power)), np.float32(1 / (1 - b2_power))
            for i in range(30):
                m[i] = b1 * m[i] + (1 - b1) * g[i]
                v[i] = b2 * v[i] + (1 - b2) * g[i] * g[i]
                p[i] -= size * m[i] / (np.sqrt(v[i] * unbias) + eps)
            steps += 1
    return steps
