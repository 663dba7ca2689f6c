/* The report's page: a table that sorts, curves with regimes and optimizers to switch on and off. */
(() => {
  const found = JSON.parse(document.getElementById("comparison").textContent);
  const { optimizers, regimes } = found;
  const box = (id) => document.getElementById(id);
  const CURVES = ["loss", "rate", "gradient"];
  const TITLES = { examples: "examples seen", updates: "updates", seconds: "seconds of one run" };

  function node(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  function stroke(color, dash) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "swatch");
    svg.setAttribute("width", 30);
    svg.setAttribute("height", 8);
    svg.innerHTML = `<line x1="0" x2="30" y1="4" y2="4" stroke="${color}" stroke-width="2.5" stroke-dasharray="${dash || "none"}"/>`;
    return svg;
  }

  /* The table. A column: heading, what is shown, what is sorted by (null is last), and whether it is a word. */
  const several = found.schedules.length > 1;
  const count = (value) => (value === null ? "–" : value.toLocaleString("en"));
  const customary = (row) => {
    const loss = row.diverged_at_customary ? "diverged" : row.test_loss_at_customary;
    if (loss === null) return "–"; // it was not tried
    return `${loss === "diverged" ? loss : charts.shown(loss, 4)} at ${charts.shown(row.customary_rate)}`;
  };
  const columns = [
    ["", (row) => ({ true: "=", false: "", null: "?" })[row.tied_with_best], (row) => (row.tied_with_best === true ? 0 : 1), true],
    ["optimizer", (row) => row.optimizer, null, true],
    ...(several ? [["schedule", (row) => row.schedule, null, true]] : []),
    ["regime", (row) => row.regime, null, true],
    ["rate", (row) => charts.shown(row.learning_rate, 4) + (row.rate_at_edge ? " (edge)" : ""), (row) => row.learning_rate],
    ["validation loss", (row) => (row.validation_loss === null ? "–" : charts.shown(row.validation_loss, 4)), (row) => row.validation_loss],
    ["test loss", (row) => row.shown.test_loss, (row) => row.test_loss],
    ...(found.metric ? [[found.metric, (row) => row.shown[found.metric], (row) => row[found.metric]]] : []),
    ["test loss at customary", customary, (row) => row.test_loss_at_customary],
    ["diverged", (row) => `${row.diverged_runs} of ${row.seeds}`, (row) => row.diverged_runs],
    ["updates", (row) => count(row.updates), (row) => row.updates],
    ["examples", (row) => count(row.examples), (row) => row.examples],
    ["seconds", (row) => charts.shown(row.seconds, 2), (row) => row.seconds],
    ["compile", (row) => charts.shown(row.compile_seconds, 2), (row) => row.compile_seconds],
    ["to target", (row) => count(row.examples_to_target), (row) => row.examples_to_target],
  ].map(([heading, words, key, word]) => ({ heading, words, key: key || words, word: Boolean(word) }));

  function baseline([name, scores]) {
    const cells = columns.map(({ heading, word }) => {
      const value = { optimizer: `(${name})`, "test loss": scores.loss, [found.metric]: scores[found.metric] }[heading];
      const words = typeof value === "number" ? charts.shown(value, 4) : value || "";
      return node("td", { className: word ? "word" : "" }, words);
    });
    return node("tr", { className: "baseline" }, ...cells);
  }

  function line(row) {
    const cells = columns.map(({ heading, words, word }) => {
      const cell = node("td", { className: word ? "word" : "" }, words(row));
      if (heading === "optimizer") cell.prepend(stroke(optimizers[row.optimizer], regimes[row.regime]));
      return cell;
    });
    const made = node("tr", { className: row === found.rows[0] ? "first" : "" }, ...cells);
    made.dataset.name = row.name;
    made.addEventListener("pointerenter", () => lightAll(row.name));
    made.addEventListener("pointerleave", () => lightAll(null));
    return made;
  }

  const body = node("tbody");
  let order = { column: null, descending: false };

  function sorted() {
    const { column, descending } = order;
    if (!column) return found.rows;
    const nothing = (value) => value === null || value === undefined;
    return [...found.rows].sort((one, other) => {
      const [a, b] = [column.key(one), column.key(other)];
      if (nothing(a) || nothing(b)) return nothing(a) - nothing(b);
      const more = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return descending ? -more : more;
    });
  }

  function fill() {
    body.replaceChildren(...sorted().map(line), ...Object.entries(found.baselines).map(baseline));
    for (const [place, cell] of [...box("table").tHead.rows[0].cells].entries()) {
      if (columns[place] === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  const headings = columns.map((column) => {
    const button = node("button", { type: "button" }, column.heading || "=");
    button.addEventListener("click", () => {
      order = { column, descending: order.column === column && !order.descending };
      fill();
    });
    return node("th", { className: column.word ? "word" : "", scope: "col" }, button);
  });
  box("table").append(node("thead", {}, node("tr", {}, ...headings)), body);
  fill();

  /* The curves. */
  function choices(id, names, mark) {
    for (const name of names) {
      const input = node("input", { type: "checkbox", value: name, checked: true });
      input.addEventListener("change", drawCurves);
      box(id).append(node("label", {}, input, ...mark(name), name));
    }
    box(id).hidden = names.length < 2;
  }
  choices("optimizers", Object.keys(optimizers), (name) => [stroke(optimizers[name], "")]);
  choices("regimes", Object.keys(regimes), (name) => [stroke("currentColor", regimes[name])]);
  choices("schedules", found.schedules, () => []);
  for (const input of box("against").querySelectorAll("input")) input.addEventListener("change", drawCurves);

  const chosen = (id) => new Set([...box(id).querySelectorAll("input:checked")].map((input) => input.value));
  const positive = (bands) => bands.flatMap((band) => band.low).filter((value) => value !== null).every((value) => value > 0);

  function drawCurves() {
    const [someOptimizers, someRegimes, someSchedules] = ["optimizers", "regimes", "schedules"].map(chosen);
    const [against] = chosen("against");
    const rows = found.rows.filter(
      (row) => someOptimizers.has(row.optimizer) && someRegimes.has(row.regime) && someSchedules.has(row.schedule),
    );
    const labels = { loss: "validation loss", rate: "learning rate", gradient: "gradient norm" };
    for (const kind of CURVES) {
      const series = rows.map((row) => ({
        name: row.name,
        color: optimizers[row.optimizer],
        dash: regimes[row.regime],
        points: row[kind].mean.map((value, place) => [row.at[against][place], value]),
        band: kind === "rate" ? [] : row[kind].low.map((low, place) => [row.at[against][place], low, row[kind].high[place]]),
      }));
      const about = {
        x: { label: TITLES[against], log: against !== "examples" },
        y: { label: labels[kind], log: positive(rows.map((row) => row[kind])) },
        level: kind === "loss" ? found.target : null,
      };
      charts.draw(box(kind), about, series);
    }
    drawRates(new Set(rows.map((row) => row.name)));
  }

  /* Loss against learning rate, a panel a regime, all of one height. */
  const constant = found.rows.filter((row) => row.schedule === "constant");
  const ends = constant.flatMap(({ by_rate }) => by_rate.loss.filter((value, place) => value !== null && !by_rate.diverged[place]));
  const panels = Object.keys(regimes).map((regime) => {
    const panel = node("div", { className: "chart small" });
    box("rates").append(node("figure", {}, node("figcaption", {}, regime), panel));
    return [regime, panel];
  });
  function drawRates(names) {
    for (const [regime, panel] of panels) drawPanel(panel, constant.filter((row) => row.regime === regime && names.has(row.name)));
  }
  function drawPanel(panel, rows) {
    const series = rows.map((row) => {
      const { rates, loss, diverged, chosen: best } = row.by_rate;
      const points = rates.map((rate, place) => [rate, diverged[place] ? null : loss[place]]);
      return {
        name: row.optimizer,
        color: optimizers[row.optimizer],
        points,
        rings: [[rates[best], loss[best]]],
        crosses: rates.filter((_, place) => diverged[place]),
        ticks: row.customary_rate === null ? [] : [row.customary_rate],
      };
    });
    charts.draw(panel, {
      x: { label: "learning rate", log: true }, y: { label: "validation loss", log: ends.every((value) => value > 0) }, values: ends,
    }, series);
  }

  function lightAll(name) {
    for (const kind of CURVES) charts.light(box(kind), name);
    for (const row of body.rows) row.classList.toggle("lit", name !== null && row.dataset.name === name);
  }
  for (const kind of CURVES) box(kind).addEventListener("light", (event) => lightAll(event.detail));
  drawCurves();
})();
