// The view: controls to state, state to paths, paths to pictures; the state also lives in the address's fragment.
(function () {
  "use strict";
  const descent = globalThis.gdjaxDescent;

  // ---- State: every field with its default and how its text in the fragment is read; undefined is no value.

  const MOST_EPOCHS = 75;
  const FRAME = { left: -3, right: 3, bottom: -2, top: 2.5 };
  const SIZES = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 30, 32, 40, 50, 60, 64, 80, 100, 120];
  const LANGUAGES = ["en", "ko"];

  const clamp = (x, least, most) => Math.min(Math.max(x, least), most);
  const withinBy = (room) => (a, b) =>
    a >= FRAME.left - room * (FRAME.right - FRAME.left) && a <= FRAME.right + room * (FRAME.right - FRAME.left) &&
    b >= FRAME.bottom - room * (FRAME.top - FRAME.bottom) && b <= FRAME.top + room * (FRAME.top - FRAME.bottom);
  const [inside, near] = [withinBy(0), withinBy(1)]; // near: not farther out than the frame is large
  const within = ([a, b]) => [
    +clamp(a, FRAME.left, FRAME.right).toFixed(4),
    +clamp(b, FRAME.bottom, FRAME.top).toFixed(4),
  ];

  const number = (least, most) => (text) => {
    const x = Number(text);
    return text.trim() !== "" && x >= least && x <= most ? x : undefined;
  };
  const integer = (least, most) => (text) => (/^\d+$/.test(text) ? number(least, most)(text) : undefined);
  const choice = (values) => (text) => (values.includes(text) ? text : undefined);
  const flag = (text) => ({ 0: false, 1: true })[text];
  const place = (text) => {
    const numbers = text.split(",").map(number(-1e3, 1e3));
    return numbers.length === 2 && !numbers.includes(undefined) ? within(numbers) : undefined;
  };

  const FIELDS = {
    lang: [null, choice(LANGUAGES)],
    show: ["bms", (text) => (/^b?m?s?$/.test(text) ? text : undefined)],
    rate: [0.1, number(1e-3, 10)],
    size: [16, integer(1, 120)],
    optimizer: ["gd", choice(descent.OPTIMIZERS)],
    b1: [0.9, number(0, 0.999)],
    b2: [0.999, number(0, 0.9999)],
    corrected: [true, flag],
    standardize: [false, flag],
    rotate: [false, flag],
    schedule: ["constant", choice(descent.SCHEDULES)],
    half: [10, integer(1, MOST_EPOCHS)],
    epochs: [MOST_EPOCHS, integer(1, MOST_EPOCHS)],
    seed: [0, integer(0, 999999)],
    start: [[-2.3, -0.6], place],
    at: [null, integer(0, 120 * MOST_EPOCHS)], // examples seen where the player stands still; null is the end
  };

  const defaults = (language) => ({
    ...Object.fromEntries(Object.entries(FIELDS).map(([name, [value]]) => [name, value])),
    lang: language,
  });
  const textOf = (value) => (typeof value === "boolean" ? String(+value) : String(value));

  const pairsOf = (fragment) => fragment.replace(/^#/, "").split("&").filter(Boolean).map((part) => part.split("="));

  // A fragment may be anybody's; what is no code for letters stands for itself.
  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch (error) {
      if (error instanceof URIError) return text;
      throw error;
    }
  }

  function stateOf(fragment, language) {
    const state = defaults(language);
    for (const [name, text = ""] of pairsOf(fragment)) {
      const value = Object.hasOwn(FIELDS, name) ? FIELDS[name][1](decoded(text)) : undefined;
      if (value !== undefined) state[name] = value;
    }
    return state;
  }

  // What differs from the defaults, beside what others keep in the same fragment.
  function fragmentOf(state, language, fragment) {
    const usual = defaults(language);
    const others = pairsOf(fragment).filter(([name]) => !Object.hasOwn(FIELDS, name)).map((pair) => pair.join("="));
    const own = Object.keys(FIELDS)
      .filter((name) => state[name] !== null && textOf(state[name]) !== textOf(usual[name]))
      .map((name) => `${name}=${textOf(state[name])}`);
    return "#" + [...others, ...own].join("&");
  }

  // Where a range's position is not the value itself: to the value and back.
  const complement = [(s) => +(1 - +(10 ** -s).toPrecision(3)).toFixed(8), (beta) => -Math.log10(1 - beta)];
  const SCALES = {
    rate: [(s) => +(10 ** s).toPrecision(3), Math.log10],
    size: [(s) => SIZES[s], (size) => SIZES.findLastIndex((each) => each <= size)],
    b1: complement,
    b2: complement,
  };
  const IDENTITY = [(s) => s, (value) => value];

  const REGIMES = [
    { name: "batch", letter: "b", rows: () => null, width: 3, dash: [], ghost: 2.2, alpha: 1 },
    { name: "mini", letter: "m", rows: (state) => state.size, width: 1.9, dash: [6, 4], ghost: 1.4, alpha: 1 },
    { name: "stochastic", letter: "s", rows: () => 1, width: 0.8, dash: [], ghost: 0.6, alpha: 0.6 },
  ];
  const DRAWN = [2, 1, 0]; // the widest path is shortest, and drawn last

  const FORMULAS = {
    gd: "θ ← θ − α·g",
    momentum: "v ← β·v + (1 − β)·g,  θ ← θ − α·v",
    heavy_ball: "v ← β·v + g,  θ ← θ − α·v",
    rmsprop: "s ← β·s + (1 − β)·g²,  θ ← θ − α·g/√s",
    adam: "m ← β₁·m + (1 − β₁)·g,  s ← β₂·s + (1 − β₂)·g²,  θ ← θ − α·m/√s",
    adam_corrected: "m ← β₁·m + (1 − β₁)·g,  s ← β₂·s + (1 − β₂)·g²,  θ ← θ − α·m/(1 − β₁ᵗ) / √(s/(1 − β₂ᵗ))",
    constant: "α",
    inverse: "α/(1 + t/T)",
    step: "α·½^⌊t/T⌋",
    exponential: "α·½^(t/T)",
  };
  const LIMITS = { gd: "2/λₘₐₓ", heavy_ball: "2(1 + β)/λₘₐₓ", momentum: "2(1 + β)/((1 − β)·λₘₐₓ)" };

  // ---- Drawing: a canvas in CSS pixels, crisp on any screen.

  function surface(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const ratio = globalThis.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    return { c, width, height };
  }

  function line(c, count, x, y) {
    c.beginPath();
    for (let i = 0; i < count; i++) c.lineTo(x(i), y(i));
    c.stroke();
  }

  function label(c, text, x, y, color, halo, align = "left") {
    c.textAlign = align;
    c.lineJoin = "round";
    c.lineWidth = 4;
    c.setLineDash([]);
    c.strokeStyle = halo;
    c.strokeText(text, x, y);
    c.fillStyle = color;
    c.fillText(text, x, y);
  }

  // Marks that differ in form as well as in color.
  function mark(c, regime, x, y, color, halo) {
    const r = 5;
    c.beginPath();
    if (regime === 0) c.arc(x, y, r, 0, 2 * Math.PI);
    else if (regime === 1) c.rect(x - r + 0.5, y - r + 0.5, 2 * r - 1, 2 * r - 1);
    else [[0, -r - 1], [r, r - 1], [-r, r - 1]].forEach(([a, b]) => c.lineTo(x + a, y + b));
    c.closePath();
    c.setLineDash([]);
    [c.fillStyle, c.strokeStyle, c.lineWidth] = [color, halo, 1.5];
    c.fill();
    c.stroke();
  }

  function star(c, x, y, color, halo) {
    c.beginPath();
    for (let i = 0; i < 10; i++) {
      const [r, angle] = [i % 2 ? 4.2 : 10, (Math.PI * i) / 5 - Math.PI / 2];
      c.lineTo(x + r * Math.cos(angle), y + r * Math.sin(angle));
    }
    c.closePath();
    [c.fillStyle, c.strokeStyle, c.lineWidth] = [color, halo, 2];
    c.stroke();
    c.fill();
  }

  function arrow(c, x, y, angle, color, halo) {
    c.save();
    c.translate(x, y);
    c.rotate(angle);
    c.beginPath();
    [[0, 0], [-13, -6.5], [-10, 0], [-13, 6.5]].forEach(([a, b]) => c.lineTo(a, b));
    c.closePath();
    [c.fillStyle, c.strokeStyle, c.lineWidth] = [color, halo, 2];
    c.stroke();
    c.fill();
    c.restore();
  }

  const POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const power = (k) => (k === 0 ? "1" : k === 1 ? "10" : `10${k < 0 ? "⁻" : ""}${POWERS[Math.abs(k)]}`);

  // Two axes on a surface: x and y map values to pixels. `log` axes are [lowest, highest] powers of ten.
  function axesOn({ c, width, height }, colors, { x, y, logX, logY, xLabel, yLabel, ticksX }) {
    const box = { left: 38, right: width - 10, top: 22, bottom: height - 36 };
    const scale = (bounds, from, to, log) => (value) =>
      from + ((to - from) * ((log ? Math.log10(Math.max(value, 1e-300)) : value) - bounds[0])) / (bounds[1] - bounds[0]);
    const [toX, toY] = [scale(x, box.left, box.right, logX), scale(y, box.bottom, box.top, logY)];
    c.font = colors.font;
    c.strokeStyle = colors.grid;
    c.lineWidth = 1;
    c.setLineDash([]);
    c.textBaseline = "middle";
    for (let k = Math.ceil(y[0]); logY && k <= y[1]; k++) {
      const at = Math.round(toY(10 ** k)) + 0.5;
      line(c, 2, (i) => [box.left, box.right][i], () => at);
      label(c, power(k), box.left - 6, at, colors.muted, colors.paper, "right");
      [c.strokeStyle, c.lineWidth] = [colors.grid, 1];
    }
    c.textBaseline = "top";
    for (const [value, text] of ticksX) {
      const align = toX(value) > box.right - 12 ? "right" : toX(value) < box.left + 6 ? "left" : "center";
      label(c, text, toX(value), box.bottom + 5, colors.muted, colors.paper, align);
    }
    label(c, xLabel, box.right, box.bottom + 20, colors.muted, colors.paper, "right");
    label(c, yLabel, 4, 2, colors.muted, colors.paper);
    c.textBaseline = "middle";
    return { box, toX, toY };
  }

  function clipped(c, { left, right, top, bottom }, draw) {
    c.save();
    c.beginPath();
    c.rect(left, top, right - left, bottom - top);
    c.clip();
    draw();
    c.restore();
  }

  // ---- The explorer itself.

  function mount(root) {
    const find = (selector) => root.querySelector(selector);
    const all = (selector) => [...root.querySelectorAll(selector)];
    const { data, words } = JSON.parse(find(".facts").textContent);
    const n = data.y.length;
    const language = root.dataset.language;
    const still = matchMedia("(prefers-reduced-motion: reduce)");

    let state = stateOf(location.hash, language);
    let problem;
    let paths;
    let ghost = null;
    let changing = false;
    let seen = 0;
    let playing = false;
    let colors;
    let stale = new Set();
    const visible = new Set();

    const total = () => n * state.epochs;
    const shown = (regime) => state.show.includes(REGIMES[regime].letter);

    function say(key, values = {}) {
      return words[state.lang][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
    }
    const integerText = (x) => x.toLocaleString(state.lang);
    const short = (x) => (x === 0 ? "0" : Number(x.toPrecision(3)).toLocaleString(state.lang, { maximumSignificantDigits: 3 }));

    // -- from state to paths

    function compute() {
      problem = descent.regression(data, state);
      paths = REGIMES.map(({ rows }) => descent.path(problem, state.start, rows(state), state));
      for (const path of paths) path.left = descent.departure(path, inside, near);
      seen = state.at === null && !playing ? total() : Math.min(state.at ?? seen, total());
    }

    function refresh() {
      compute();
      showControls();
      redraw();
    }

    // The first of a row of changes keeps the paths as they were, for the ghost.
    function change(fields) {
      if (!changing) ghost = paths;
      changing = true;
      Object.assign(state, fields);
      refresh();
    }

    function settle() {
      changing = false;
      const fragment = fragmentOf(state, language, location.hash);
      if (fragment !== (location.hash || "#")) history.pushState(null, "", fragment);
    }

    function restore() {
      const next = stateOf(location.hash, language);
      if (JSON.stringify(next) === JSON.stringify(state)) return;
      ghost = paths;
      state = next;
      playing = false;
      refresh();
      showWords();
    }

    // -- controls

    function showWords() {
      root.lang = state.lang;
      if (root.parentElement === document.body && root.querySelector("h1")) {
        document.documentElement.lang = state.lang;
        document.title = say("title");
      }
      for (const element of all("[data-word]")) element.textContent = say(element.dataset.word);
      for (const element of all("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label));
      for (const select of all("select")) {
        for (const option of select.options) option.textContent = words[state.lang][select.dataset.options][option.value];
      }
      for (const button of all("button[data-language]")) {
        button.setAttribute("aria-pressed", String(button.dataset.language === state.lang));
      }
      showControls();
      redraw();
    }

    function showControls() {
      for (const box of all("[data-show]")) box.checked = state.show.includes(box.dataset.show);
      for (const input of all("[data-field]")) {
        const value = state[input.dataset.field];
        const output = input.parentElement.querySelector(".value");
        if (input.type === "checkbox") input.checked = value;
        else input.value = String((SCALES[input.dataset.field] ?? IDENTITY)[1](value));
        if (output) output.textContent = value.toLocaleString(state.lang, { maximumFractionDigits: 6 });
        if (input.type === "range") input.setAttribute("aria-valuetext", String(value));
      }
      for (const element of all("[data-for]")) element.hidden = !element.dataset.for.split(" ").includes(state.optimizer);
      find(".half").hidden = state.schedule === "constant";
      find(".b1").textContent = state.optimizer === "adam" ? "β₁" : "β";
      find(".b2").textContent = state.optimizer === "adam" ? "β₂" : "β";
      find(".formula").textContent = FORMULAS[state.optimizer === "adam" && state.corrected ? "adam_corrected" : state.optimizer];
      find(".schedule-formula").textContent = FORMULAS[state.schedule];
      find(".condition").textContent = say("condition", { condition: short(problem.largest / problem.smallest) });
      showLimit();
      const [steps, rest] = [descent.stepsPerEpoch(n, state.size), n % state.size];
      find(".batches").textContent = say(rest ? "remainder" : "batches", { steps, rows: rest });
    }

    function showLimit() {
      const limit = descent.limit(problem, state);
      const input = find("[data-field=rate]");
      const [least, most] = [Number(input.min), Number(input.max)];
      const share = (Math.log10(limit) - least) / (most - least);
      input.style.setProperty("--limit", share > 1 ? 2 : Math.max(share, 0)); // 2: past the end, not even a sliver
      const beyond = state.rate > limit && state.schedule === "constant";
      const key =
        limit === Infinity ? "noLimit" : limit > 10 ? "above" : beyond ? "beyond" : state.schedule === "constant" ? "limit" : "decaying";
      find(".limit").textContent = say(key, { limit: short(limit), formula: LIMITS[state.optimizer] });
      find(".limit").classList.toggle("warning", beyond);
    }

    for (const input of all("[data-field]")) {
      const field = input.dataset.field;
      const read = () => {
        if (input.type === "checkbox") return input.checked;
        const value = input.tagName === "SELECT" ? input.value : (SCALES[field] ?? IDENTITY)[0](Number(input.value));
        return FIELDS[field][1](String(value));
      };
      input.addEventListener("input", () => {
        const value = read();
        if (value === undefined) return; // a number half typed
        const fields = { [field]: value };
        if (field === "rotate" || field === "standardize") {
          const model = descent.axes(data, state).original(...state.start); // the start stays the same model
          fields.start = within(descent.axes(data, { ...state, ...fields }).parameters(...model));
        }
        change(fields);
      });
      input.addEventListener("change", settle);
    }

    for (const box of all("[data-show]")) {
      box.addEventListener("change", () => {
        state.show = REGIMES.map(({ letter }) => letter).filter((letter) => find(`[data-show=${letter}]`).checked).join("");
        redraw();
        settle();
      });
    }

    for (const button of all("button[data-language]")) {
      button.addEventListener("click", () => {
        state.lang = button.dataset.language;
        showWords();
        settle();
      });
    }

    find(".shuffle").addEventListener("click", () => {
      change({ seed: (state.seed + 1) % 1000000 });
      settle();
    });

    find(".reset").addEventListener("click", () => {
      change({ ...defaults(language), lang: state.lang });
      settle();
    });

    // -- the start, moved by pointer and by keys

    const handle = find(".start");
    const frame = find(".contour");
    const toX = (a) => ((a - FRAME.left) / (FRAME.right - FRAME.left)) * frame.clientWidth;
    const toY = (b) => ((FRAME.top - b) / (FRAME.top - FRAME.bottom)) * frame.clientHeight;

    function moveTo(event) {
      const { left, top } = frame.getBoundingClientRect();
      const a = FRAME.left + ((event.clientX - left) / frame.clientWidth) * (FRAME.right - FRAME.left);
      const b = FRAME.top - ((event.clientY - top) / frame.clientHeight) * (FRAME.top - FRAME.bottom);
      change({ start: within([+a.toFixed(2), +b.toFixed(2)]) });
    }

    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.addEventListener("pointermove", moveTo);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      handle.addEventListener(end, () => {
        handle.removeEventListener("pointermove", moveTo);
        settle();
      });
    }
    frame.querySelector("canvas").addEventListener("click", (event) => {
      moveTo(event);
      settle();
    });
    const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    handle.addEventListener("keydown", (event) => {
      const direction = KEYS[event.key];
      if (!direction) return;
      event.preventDefault();
      const far = event.shiftKey ? 0.25 : 0.05;
      change({ start: within(state.start.map((value, j) => value + far * direction[j])) });
    });
    handle.addEventListener("keyup", (event) => {
      if (KEYS[event.key]) settle();
    });

    // -- the player: the time is examples seen, slow at first, where most happens

    const SECONDS = 8;
    const scrubber = find(".scrubber");
    let last = 0;

    function tick(now) {
      if (!playing) return;
      const share = Math.sqrt(seen / total()) + Math.min(now - last, 100) / (1000 * SECONDS);
      last = now;
      seen = Math.min(share * share, 1) * total();
      if (seen === total()) playing = false;
      drawMoment();
      if (playing) requestAnimationFrame(tick);
    }

    function play() {
      if (seen >= total()) seen = 0;
      state.at = null;
      playing = true;
      last = performance.now();
      requestAnimationFrame(tick);
    }

    function pause() {
      playing = false;
      state.at = seen < total() ? Math.floor(seen) : null;
      drawMoment();
    }

    find(".play").addEventListener("click", () => {
      if (playing) {
        pause();
        settle();
      } else {
        play();
        drawMoment();
      }
    });
    scrubber.addEventListener("input", () => {
      seen = Number(scrubber.value);
      pause();
    });
    scrubber.addEventListener("change", settle);

    // -- pictures

    const probe = document.createElement("span");
    probe.hidden = true;
    root.append(probe);

    function palette() {
      const color = (name) => {
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color;
      };
      colors = Object.fromEntries(["ink", "muted", "grid", "contour", "ghost", "paper"].map((name) => [name, color(name)]));
      colors.paths = REGIMES.map(({ name }) => color(name));
      colors.font = `12px ${getComputedStyle(root).fontFamily}`;
    }

    // Everything is drawn at the next frame, however often it changed before; panels only where they are seen.
    let asked = false;
    function redraw() {
      for (const panel of Object.keys(PANELS)) stale.add(panel);
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        palette();
        drawMoment();
        drawPanels();
      });
    }

    const made = (path) => Math.min(descent.updatesAfter(seen, n, path.rows), path.updates);

    function drawMoment() {
      if (!colors) palette();
      drawContour();
      drawLosses();
      if (visible.has("boundary")) PANELS.boundary();
      else stale.add("boundary");
      describe();
    }

    function describe() {
      const status = (path) =>
        path.left !== null && made(path) >= path.left
          ? say("left", { update: integerText(path.left) })
          : say("updates", { updates: integerText(made(path)) });
      all(".regimes .status").forEach((element, i) => (element.textContent = status(paths[i])));
      const counts = paths.map((path) => integerText(made(path)));
      find(".contour-caption").textContent = say("contourCaption", {
        seen: integerText(Math.round(seen)), batch: counts[0], mini: counts[1], stochastic: counts[2],
      });
      find(".position").textContent = say("position", {
        seen: integerText(Math.round(seen)), epoch: (seen / n).toLocaleString(state.lang, { maximumFractionDigits: 1, minimumFractionDigits: 1 }),
      });
      scrubber.max = String(total());
      scrubber.value = String(seen);
      scrubber.setAttribute("aria-valuetext", find(".position").textContent);
      const button = find(".play");
      button.classList.toggle("playing", playing);
      if (button.dataset.says !== say(playing ? "pause" : "play")) {
        button.dataset.says = say(playing ? "pause" : "play");
        button.setAttribute("aria-label", button.dataset.says);
      }
      if (playing) return;
      const sentences = paths.map((path, i) => say(path.left === null ? "pathLabel" : "pathLeft", {
        name: say(REGIMES[i].name), status: status(path), excess: short(path.excess[path.updates]),
      })).filter((_, i) => shown(i)).join(" ");
      find(".contour canvas").setAttribute("aria-label", say("contourLabel", { paths: sentences }));
      find(".losses canvas").setAttribute("aria-label", say("lossLabel", { paths: sentences }));
      handle.setAttribute("aria-label", say("start", { a: short(state.start[0]), b: short(state.start[1]) }));
    }

    function drawContour() {
      const { c, width, height } = surface(find(".contour canvas"));
      const unit = toX(1) - toX(0);
      c.font = colors.font;
      c.textBaseline = "middle";
      [c.strokeStyle, c.lineWidth] = [colors.contour, 0.9];
      const [x, y] = [toX(problem.minimum[0]), toY(problem.minimum[1])];
      for (let k = -11; k <= 9; k++) {
        const level = 2 ** k; // of the loss above its minimum; an ellipse, since it is a quadratic
        c.beginPath();
        c.ellipse(x, y, unit * Math.sqrt((2 * level) / problem.largest), unit * Math.sqrt((2 * level) / problem.smallest), -problem.angle, 0, 2 * Math.PI);
        c.stroke();
      }
      c.textBaseline = "alphabetic";
      for (const a of [-2, -1, 0, 1, 2]) label(c, String(a).replace("-", "−"), toX(a), height - 6, colors.muted, colors.paper, "center");
      for (const b of [-1, 0, 1, 2]) label(c, String(b).replace("-", "−"), 6, toY(b) + 4, colors.muted, colors.paper);
      label(c, say("first"), width - 6, height - 6, colors.muted, colors.paper, "right");
      label(c, say("second"), 6, 15, colors.muted, colors.paper);

      const draw = (path, count) => line(c, count + 1, (k) => toX(path.theta[2 * k]), (k) => toY(path.theta[2 * k + 1]));
      c.lineJoin = "round";
      for (const i of DRAWN.filter(shown)) {
        if (!ghost) continue;
        [c.strokeStyle, c.lineWidth] = [colors.ghost, REGIMES[i].ghost];
        c.setLineDash(REGIMES[i].dash);
        draw(ghost[i], Math.min(descent.updatesAfter(seen, n, ghost[i].rows), ghost[i].left ?? ghost[i].updates));
      }
      const taken = [];
      for (const i of DRAWN.filter(shown)) {
        const path = paths[i];
        const k = made(path);
        const gone = path.left !== null && k >= path.left;
        [c.strokeStyle, c.lineWidth, c.lineJoin] = [colors.paths[i], REGIMES[i].width, "round"];
        c.setLineDash(REGIMES[i].dash);
        c.globalAlpha = REGIMES[i].alpha;
        draw(path, gone ? path.left : k);
        c.globalAlpha = 1;
        if (!gone) mark(c, i, toX(path.theta[2 * k]), toY(path.theta[2 * k + 1]), colors.paths[i], colors.paper);
      }
      c.setLineDash([]);
      star(c, x, y, colors.ink, colors.paper);
      for (const i of DRAWN.filter(shown)) {
        if (paths[i].left !== null && made(paths[i]) >= paths[i].left) drawExit(c, i, taken);
      }
      handle.style.left = `${toX(state.start[0])}px`;
      handle.style.top = `${toY(state.start[1])}px`;
    }

    // An arrow where a path leaves the frame, and which update did it.
    function drawExit(c, i, taken) {
      const { theta, left } = paths[i];
      const far = (value) => clamp(Number.isNaN(value) ? 0 : value, -1e6, 1e6);
      const from = left === 0 ? state.start : [theta[2 * left - 2], theta[2 * left - 1]];
      const to = [far(theta[2 * left]), far(theta[2 * left + 1])];
      const step = to.map((value, j) => value - from[j]);
      const edges = [[FRAME.left, FRAME.right], [FRAME.bottom, FRAME.top]];
      const share = Math.min(1, ...step.map((d, j) => (d === 0 ? 1 : (edges[j][d > 0 ? 1 : 0] - from[j]) / d)));
      const [x, y] = [toX(from[0] + share * step[0]), toY(from[1] + share * step[1])];
      arrow(c, x, y, Math.atan2(-step[1], step[0]), colors.paths[i], colors.paper);
      const [right, bottom] = [frame.clientWidth, frame.clientHeight];
      let row = clamp(y, 26, bottom - 34);
      while (taken.some((other) => Math.abs(other - row) < 18)) row += y > bottom / 2 ? -18 : 18;
      taken.push(row);
      c.font = `600 ${colors.font}`;
      const text = `${say(REGIMES[i].name)}: ${say("left", { update: integerText(left) })}`;
      const onRight = x > right / 2;
      c.textBaseline = "middle";
      const reach = c.measureText(text).width;
      label(c, text, onRight ? clamp(x - 20, reach + 30, right - 20) : clamp(x + 20, 20, right - reach - 30), row, colors.paths[i], colors.paper, onRight ? "right" : "left");
    }

    function drawLosses() {
      const drawn = surface(find(".losses canvas"));
      const { c } = drawn;
      const most = n * MOST_EPOCHS;
      const { box, toX: seenX, toY: lossY } = axesOn(drawn, colors, {
        x: [0, most], y: [-5, 1], logY: true, xLabel: say("seen"), yLabel: say("excess"),
        ticksX: [0, 3000, 6000, 9000].map((value) => [value, integerText(value)]),
      });
      const draw = (path, count) => line(c, count + 1,
        (k) => seenX(descent.seenAfter(k, n, path.rows)), (k) => Math.max(lossY(path.excess[k]), -1e4));
      clipped(c, box, () => {
        for (const i of DRAWN.filter(shown)) {
          if (!ghost) continue;
          [c.strokeStyle, c.lineWidth] = [colors.ghost, REGIMES[i].ghost];
          c.setLineDash(REGIMES[i].dash);
          draw(ghost[i], Math.min(descent.updatesAfter(seen, n, ghost[i].rows), ghost[i].left ?? ghost[i].updates));
        }
        for (const i of DRAWN.filter(shown)) {
          [c.strokeStyle, c.lineWidth] = [colors.paths[i], REGIMES[i].width];
          c.setLineDash(REGIMES[i].dash);
          c.globalAlpha = REGIMES[i].alpha;
          draw(paths[i], Math.min(made(paths[i]), paths[i].left ?? Infinity));
          c.globalAlpha = 1;
        }
      });
      for (const i of DRAWN.filter(shown)) {
        const k = made(paths[i]);
        const gone = paths[i].left !== null && k >= paths[i].left;
        const at = seenX(descent.seenAfter(gone ? paths[i].left : k, n, paths[i].rows));
        if (gone) arrow(c, at, box.top, -Math.PI / 2, colors.paths[i], colors.paper);
        else mark(c, i, at, clamp(lossY(paths[i].excess[k]), box.top, box.bottom), colors.paths[i], colors.paper);
      }
    }

    // -- panels

    const clouds = [1, 4, 15, 60];
    const sizes = [1, 2, 4, 8, 15, 30, 60];
    const SPREAD = [-3, 1];
    const points = descent.moons(n, 0.18);
    const net = descent.network(points);
    const SNAPSHOTS = 90;
    let trained = { of: null };

    const PANELS = {
      correction() {
        const drawn = surface(find(".correction canvas"));
        const { c } = drawn;
        const { box, toX: x, toY: y } = axesOn(drawn, colors, {
          x: [0, 4], y: [-1, 4], logX: true, logY: true, xLabel: say("correctionX"), yLabel: "1/(1 − βᵗ)",
          ticksX: [0, 1, 2, 3, 4].map((k) => [10 ** k, power(k)]),
        });
        const curves = [
          [(t) => descent.correction(state.b1, t), "β₁", colors.ink, [], 2.4],
          [(t) => descent.correction(state.b2, t), "β₂", colors.ink, [7, 4], 1.8],
          [(t) => descent.stepRatio(state.b1, state.b2, t), say("correctionRatio"), colors.paths[2], [2, 3], 2],
        ];
        const time = (i) => 10 ** (i / 50);
        curves.forEach(([value, name, color, dash, width], k) => {
          clipped(c, box, () => {
            [c.strokeStyle, c.lineWidth] = [color, width];
            c.setLineDash(dash);
            line(c, 201, (i) => x(time(i)), (i) => y(value(time(i))));
          });
          c.setLineDash(dash);
          [c.strokeStyle, c.lineWidth] = [color, width];
          const row = box.top + 12 + 18 * k;
          const reach = c.measureText(name).width;
          line(c, 2, (i) => box.right - reach - 42 + 32 * i, () => row);
          label(c, name, box.right - 2, row, color, colors.paper, "right");
        });
        const [first, second, ratio] = curves.map(([value]) => value(1));
        find(".correction-caption").textContent = say(Math.abs(ratio - 1) < 1e-3 ? "correctionEven" : "correctionCaption", {
          first: short(first), second: short(Math.sqrt(second)), ratio: short(Math.max(ratio, 1 / ratio)), direction: say(ratio < 1 ? "large" : "small"),
        });
      },

      noise() {
        const runs = new Map(sizes.map((rows) => [rows, descent.noise(problem, rows, state)]));
        const drawn = surface(find(".noise canvas"));
        const { c, width } = drawn;
        const side = Math.min((width - 30) / 4, 96);
        const gap = (width - 4 * side) / 3;
        c.font = colors.font;
        clouds.forEach((rows, i) => {
          const left = i * (side + gap);
          const box = { left, right: left + side, top: 0, bottom: side };
          [c.strokeStyle, c.lineWidth] = [colors.grid, 1];
          c.setLineDash([]);
          c.strokeRect(left + 0.5, 0.5, side - 1, side - 1);
          clipped(c, box, () => {
            c.fillStyle = colors.paths[rows === 1 ? 2 : 1];
            c.globalAlpha = 0.5;
            const { places } = runs.get(rows);
            for (let k = 0; k < places.length; k += 2) {
              const [a, b] = [places[k] - problem.minimum[0], places[k + 1] - problem.minimum[1]];
              c.fillRect(left + side / 2 + (a / 2.4) * side - 0.7, side / 2 - (b / 2.4) * side - 0.7, 1.4, 1.4);
            }
            c.globalAlpha = 1;
          });
          c.textBaseline = "top";
          label(c, integerText(rows), left + 5, 4, colors.muted, colors.paper);
        });
        const lower = { c, width, height: drawn.height - side - 10 };
        c.save();
        c.translate(0, side + 10);
        const { box, toX: x, toY: y } = axesOn(lower, colors, {
          x: [-0.08, Math.log10(80)], y: SPREAD, logX: true, logY: true, xLabel: say("noiseX"), yLabel: say("noiseY"),
          ticksX: sizes.map((rows) => [rows, integerText(rows)]),
        });
        const spread = (rows) => runs.get(rows).spread;
        const held = sizes.filter((rows) => spread(rows) < 10);
        clipped(c, { ...box, top: box.top - 4, bottom: box.bottom + 4 }, () => {
          [c.strokeStyle, c.lineWidth] = [colors.paths[1], 1.9];
          line(c, held.length, (i) => x(held[i]), (i) => y(spread(held[i])));
          for (const rows of held) mark(c, rows === 1 ? 2 : 1, x(rows), y(spread(rows)), colors.paths[rows === 1 ? 2 : 1], colors.paper);
        });
        c.restore();
        find(".noise-caption").textContent = held.length < sizes.length ? say("noiseLost") : say("noiseCaption", { one: short(spread(1)), fifteen: short(spread(15)) });
      },

      boundary() {
        const of = JSON.stringify([state.rate, state.size, state.optimizer, state.b1, state.b2, state.corrected, state.schedule, state.half, state.epochs, state.seed]);
        if (trained.of !== of) {
          trained = { of, runs: REGIMES.map(({ rows }) => descent.snapshots(net, net.start(0), rows(state), state, SNAPSHOTS)) };
        }
        const { c, width, height } = surface(find(".boundary canvas"));
        const unit = Math.min(width / 3.6, height / 2.5);
        const [x, y] = [(a) => width / 2 + unit * a, (b) => height / 2 - unit * b];
        points.x.forEach(([a, b], i) => {
          [c.strokeStyle, c.fillStyle, c.lineWidth] = [colors.ink, colors.ink, 1.3];
          c.globalAlpha = 0.55;
          c.beginPath();
          if (points.y[i]) c.arc(x(a), y(b), 2.6, 0, 2 * Math.PI);
          else [[-3, -3, 3, 3], [-3, 3, 3, -3]].forEach(([p, q, r, s]) => { c.moveTo(x(a) + p, y(b) + q); c.lineTo(x(a) + r, y(b) + s); });
          c.stroke();
          c.globalAlpha = 1;
        });
        const moment = Math.min(Math.floor((seen / total()) * SNAPSHOTS + 1e-9), SNAPSHOTS);
        const accuracies = [];
        for (const i of DRAWN.filter(shown)) {
          const theta = trained.runs[i][moment];
          [c.strokeStyle, c.lineWidth] = [colors.paths[i], Math.max(REGIMES[i].width, 1.2)];
          c.setLineDash(REGIMES[i].dash);
          levelSet(c, (px, py) => net.logit(theta, (px - width / 2) / unit, (height / 2 - py) / unit), width, height);
          const accuracy = net.accuracy(theta).toLocaleString(state.lang, { style: "percent" });
          accuracies.unshift(say("accuracy", { name: say(REGIMES[i].name), accuracy }));
        }
        find(".boundary-caption").textContent = say("boundaryCaption", { accuracies: accuracies.join(", ") || "–" });
      },
    };

    function drawPanels() {
      for (const name of [...stale].filter((each) => visible.has(each))) {
        stale.delete(name);
        PANELS[name]();
        const canvas = find(`.${name} canvas`);
        canvas.setAttribute("aria-label", find(`.${name}-caption`).textContent);
      }
    }

    // -- life

    for (const name of Object.keys(PANELS)) {
      new IntersectionObserver(([entry]) => {
        if (entry.isIntersecting) visible.add(name);
        else visible.delete(name);
        if (colors) drawPanels();
      }, { rootMargin: "100px" }).observe(find(`.${name}`));
    }
    for (const select of all("select")) {
      for (const value of descent[select.dataset.options.toUpperCase()]) select.add(new Option("", value));
    }
    find("[data-field=size]").max = String(SIZES.length - 1);
    addEventListener("popstate", restore);
    addEventListener("hashchange", restore);
    new ResizeObserver(redraw).observe(root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    new MutationObserver(redraw).observe(document.documentElement, { attributes: true });

    compute();
    showWords();
    if (state.at === null && !still.matches) play();

    root.explorer = { get state() { return state; }, get paths() { return paths; }, get problem() { return problem; }, get ghost() { return ghost; }, get seen() { return seen; } };
  }

  // The zero line of a function of pixels, by marching squares.
  function levelSet(c, value, width, height) {
    const cell = 7;
    const [columns, rows] = [Math.ceil(width / cell), Math.ceil(height / cell)];
    const grid = Array.from({ length: rows + 1 }, (_, r) => Float64Array.from({ length: columns + 1 }, (_, q) => value(q * cell, r * cell)));
    // Each crossed edge with the points of its neighbours along the line, so that pieces join and dashes run through.
    const points = new Map();
    const links = new Map();
    for (let r = 0; r < rows; r++) {
      for (let q = 0; q < columns; q++) {
        const corners = [[q, r], [q + 1, r], [q + 1, r + 1], [q, r + 1]];
        const crossed = [];
        corners.forEach(([a, b], i) => {
          const [d, e] = corners[(i + 1) % 4];
          const [u, v] = [grid[b][a], grid[e][d]];
          if (u > 0 === v > 0) return;
          const edge = `${a + d} ${b + e}`;
          points.set(edge, [cell * (a + ((d - a) * u) / (u - v)), cell * (b + ((e - b) * u) / (u - v))]);
          crossed.push(edge);
        });
        for (let i = 0; i + 1 < crossed.length; i += 2) {
          const [a, b] = [crossed[i], crossed[i + 1]];
          links.set(a, [...(links.get(a) ?? []), b]);
          links.set(b, [...(links.get(b) ?? []), a]);
        }
      }
    }
    c.beginPath();
    const ends = [...links.keys()].sort((a, b) => links.get(a).length - links.get(b).length); // open lines first
    const done = new Set();
    for (const first of ends) {
      if (done.has(first)) continue;
      c.moveTo(...points.get(first));
      for (let edge = first; edge !== undefined; edge = links.get(edge).find((next) => !done.has(next))) {
        done.add(edge);
        c.lineTo(...points.get(edge));
      }
    }
    c.stroke();
  }

  for (const root of document.querySelectorAll(".gdjax-explorer")) if (!root.explorer) mount(root);
})();
