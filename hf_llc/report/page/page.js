// Curves and panels over training, the point that is chosen, and the controls.
"use strict";
(() => {
  const { data, element, small, showTip, hideTip, choice, widthOf } = shared;
  // Apart also to the colour-blind, with contrast to white and to black.
  const colors = ["#4269d0", "#ec4a18", "#d65ba5", "#8432ff", "#906345"];
  // Solid, short, long, and then so many long and so many short ones: no two are alike, however many there are.
  const dashes = [null, "2 5", "12 5"];
  for (let total = 2; dashes.length * colors.length < 2 * data.runs.length + 2 * colors.length; total += 1)
    for (let long = 1; long < total; long += 1) dashes.push([...Array(long).fill("12 5"), ...Array(total - long).fill("2 5")].join(" "));
  const state = { x: data.axes[0].key, scale: data.axes[0].scale, y: "linear", chosen: null };
  // Checkpoints whose steps stand beside their points; those of more would cover each other.
  const MOST_LABELLED = 12;
  const short = d3.format("~s");
  // No two runs have one colour and one pattern of dashes; only those that may be compared with the first are solid.
  const lines = new Set();
  const dashOfRun = data.runs.map((run, r) => {
    const dash = dashes.find((each) => (each || run.comparable) && !lines.has(`${r % colors.length} ${each}`));
    lines.add(`${r % colors.length} ${dash}`);
    return dash;
  });

  const x = (point) => (state.x === "order" ? point.order : point[state.x]);
  const all = data.runs.flatMap((run, r) =>
    run.points.map((point, p) => Object.assign(point, { run: r, index: p, order: p, name: run.name }))
  );

  function summary(point, panel) {
    const lines = [data.runs.length > 1 ? `${point.name}: ${point.revision}` : point.revision];
    const value = point.values[panel.name];
    const error = panel.error && point.values[panel.error];
    const name = panel.name === "llc" ? "λ̂" : panel.name;
    const uncertain = error == null || error === "" ? "" : ` ± ${Number(error.toPrecision(2))}`;
    lines.push(value == null ? `no ${name}` : `${name} = ${small(value)}${uncertain} ${panel.unit}`.trim());
    if (panel.null && point.values[panel.null] != null) lines.push(`${panel.null} = ${small(point.values[panel.null])}`);
    if (panel.name === "llc" || !point.verdict) lines.push(point.error || (point.verdict ? `${point.verdict}: ${point.reason}` : ""));
    else if (point.verdict) lines.push(point.verdict);
    if (point.duplicate_of) lines.push(`weights of ${point.duplicate_of}`);
    return lines.filter(Boolean).join("\n");
  }

  // Ticks of a logarithmic axis that may begin at 0: 0 and powers of ten, as many as there is room for.
  function ticksOf(values, width) {
    const [least, most] = d3.extent(values);
    if (least === most) return [least];
    const powers = [];
    for (let power = 1; power <= most; power *= 10) if (power >= least) powers.push(power);
    return [...(least <= 0 ? [0] : []), ...powers].slice(0, Math.max(2, Math.floor(width / 45)));
  }

  function xScale(width) {
    const values = all.map(x).filter((value) => value != null);
    const label = `${data.axes.find((axis) => axis.key === state.x).label} →`;
    if (state.x === "order") return { label, type: "linear", ticks: d3.range(0, Math.max(...values) + 1), tickFormat: (v) => v + 1 };
    if (state.scale === "linear") return { label, type: "linear", ticks: Math.max(2, Math.floor(width / 90)), tickFormat: short };
    return { label, type: "symlog", constant: 1, ticks: ticksOf(values, width), tickFormat: short };
  }

  // A y axis around values that are all alike.
  function room(values) {
    const [least, most] = d3.extent(values);
    const margin = Math.abs(least) / 10 || 1;
    return least === most && least !== undefined ? { domain: [least - margin, most + margin] } : {};
  }

  function panelFigure(panel, first) {
    const figure = element("figure", null, null, { "data-panel": panel.name, ...(first ? { "data-first": "" } : {}) });
    const caption = element("figcaption", null, figure);
    element("strong", panel.name === "llc" ? "λ̂" : panel.name, caption);
    const about = [panel.meaning, panel.unit && `unit: ${panel.unit}`, panel.error && "band: ± 1 standard error", panel.null && `dotted: ${panel.null}${panel.null_meaning && `, ${panel.null_meaning}`}`].filter(Boolean);
    const logarithmic = state.y === "log" && all.some((p) => p.values[panel.name] > 0);
    const drawn = all.filter((p) => p.values[panel.name] != null && x(p) != null && (!logarithmic || p.values[panel.name] > 0));
    const left = all.filter((p) => p.values[panel.name] != null).length - drawn.length;
    if (logarithmic && left) about.push(`${left} not above 0 left out`);
    element("small", ` ${about.join("; ")}`, caption);
    const width = widthOf(document.getElementById("panels"));
    const value = (p) => p.values[panel.name];
    const error = (p) => (panel.error ? p.values[panel.error] || 0 : 0);
    const floor = logarithmic ? d3.min(drawn, value) / 10 : -Infinity;
    const color = (p) => colors[p.run % colors.length];
    const bands = data.runs.flatMap((run, r) => {
      const own = drawn.filter((p) => p.run === r);
      const line = Plot.lineY(own, { x, y: value, stroke: colors[r % colors.length], strokeDasharray: dashOfRun[r] });
      const floorLine = panel.null ? [Plot.lineY(own.filter((p) => p.values[panel.null] != null), { x, y: (p) => p.values[panel.null], stroke: "currentColor", strokeOpacity: 0.6, strokeDasharray: "1 4" })] : [];
      return panel.error ? [
        ...floorLine,
        Plot.areaY(own, { x, y1: (p) => Math.max(floor, value(p) - error(p)), y2: (p) => value(p) + error(p), fill: colors[r % colors.length], fillOpacity: 0.2 }),
        Plot.ruleX(own, { x, y1: (p) => Math.max(floor, value(p) - error(p)), y2: (p) => value(p) + error(p), stroke: colors[r % colors.length] }),
        line,
      ] : [...floorLine, line];
    });
    const picture = Plot.plot({
      width, height: first ? 300 : 150, marginLeft: 62, marginRight: 16, marginBottom: 38,
      style: { background: "none", fontSize: "12px" },
      ariaLabel: `${panel.name} over training`,
      x: { ...xScale(width - 78), ...(first ? {} : { label: null }), domain: d3.extent(all.map(x).filter((v) => v != null)) },
      y: { label: null, ...room(drawn.map(value)), type: logarithmic ? "log" : "linear", grid: true, nice: true, ticks: first ? 6 : 4, tickFormat: logarithmic ? "~g" : undefined },
      marks: [
        ...bands,
        Plot.dot(drawn, { x, y: value, r: (first ? 5 : 4) - (drawn.length > 60 ? 1.5 : 0), stroke: color, strokeWidth: 2, fill: color }),
      ],
    });
    for (const node of picture.querySelectorAll('g[aria-label="dot"] circle')) {
      const point = drawn[node.__data__];
      if (point.verdict && point.verdict !== "converged") node.style.fill = "Canvas";
      connect(node, point, panel, first);
    }
    figure.append(picture, ...layerFolds(panel.name, choose));
    return figure;
  }

  function connect(node, point, panel, first) {
    const text = summary(point, panel);
    node.classList.add("point");
    node.dataset.run = point.run;
    node.dataset.point = point.index;
    node.addEventListener("pointerenter", () => showTip(node, text));
    node.addEventListener("pointerleave", hideTip);
    node.addEventListener("click", () => choose(point));
    if (!first) return;
    node.setAttribute("role", "button");
    node.setAttribute("aria-label", text.replaceAll("\n", ", "));
    node.setAttribute("aria-pressed", String(point === state.chosen));
    node.setAttribute("tabindex", "-1");
    node.addEventListener("focus", () => showTip(node, text));
    node.addEventListener("blur", hideTip);
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const nodes = [...document.querySelectorAll('[data-first] .point')];
      if (event.key === "Enter" || event.key === " ") choose(point);
      else if (event.key === "Escape") hideTip();
      else if (event.key === "Home") focusOn(nodes, nodes[0]);
      else if (event.key === "End") focusOn(nodes, nodes[nodes.length - 1]);
      else if (step) focusOn(nodes, nodes[(nodes.indexOf(node) + step + nodes.length) % nodes.length]);
      else return;
      event.preventDefault();
    });
  }

  // One point is in the order of the Tab key; arrow keys go to the others.
  function focusOn(nodes, next) {
    for (const node of nodes) node.setAttribute("tabindex", node === next ? "0" : "-1");
    next.focus();
  }

  function drawPanels() {
    hideTip();
    const place = document.getElementById("panels");
    // Of a single checkpoint its numbers say more than a panel each.
    const single = data.panels.slice(1).filter((panel) => all.filter((p) => p.values[panel.name] != null).length < 2);
    const panels = all.length > 1 ? data.panels.filter((panel) => !single.includes(panel)) : data.panels.slice(0, 1);
    const drawn = new Set(panels.map((panel) => panel.name));
    const others = new Set(data.lists.map((list) => list.panel).filter((name) => !drawn.has(name)));
    place.replaceChildren(...panels.map((panel, i) => panelFigure(panel, i === 0)), ...[...others].flatMap((name) => layerFolds(name, choose)));
    if (all.length > 1 && single.length) element("p", `At one checkpoint alone, see the tables: ${single.map((panel) => panel.name).join(", ")}.`, place, { class: "note" });
    const first = place.querySelector('[data-first] .point');
    if (first) first.setAttribute("tabindex", "0");
    drawComponents();
    drawFits();
    if (state.chosen) drawPoint(state.chosen);
  }

  // λ̂ of parts of a model that moved alone, a map for each set of runs that may be compared.
  function drawComponents() {
    document.getElementById("components").replaceChildren(...data.component_maps.map(componentMap).filter(Boolean));
  }

  // A row a part, a column a checkpoint; a part that has a checkpoint twice has a row for each run.
  function componentMap(set) {
    const parts = all.filter((p) => set.runs.includes(p.run) && p.values.llc != null);
    const names = d3.rollup(parts, (group) => new Set(group.map((p) => p.revision)).size, (p) => p.step);
    const label = (p) => (p.step == null || names.get(p.step) > 1 ? p.revision : String(p.step));
    const taken = new Set();
    const rowOf = new Map(set.runs.map((r) => {
      const { component, name } = data.runs[r];
      const own = parts.filter((p) => p.run === r);
      const row = own.some((p) => taken.has(`${component}\n${label(p)}`)) ? name : component;
      for (const p of own) taken.add(`${component}\n${label(p)}`);
      return [r, row];
    }));
    const rows = [...new Set(parts.map((p) => rowOf.get(p.run)))];
    if (rows.length < 2) return null;
    const title = `λ̂ of components${set.title && `: ${set.title}`}`;
    const figure = element("figure", null, document.getElementById("components"), { "data-panel": "components" });
    const caption = element("figcaption", null, figure);
    element("strong", title, caption);
    const failed = parts.some((p) => p.verdict !== "converged");
    element("small", ` a row a component, a column a checkpoint${failed ? "; ×: not converged" : ""}`, caption);
    const columns = [...new Map(parts.map((p) => [label(p), p.step ?? p.order])).entries()].sort((a, b) => a[1] - b[1]).map((e) => e[0]);
    const cells = parts.map((p) => ({
      row: rows.indexOf(rowOf.get(p.run)), column: columns.indexOf(label(p)), value: p.values.llc, point: p,
      marked: p.verdict !== "converged", text: summary(p, { name: "llc", error: "stderr", unit: "" }),
    }));
    heatMap({ title, rows, columns, cells, label: "λ̂", columnWord: "checkpoint →", choose: (cell) => choose(cell.point) }, figure);
    return figure;
  }

  // λ̂ over the bits of quantisation: a picture a column, a line a run through its checkpoints that converged.
  function drawFits() {
    const place = document.getElementById("fits");
    if (!place) return;
    const columns = [...new Set(data.runs.flatMap((run) => run.fits.map((fit) => fit.column)))];
    place.replaceChildren(...columns.map((column) => {
      const panel = data.panels.find((each) => each.name === "llc");
      const bits = (p) => p.values[column];
      const drawn = all.filter((p) => bits(p) != null && p.values.llc != null && !p.duplicate_of);
      const used = drawn.filter((p) => p.verdict === "converged");
      const figure = element("figure", null, null, { "data-panel": `llc over ${column}` });
      element("strong", `λ̂ over ${column}`, element("figcaption", null, figure));
      if (!drawn.length) return figure;
      const ends = ({ r, fit }) => d3.extent(used.filter((p) => p.run === r), bits).map((b) => ({ r, bits: b, llc: fit.intercept + fit.slope * b }));
      const lines = data.runs.flatMap((run, r) => run.fits.filter((fit) => fit.column === column && fit.slope != null).flatMap((fit) => ends({ r, fit })));
      const color = (p) => colors[(p.run ?? p.r) % colors.length];
      const error = (p) => p.values.stderr || 0;
      const width = Math.max(260, Math.min(560, place.clientWidth));
      const picture = Plot.plot({
        width, height: 300, marginLeft: 62, marginRight: 16, marginBottom: 38, style: { background: "none", fontSize: "12px" },
        ariaLabel: `λ̂ over ${column}`,
        x: { label: `${column} →`, nice: true, ...room(drawn.map(bits)) }, y: { label: null, grid: true, nice: true, ...room(drawn.map((p) => p.values.llc)) },
        marks: [
          Plot.line(lines, { x: "bits", y: "llc", z: "r", stroke: color, strokeDasharray: "5 4" }),
          Plot.ruleX(drawn, { x: bits, y1: (p) => p.values.llc - error(p), y2: (p) => p.values.llc + error(p), stroke: color }),
          ...(data.runs.length === 1 && used.length <= MOST_LABELLED ? [Plot.text(used, { x: bits, y: (p) => p.values.llc, text: (p) => (p.step == null ? p.revision : String(p.step)), dx: 6, dy: 10, textAnchor: "start", fontSize: 10, fillOpacity: 0.8 })] : []),
          Plot.dot(drawn, { x: bits, y: (p) => p.values.llc, r: 4, stroke: color, strokeWidth: 2, fill: color }),
        ],
      });
      for (const node of picture.querySelectorAll('g[aria-label="dot"] circle')) {
        const point = drawn[node.__data__];
        if (point.verdict !== "converged") node.style.fill = "Canvas";
        connect(node, point, panel, false);
      }
      figure.append(picture);
      return figure;
    }));
  }

  function choose(point) {
    state.chosen = point;
    for (const node of document.querySelectorAll('[data-first] .point'))
      node.setAttribute("aria-pressed", String(+node.dataset.run === point.run && +node.dataset.point === point.index));
    drawPoint(point);
    document.getElementById("point").scrollIntoView({ block: "nearest" });
  }

  function drawPoint(point) {
    const place = document.getElementById("point");
    place.hidden = false;
    place.replaceChildren();
    element("h2", data.runs.length > 1 ? `${point.name}: ${point.revision}` : point.revision, place);
    if (point.error || point.verdict) element("p", point.error || `${point.verdict}: ${point.reason}.`, place);
    for (const sentence of point.missing) element("p", `Not measured: ${sentence}.`, place);
    if (point.interpretation) element("p", `${point.interpretation}.`, place);
    if (point.verdict) drawChains(point, place);
    const list = element("dl", null, place);
    for (const [name, value] of Object.entries(point.values)) {
      const row = element("div", null, list);
      element("dt", name, row);
      element("dd", small(value), row);
    }
    const choices = Object.values(point.choices);
    if (!choices.length) return;
    element("h3", "What was chosen, and why", place);
    const sentences = element("ul", null, place);
    for (const sentence of choices) element("li", sentence, sentences);
  }

  function drawChains(point, place) {
    element("h3", point.chain_word === "group" ? "Its draws" : "Its chains", place);
    if (!point.chains.length) {
      element("p", "They are not in this page: the run's folder no longer holds them, or it was published.", place);
      return;
    }
    const rows = point.chains.flatMap((chain) => {
      const mean = d3.cumsum(chain.values.map((v) => v ?? 0));
      return chain.values.map((value, i) => ({ chain: chain.chain, draw: 1 + i * chain.stride, value, mean: mean[i] / (i + 1) }));
    });
    const color = (row) => colors[row.chain % colors.length];
    const figure = element("figure", null, place, { "data-panel": "chains" });
    const caption = element("figcaption", `nβ(L(w) − L(w*)) at the draws of each ${point.chain_word} (thin) and its running mean (bold); the dashed line is λ̂`, figure);
    const thinned = point.chains.some((chain) => chain.stride > 1);
    if (thinned) element("small", `; every ${point.chains[0].stride}th draw is shown`, caption);
    const width = Math.max(260, Math.min(920, figure.clientWidth));
    figure.append(Plot.plot({
      width, height: 240, marginLeft: 62, marginBottom: 38, style: { background: "none", fontSize: "12px" },
      ariaLabel: `Draws of ${point.chains.length} ${point.chain_word}s`,
      x: { label: "draw →", interval: 1, ticks: Math.max(2, Math.floor(width / 90)), tickFormat: "d", type: "linear" }, y: { label: null, grid: true, nice: true },
      marks: [
        Plot.line(rows, { x: "draw", y: "value", z: "chain", stroke: color, strokeOpacity: 0.35 }),
        Plot.line(rows, { x: "draw", y: "mean", z: "chain", stroke: color, strokeWidth: 2 }),
        ...(point.values.llc == null ? [] : [Plot.ruleY([point.values.llc], { stroke: "currentColor", strokeDasharray: "5 4" })]),
      ],
    }));
    const failed = point.chains.filter((chain) => chain.values.some((v) => v === null));
    if (failed.length) element("p", `Not finite: ${point.chain_word} ${failed.map((chain) => chain.chain).join(", ")}.`, place);
  }

  function controls() {
    const form = document.getElementById("controls");
    const group = (key, title, options) => choice(form, key, title, options, state[key], (value) => { state[key] = value; drawPanels(); });
    if (new Set(all.map(x)).size < 2) return;
    if (data.axes.length > 1) group("x", "x axis", data.axes.map((axis) => [axis.key, axis.label]));
    if (state.x !== "order") group("scale", "x scale", [["log", "log"], ["linear", "linear"]]);
    group("y", "y scale", [["linear", "linear"], ["log", "log"]]);
    form.hidden = false;
  }

  function legend() {
    const place = document.getElementById("legend");
    const add = (text, filled) => {
      const item = element("span", null, place);
      const mark = element("i", null, item, { "aria-hidden": "true" });
      mark.style.background = filled ? "currentColor" : "transparent";
      item.append(text);
    };
    const addRun = (run, r) => {
      const item = element("span", null, place);
      const line = Plot.plot({
        width: 46, height: 12, margin: 0, axis: null, x: { domain: [0, 1] }, y: { domain: [-1, 1] }, ariaHidden: "true",
        marks: [Plot.line([[0, 0], [1, 0]], { stroke: colors[r % colors.length], strokeWidth: 3, strokeDasharray: dashOfRun[r] })],
      });
      line.setAttribute("aria-hidden", "true");
      item.append(line, run.comparable ? run.name : `${run.name} (not comparable)`);
    };
    if (data.runs.length > 1) data.runs.forEach(addRun);
    if (all.some((p) => p.verdict)) add("converged", true);
    if (all.some((p) => p.verdict && p.verdict !== "converged")) add("not converged: see its verdict", false);
  }

  controls();
  legend();
  if (all.length === 1) state.chosen = all[0];
  drawPanels();
  for (const button of document.querySelectorAll("button[data-run]"))
    button.addEventListener("click", () => choose(data.runs[+button.dataset.run].points[+button.dataset.point]));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    drawPanels();
  });
  document.documentElement.dataset.ready = "yes";
})();
