// Batch, mini-batch and stochastic descent in float64, as gdjax computes them: pure functions, no document.
(function () {
  "use strict";

  // ---- The order of an epoch: JAX's keys (threefry2x32) and gdjax's swap-or-not rounds.

  const ROUNDS = 24;
  const ROTATIONS = [[13, 15, 26, 6], [17, 29, 16, 24]];

  function threefry([k0, k1], x0, x1) {
    const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda];
    x0 = (x0 + keys[0]) | 0;
    x1 = (x1 + keys[1]) | 0;
    for (let i = 0; i < 5; i++) {
      for (const r of ROTATIONS[i % 2]) {
        x0 = (x0 + x1) | 0;
        x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
      }
      x0 = (x0 + keys[(i + 1) % 3]) | 0;
      x1 = (x1 + keys[(i + 2) % 3] + i + 1) | 0;
    }
    return [x0 >>> 0, x1 >>> 0];
  }

  // run_keys(seed).order: the second of three keys split from the seed's.
  const orderKey = (seed) => threefry([0, seed], 0, 1);

  function bits(key, index) {
    const [a, b] = threefry(key, 0, index);
    return (a ^ b) >>> 0;
  }

  function order(n, seed, epoch) {
    const key = threefry(orderKey(seed), 0, epoch);
    const ids = Int32Array.from({ length: n }, (_, i) => i);
    for (let round = 0; round < ROUNDS; round++) {
      const pivot = bits(key, round) % n;
      const coin = bits(key, ROUNDS + round);
      for (let i = 0; i < n; i++) {
        let mirror = pivot - ids[i];
        if (mirror < 0) mirror += n;
        let x = Math.imul(Math.max(ids[i], mirror) ^ coin, 0x9e3779b1);
        x = Math.imul(x ^ (x >>> 15), 0x85ebca77);
        if (x < 0) ids[i] = mirror; // the coin is the top bit
      }
    }
    return ids;
  }

  let remembered = { of: "", epochs: [] };

  // The same orders serve every run of a seed, so the last seed's are kept.
  function orderOnce(n, seed, epoch) {
    const of = `${n} ${seed}`;
    if (remembered.of !== of) remembered = { of, epochs: [] };
    return (remembered.epochs[epoch] ??= order(n, seed, epoch));
  }

  // ---- Schedules: each halves the rate after `half` epochs; position in epochs, as `per_epoch` has it.

  const SCHEDULES = {
    constant: () => 1,
    inverse: (epoch, fraction, half) => 1 / (1 + (epoch + fraction) / half),
    step: (epoch, fraction, half) => Math.pow(0.5, Math.floor(epoch / half)),
    exponential: (epoch, fraction, half) => Math.pow(0.5, (epoch + fraction) / half),
  };

  // ---- Optimizers: each makes update(theta, gradient, rate), in place, for `size` parameters.

  const OPTIMIZERS = {
    gd: () => (theta, g, rate) => {
      for (let i = 0; i < theta.length; i++) theta[i] -= rate * g[i];
    },

    momentum: (size, { b1 }) => {
      const v = new Float64Array(size);
      return (theta, g, rate) => {
        for (let i = 0; i < size; i++) {
          v[i] += (1 - b1) * (g[i] - v[i]);
          theta[i] -= rate * v[i];
        }
      };
    },

    heavy_ball: (size, { b1 }) => {
      const v = new Float64Array(size);
      return (theta, g, rate) => {
        for (let i = 0; i < size; i++) {
          v[i] = b1 * v[i] + g[i];
          theta[i] -= rate * v[i];
        }
      };
    },

    rmsprop: (size, { b2 }) => {
      const s = new Float64Array(size);
      return (theta, g, rate) => {
        for (let i = 0; i < size; i++) {
          s[i] += (1 - b2) * (g[i] * g[i] - s[i]);
          theta[i] -= (rate * g[i]) / Math.sqrt(s[i] + EPS);
        }
      };
    },

    adam: (size, { b1, b2, corrected }) => {
      const m = new Float64Array(size);
      const s = new Float64Array(size);
      let weight1 = 0; // 1 - b1^t and 1 - b2^t: what the averages would say to gradients of one
      let weight2 = 0;
      return (theta, g, rate) => {
        weight1 += (1 - b1) * (1 - weight1);
        weight2 += (1 - b2) * (1 - weight2);
        const [c1, c2] = corrected ? [weight1, weight2] : [1, 1];
        for (let i = 0; i < size; i++) {
          m[i] += (1 - b1) * (g[i] - m[i]);
          s[i] += (1 - b2) * (g[i] * g[i] - s[i]);
          theta[i] -= (rate * (m[i] / c1)) / (Math.sqrt(s[i] / c2) + EPS);
        }
      };
    },
  };

  const EPS = 1e-8;

  const correction = (beta, t) => -1 / Math.expm1(t * Math.log(beta)); // 1 / (1 - beta^t)

  // How large a corrected step of Adam is beside an uncorrected one.
  const stepRatio = (b1, b2, t) => correction(b1, t) / Math.sqrt(correction(b2, t));

  // ---- Descent: a regime is a number of rows an update, null for all of them in the given order.

  const stepsPerEpoch = (n, rows) => Math.ceil(n / Math.min(rows ?? n, n));

  // Examples seen after `updates` updates: the last batch of an epoch may be smaller.
  function seenAfter(updates, n, rows) {
    const steps = stepsPerEpoch(n, rows);
    return Math.floor(updates / steps) * n + Math.min((updates % steps) * (rows ?? n), n);
  }

  // Updates made when `seen` examples have been seen; the inverse of seenAfter, rounded down.
  function updatesAfter(seen, n, rows) {
    return Math.floor(seen / n) * stepsPerEpoch(n, rows) + Math.floor((seen % n) / Math.min(rows ?? n, n));
  }

  // model: {n, size, gradient(theta, ids, first, last, out)}, the mean gradient over the rows ids[first:last].
  // visit(theta, updates) is called before the first update and after each.
  function descend(model, start, rows, settings, visit) {
    const { n, size } = model;
    const batch = Math.min(rows ?? n, n);
    const steps = stepsPerEpoch(n, rows);
    const factor = SCHEDULES[settings.schedule];
    const update = OPTIMIZERS[settings.optimizer](size, settings);
    const given = Int32Array.from({ length: n }, (_, i) => i);
    const theta = Float64Array.from(start);
    const gradient = new Float64Array(size);
    let updates = 0;
    visit(theta, updates);
    for (let epoch = 0; epoch < settings.epochs; epoch++) {
      const ids = rows === null ? given : orderOnce(n, settings.seed, epoch);
      for (let step = 0; step < steps; step++) {
        model.gradient(theta, ids, step * batch, Math.min((step + 1) * batch, n), gradient);
        update(theta, gradient, settings.rate * factor(epoch, step / steps, settings.half));
        visit(theta, ++updates);
      }
    }
    return theta;
  }

  // ---- The linear regression: loss(theta) = mean (x theta - y)^2 / 2, so that its Hessian is x'x / n.

  const TURN = Math.SQRT1_2; // cosine and sine of 45 degrees

  // The axes of a problem: first turned by 45 degrees, clockwise, then each input over its root mean square.
  function axes({ x }, { rotate, standardize }) {
    const turn = (a, b) => (rotate ? [TURN * (a + b), TURN * (b - a)] : [a, b]);
    const back = (a, b) => (rotate ? [TURN * (a - b), TURN * (a + b)] : [a, b]);
    const sums = [0, 0];
    for (const row of x) turn(...row).forEach((value, j) => (sums[j] += value * value));
    const scale = sums.map((sum) => (standardize ? Math.sqrt(sum / x.length) : 1));
    return {
      inputs: (a, b) => turn(a, b).map((value, j) => value / scale[j]),
      // Parameters that make the same predictions.
      parameters: (a, b) => turn(a, b).map((value, j) => value * scale[j]),
      original: (a, b) => back(a / scale[0], b / scale[1]),
    };
  }

  function regression(data, toggles) {
    const n = data.y.length;
    const { inputs } = axes(data, toggles);
    const rows = data.x.map((row) => inputs(...row));
    const x0 = Float64Array.from(rows, (row) => row[0]);
    const x1 = Float64Array.from(rows, (row) => row[1]);
    const y = Float64Array.from(data.y);
    let [h00, h01, h11, c0, c1, yy] = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < n; i++) {
      h00 += (x0[i] * x0[i]) / n;
      h01 += (x0[i] * x1[i]) / n;
      h11 += (x1[i] * x1[i]) / n;
      c0 += (x0[i] * y[i]) / n;
      c1 += (x1[i] * y[i]) / n;
      yy += (y[i] * y[i]) / n;
    }
    const determinant = h00 * h11 - h01 * h01;
    const minimum = [(h11 * c0 - h01 * c1) / determinant, (h00 * c1 - h01 * c0) / determinant];
    const middle = (h00 + h11) / 2;
    const radius = Math.hypot((h00 - h11) / 2, h01);
    const largest = middle + radius;
    return {
      n,
      size: 2,
      minimum,
      smallestLoss: (yy - minimum[0] * c0 - minimum[1] * c1) / 2,
      largest,
      smallest: determinant / largest,
      angle: Math.atan2(2 * h01, h00 - h11) / 2, // of the axis of the largest curvature
      // The loss above its smallest value; exact near the minimum, where a difference would cancel.
      excess(a, b) {
        const [d0, d1] = [a - minimum[0], b - minimum[1]];
        return (h00 * d0 * d0 + 2 * h01 * d0 * d1 + h11 * d1 * d1) / 2;
      },
      gradient(theta, ids, first, last, out) {
        let [g0, g1] = [0, 0];
        for (let k = first; k < last; k++) {
          const i = ids[k];
          const residual = x0[i] * theta[0] + x1[i] * theta[1] - y[i];
          g0 += residual * x0[i];
          g1 += residual * x1[i];
        }
        out[0] = g0 / (last - first);
        out[1] = g1 / (last - first);
      },
    };
  }

  // The largest constant rate at which batch descent does not diverge: 2/λmax and its kin with momentum; where steps
  // are divided by their size there is none.
  function limit(problem, { optimizer, b1 }) {
    const factor = { gd: 1, heavy_ball: 1 + b1, momentum: (1 + b1) / (1 - b1) }[optimizer];
    return factor === undefined ? Infinity : (factor * 2) / problem.largest;
  }

  // Every place of a run: theta [2 (updates + 1)] and loss above the smallest [updates + 1].
  function path(problem, start, rows, settings) {
    const updates = stepsPerEpoch(problem.n, rows) * settings.epochs;
    const theta = new Float64Array(2 * (updates + 1));
    const excess = new Float64Array(updates + 1);
    descend(problem, start, rows, settings, (place, k) => {
      theta[2 * k] = place[0];
      theta[2 * k + 1] = place[1];
      excess[k] = problem.excess(place[0], place[1]);
    });
    return { rows, updates, theta, excess };
  }

  // The update that left the frame before the path was lost far outside, or ended outside; null where it stayed.
  function departure({ theta, updates }, inside, near) {
    let k = 0;
    while (k < updates && near(theta[2 * k], theta[2 * k + 1])) k++;
    while (k >= 0 && !inside(theta[2 * k], theta[2 * k + 1])) k--;
    return k === updates ? null : k + 1;
  }

  // The noise ball: a run that starts at the minimum leaves it only by noise. The places of its second half, and the
  // root of their mean squared distance from the minimum.
  function noise(problem, rows, settings) {
    const { theta, updates } = path(problem, problem.minimum, rows, settings);
    const places = theta.subarray(2 * Math.floor((updates + 1) / 2));
    let sum = 0;
    for (let k = 0; k < places.length; k++) sum += (places[k] - problem.minimum[k % 2]) ** 2;
    return { rows, places, spread: Math.sqrt(sum / (places.length / 2)) };
  }

  // ---- A classification: two moons, and a network of one hidden layer of tanh.

  const HIDDEN = 8;

  // Standard normal numbers from a key, two for each index (Box & Muller).
  function normals(key, index) {
    const [a, b] = threefry(key, 0, index).map((word) => (word + 0.5) / 4294967296);
    const radius = Math.sqrt(-2 * Math.log(a));
    return [radius * Math.cos(2 * Math.PI * b), radius * Math.sin(2 * Math.PI * b)];
  }

  function moons(n, spread) {
    const x = [];
    const y = [];
    for (let i = 0; i < n; i++) {
      const lower = i % 2;
      const angle = (Math.PI * Math.floor(i / 2)) / (n / 2 - 1);
      const [a, b] = normals([0, 1], i);
      const [u, v] = [Math.cos(angle), Math.sin(angle)];
      x.push([(lower ? 1 - u : u) - 0.5 + spread * a, (lower ? 0.5 - v : v) - 0.25 + spread * b]);
      y.push(lower);
    }
    return { x, y };
  }

  // Parameters: HIDDEN rows of (two weights, bias, weight of the output), then the output's bias.
  function network({ x, y }) {
    const size = 4 * HIDDEN + 1;
    const hidden = new Float64Array(HIDDEN);

    function logit(theta, a, b) {
      let z = theta[size - 1];
      for (let j = 0, k = 0; j < HIDDEN; j++, k += 4) {
        hidden[j] = Math.tanh(theta[k] * a + theta[k + 1] * b + theta[k + 2]);
        z += theta[k + 3] * hidden[j];
      }
      return z;
    }

    return {
      n: y.length,
      size,
      logit,
      start(seed) {
        const theta = new Float64Array(size);
        for (let j = 0; j < HIDDEN; j++) {
          const [a, b] = normals([seed, 2], 2 * j);
          const [c, d] = normals([seed, 2], 2 * j + 1);
          theta.set([a, b, c / 2, d / Math.sqrt(HIDDEN)], 4 * j);
        }
        return theta;
      },
      gradient(theta, ids, first, last, out) {
        out.fill(0);
        for (let place = first; place < last; place++) {
          const [a, b] = x[ids[place]];
          const z = logit(theta, a, b);
          const error = (1 / (1 + Math.exp(-z)) - y[ids[place]]) / (last - first);
          for (let j = 0, k = 0; j < HIDDEN; j++, k += 4) {
            const back = error * theta[k + 3] * (1 - hidden[j] * hidden[j]);
            out[k] += back * a;
            out[k + 1] += back * b;
            out[k + 2] += back;
            out[k + 3] += error * hidden[j];
          }
          out[size - 1] += error;
        }
      },
      accuracy(theta) {
        let right = 0;
        for (let i = 0; i < y.length; i++) right += logit(theta, ...x[i]) > 0 === (y[i] === 1);
        return right / y.length;
      },
    };
  }

  // The parameters of a run at `count` + 1 places, evenly spread over its examples.
  function snapshots(model, start, rows, settings, count) {
    const total = model.n * settings.epochs;
    const wanted = Array.from({ length: count + 1 }, (_, i) => updatesAfter((i * total) / count, model.n, rows));
    const kept = [];
    descend(model, start, rows, settings, (theta, updates) => {
      while (wanted[kept.length] === updates) kept.push(theta.slice());
    });
    return kept;
  }

  globalThis.gdjaxDescent = {
    OPTIMIZERS: Object.keys(OPTIMIZERS),
    SCHEDULES: Object.keys(SCHEDULES),
    axes, correction, departure, descend, limit, moons, network, noise, order, path, regression, seenAfter, snapshots,
    stepRatio, stepsPerEpoch, updatesAfter,
  };
})();
