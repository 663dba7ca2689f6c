"use strict";
/* Line charts in SVG: linear or logarithmic axes, bands, marks, and a readout of the nearest point. */
const charts = (() => {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const MARGIN = { left: 58, right: 14, top: 10, bottom: 42 };
  const REACH = 40; // pixels from a point within which it is read out

  function element(name, attributes = {}, text = null) {
    const made = document.createElementNS(NAMESPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    return made;
  }

  /** A number as people write it: 12,000; 0.05; 3e-7. */
  function shown(value, digits = 3) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return value.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e");
    return Number(value.toPrecision(digits)).toLocaleString("en", { maximumFractionDigits: 12 });
  }

  /** Ticks of [low, high]: decades and their halves where the axis is logarithmic, else multiples of 1, 2 or 5, as where it spans less than a decade. */
  function ticks(low, high, log, most) {
    if (log && high >= 10 * low) {
      for (const steps of [[1, 2, 5], [1, 3], [1]]) {
        const found = [];
        for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++) {
          for (const step of steps) found.push(step * 10 ** decade);
        }
        const within = found.filter((each) => each >= low * (1 - 1e-9) && each <= high * (1 + 1e-9));
        if (within.length <= most) return within;
        if (steps.length === 1) return within.filter((_, place) => place % Math.ceil(within.length / most) === 0);
      }
    }
    const rough = (high - low) / most, decade = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((each) => each * decade).find((each) => each >= rough);
    const found = [];
    for (let place = Math.ceil(low / step - 1e-9); place * step <= high + 1e-9 * step; place++) found.push(place * step);
    return found;
  }

  function axis(values, log) {
    let [low, high] = values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
    if (log) {
      [low, high] = low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.03, high * (high / low) ** 0.03];
      return { low, high, log, share: (value) => Math.log(value / low) / Math.log(high / low) };
    }
    if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    const room = 0.03 * (high - low);
    [low, high] = [low === 0 ? 0 : low - room, high + room];
    return { low, high, log, share: (value) => (value - low) / (high - low) };
  }

  /**
   * Draw into a box, anew whenever its size changes.
   *
   * about: {x: {label, log}, y: {label, log}, level, values} where `level` is a dotted line and `values` are numbers that
   * the y axis reaches to beside those drawn.
   * series: [{name, color, dash, points: [[x, y]], band: [[x, low, high]], rings: [[x, y]], crosses: [x], ticks: [x]}].
   * A chart dispatches "light" with the name of the series that is pointed at, or null.
   */
  function draw(box, about, series) {
    box.chart = { about, series };
    if (!box.observer) {
      box.observer = new ResizeObserver(() => paint(box));
      box.observer.observe(box);
    }
    paint(box);
  }

  function paint(box) {
    const { about, series } = box.chart;
    const sound = ([x, ...rest]) => [x, ...rest].every((v) => v !== null && Number.isFinite(v))
      && (!about.x.log || x > 0) && (!about.y.log || rest.every((y) => y > 0));
    const lines = series.map((each) => ({
      ...each, points: each.points.filter(sound), band: (each.band || []).filter(sound), rings: (each.rings || []).filter(sound),
    }));
    const all = lines.flatMap((each) => [...each.points, ...each.band.flatMap(([x, low, high]) => [[x, low], [x, high]])]);
    box.replaceChildren();
    if (!all.length) {
      const nothing = document.createElement("p");
      nothing.className = "nothing";
      nothing.textContent = "Nothing to show.";
      box.append(nothing);
      return;
    }
    const width = box.clientWidth, height = box.clientHeight;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    const xs = axis([...all.map(([x]) => x), ...lines.flatMap((each) => [...(each.crosses || []), ...(each.ticks || [])])], about.x.log);
    const level = about.level > 0 || !about.y.log ? about.level : null;
    const ys = axis([...all.map(([, y]) => y), ...(level === null || level === undefined ? [] : [level]), ...(about.values || [])], about.y.log);
    const px = (x) => MARGIN.left + xs.share(x) * inner.width;
    const py = (y) => MARGIN.top + (1 - ys.share(y)) * inner.height;
    const at = (x, y) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`;

    const svg = element("svg", { role: "img", "aria-label": `${about.y.label} against ${about.x.label}` });
    for (const value of ticks(xs.low, xs.high, xs.log, Math.max(3, Math.floor(inner.width / 80)))) {
      svg.append(element("line", { class: "grid", x1: px(value), x2: px(value), y1: MARGIN.top, y2: MARGIN.top + inner.height }));
      svg.append(element("text", { x: px(value), y: MARGIN.top + inner.height + 16, "text-anchor": "middle" }, shown(value)));
    }
    for (const value of ticks(ys.low, ys.high, ys.log, Math.max(3, Math.floor(inner.height / 40)))) {
      svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: py(value), y2: py(value) }));
      svg.append(element("text", { x: MARGIN.left - 6, y: py(value) + 4, "text-anchor": "end" }, shown(value)));
    }
    svg.append(element("rect", { class: "frame", x: MARGIN.left, y: MARGIN.top, width: inner.width, height: inner.height }));
    svg.append(element("text", { class: "title", x: MARGIN.left + inner.width / 2, y: height - 6, "text-anchor": "middle" }, about.x.label));
    svg.append(element("text", {
      class: "title", transform: `translate(13,${MARGIN.top + inner.height / 2}) rotate(-90)`, "text-anchor": "middle",
    }, about.y.label));
    if (level !== null && level !== undefined) {
      svg.append(element("line", {
        x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: py(level), y2: py(level),
        stroke: "currentColor", "stroke-dasharray": "1 4", "stroke-width": 1.5,
      }));
    }
    for (const { name, color, dash, points, band, rings, crosses = [], ticks: marks = [] } of lines) {
      if (band.length) {
        const outline = [...band.map(([x, , high]) => at(x, high)), ...band.map(([x, low]) => at(x, low)).reverse()];
        svg.append(element("polygon", { class: "band", "data-name": name, points: outline.join(" "), fill: color }));
      }
      svg.append(element("polyline", {
        class: "line", "data-name": name, points: points.map(([x, y]) => at(x, y)).join(" "), stroke: color, "stroke-dasharray": dash || "none",
      }));
      if (points.length <= 12) for (const [x, y] of points) svg.append(element("circle", { cx: px(x), cy: py(y), r: 2.5, fill: color }));
      for (const [x, y] of rings) svg.append(element("circle", { cx: px(x), cy: py(y), r: 7, fill: "none", stroke: color, "stroke-width": 2 }));
      for (const x of crosses) {
        svg.append(element("text", { x: px(x), y: MARGIN.top + 14, "text-anchor": "middle", style: `fill:${color};font-weight:700` }, "×"));
      }
      for (const x of marks) {
        const foot = MARGIN.top + inner.height;
        svg.append(element("line", { x1: px(x), x2: px(x), y1: foot, y2: foot - 10, stroke: color, "stroke-width": 3 }));
      }
    }
    const readout = document.createElement("div");
    readout.className = "readout";
    readout.hidden = true;
    box.append(svg, readout);

    function read(event) {
      const { left, top } = box.getBoundingClientRect();
      let near = null, distance = REACH;
      for (const each of lines) {
        for (const [x, y] of each.points) {
          const away = Math.hypot(px(x) - (event.clientX - left), py(y) - (event.clientY - top));
          if (away < distance) [near, distance] = [{ each, x, y }, away];
        }
      }
      readout.hidden = near === null;
      if (near) {
        readout.textContent = `${near.each.name}: ${shown(near.y, 4)} at ${shown(near.x, 5)}`;
        const half = readout.offsetWidth / 2;
        readout.style.left = `${Math.min(Math.max(px(near.x), half), width - half)}px`;
        readout.style.top = `${py(near.y)}px`;
      }
      box.dispatchEvent(new CustomEvent("light", { detail: near && near.each.name }));
    }
    svg.addEventListener("pointermove", read);
    svg.addEventListener("pointerdown", read);
    svg.addEventListener("pointerleave", () => {
      readout.hidden = true;
      box.dispatchEvent(new CustomEvent("light", { detail: null }));
    });
  }

  /** Let one series stand out; none where the name is null. */
  function light(box, name) {
    box.classList.toggle("lighting", name !== null);
    for (const each of box.querySelectorAll("[data-name]")) each.classList.toggle("lit", each.dataset.name === name);
  }

  return { draw, light, shown };
})();
