// A matrix as colours: pointed at, walked through with the arrow keys, and as a table where it is small.
"use strict";
const heatMap = (() => {
  const { element, small, showTip, hideTip, widthOf } = shared;
  const pen = document.createElement("canvas").getContext("2d");
  const MOST_IN_TABLE = 300;
  const LOG_FROM = 100;
  const OUTLYING = 0.995;

  // The beginning and the end of a name, since names of layers differ in both.
  function clipped(name, most) {
    if (name.length <= most) return name;
    const end = Math.floor((most - 1) / 2);
    return `${name.slice(0, most - 1 - end)}…${name.slice(name.length - end)}`;
  }

  const widthOfText = (text) => {
    pen.font = "12px system-ui, sans-serif";
    return pen.measureText(text).width;
  };

  // The name as far as it fits into so many pixels.
  function fitting(name, room) {
    let shown = name;
    for (let most = Math.min(name.length, 60); most > 6 && widthOfText(shown = clipped(name, most)) > room; most -= 1);
    return shown;
  }

  // What most names begin or end with, up to a dot, tells few of them apart.
  function withoutCommon(names) {
    let parts = names.map((name) => name.split("."));
    for (const [at, rest] of [[0, (each) => each.slice(1)], [-1, (each) => each.slice(0, -1)]])
      for (;;) {
        const [[word, count]] = d3.rollups(parts, (group) => group.length, (each) => each.at(at)).sort((a, b) => b[1] - a[1]);
        const shorter = parts.map((each) => (each.at(at) === word && each.length > (at === 0 || word === "weight" ? 1 : 2) ? rest(each) : each));
        const apart = new Set(shorter.map((each) => each.join("."))).size === names.length;
        if (count <= names.length / 2 || !apart || shorter.every((each, i) => each === parts[i])) break;
        parts = shorter;
      }
    return parts.map((each) => each.join("."));
  }

  // Red above 0 and blue below it of what has a sign, else from dark to light; logarithmic over a factor of 100.
  function colorOf(values, signed) {
    const [least, most] = d3.extent(values);
    if (signed) {
      const sizes = values.map(Math.abs).sort(d3.ascending);
      const end = d3.quantile(sizes, OUTLYING) || sizes.at(-1) || 1;
      const far = sizes.at(-1) > 1.5 * end ? end : sizes.at(-1) || 1;
      return { type: "diverging", scheme: "RdBu", reverse: true, domain: [-far, far], clamp: true };
    }
    if (least > 0 && most / least >= LOG_FROM) return { type: "log", scheme: "viridis" };
    return { type: "linear", scheme: "viridis", ...(least === most ? { domain: [least - 1, most + 1] } : {}) };
  }

  const heightOf = (rows) => (rows <= 30 ? 24 : rows <= 80 ? 14 : Math.max(4, 1100 / rows));

  // `cells` are {row, column, value, text, pale, marked}; rows and columns are full names, in order.
  function draw(map, place) {
    const { rows, columns, cells } = map;
    const width = widthOf(place);
    const names = (map.shorten ? withoutCommon(rows) : rows).map((name) => fitting(name, 0.36 * width));
    const marginLeft = 18 + Math.ceil(Math.max(...names.map(widthOfText)));
    const room = (width - marginLeft - 16) / columns.length;
    const height = map.square ? Math.max(4, Math.min(heightOf(rows.length), room)) : heightOf(rows.length);
    const column = (c) => (map.numbered ? String(map.numbers[c]) : clipped(columns[c], 10));
    const wide = Math.max(...columns.map((_, c) => widthOfText(column(c)))) + 10;
    const every = Math.max(1, Math.ceil(wide / room)), rowsEvery = Math.max(1, Math.ceil(13 / height));
    const values = cells.map((cell) => cell.value);
    const picture = Plot.plot({
      width, height: 54 + height * rows.length, marginLeft, marginBottom: 38, marginRight: 16, marginTop: 8,
      style: { background: "none", fontSize: "12px" },
      x: { type: "band", domain: d3.range(columns.length), label: map.columnWord, padding: 0, ticks: d3.range(0, columns.length, every), tickFormat: column },
      y: { type: "band", domain: d3.range(rows.length), label: null, padding: 0, ticks: d3.range(0, rows.length, rowsEvery), tickFormat: (r) => names[r] },
      color: colorOf(values, map.signed),
      marks: [
        Plot.cell(cells, { x: "column", y: "row", fill: "value", fillOpacity: (cell) => (cell.pale ? 0.3 : 1), inset: Math.min(0.5, room / 20) }),
        Plot.dot(cells.filter((cell) => cell.marked), { x: "column", y: "row", symbol: "times", r: 4, stroke: "white", strokeWidth: 2.5, pointerEvents: "none" }),
        Plot.dot(cells.filter((cell) => cell.marked), { x: "column", y: "row", symbol: "times", r: 4, stroke: "black", strokeWidth: 1, pointerEvents: "none" }),
      ],
    });
    const legend = Plot.legend({ color: picture.scale("color"), label: map.label, width: Math.min(280, width), tickFormat: (value) => (picture.scale("color").type === "log" ? d3.format("~g")(value) : small(value)), ticks: 4 });
    place.append(legend, picture);
    connect(map, picture, place);
  }

  // One stop of the Tab key; the arrow keys go from cell to cell, and what they come to is said.
  function connect(map, picture, place) {
    const rects = [...picture.querySelectorAll('g[aria-label="cell"] rect')];
    const byPlace = new Map(rects.map((node) => [`${map.cells[node.__data__].row},${map.cells[node.__data__].column}`, node]));
    const all = new Set(rects);
    for (const node of rects) {
      const { row, column, point } = map.cells[node.__data__];
      Object.assign(node.dataset, { row, column }, point && { run: point.run, point: point.index });
    }
    const status = element("p", "", place, { class: "unseen", "aria-live": "polite" });
    const frame = picture.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
    frame.setAttribute("class", "frame");
    let at = null;
    const cellOf = (node) => map.cells[node.__data__];
    function point(node) {
      for (const name of ["x", "y", "width", "height"]) frame.setAttribute(name, node.getAttribute(name));
      frame.style.display = "inline";
      showTip(node, cellOf(node).text);
    }
    function leave() {
      frame.style.display = "none";
      hideTip();
    }
    function go(node) {
      at = node;
      node.scrollIntoView({ block: "nearest", inline: "nearest" });
      point(node);
      status.textContent = cellOf(node).text.replaceAll("\n", ", ");
    }
    picture.setAttribute("tabindex", "0");
    picture.setAttribute("role", "application");
    picture.setAttribute("aria-roledescription", "heat map");
    picture.setAttribute("aria-label", `${map.title}: ${map.rows.length} rows, ${map.columns.length} columns; arrow keys go from cell to cell`);
    picture.addEventListener("pointerover", (event) => { if (all.has(event.target)) point(event.target); else leave(); });
    picture.addEventListener("pointerleave", leave);
    picture.addEventListener("blur", leave);
    picture.addEventListener("click", (event) => { if (map.choose && all.has(event.target)) map.choose(cellOf(event.target)); });
    picture.addEventListener("keydown", (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (event.key === "Home") go(rects[0]);
      else if (event.key === "End") go(rects.at(-1));
      else if (event.key === "Escape") leave();
      else if ((event.key === "Enter" || event.key === " ") && at && map.choose) map.choose(cellOf(at));
      else if (step) go(next(at, step));
      else return;
      event.preventDefault();
    });
    // The nearest cell in that direction: a matrix may have none on its diagonal, or where a number is missing.
    function next(node, [down, across]) {
      if (!node) return rects[0];
      let { row, column } = cellOf(node);
      for (;;) {
        row += down;
        column += across;
        if (row < 0 || column < 0 || row >= map.rows.length || column >= map.columns.length) return node;
        if (byPlace.has(`${row},${column}`)) return byPlace.get(`${row},${column}`);
      }
    }
  }

  function table(map, place) {
    const fold = element("details", null, place);
    element("summary", "As a table", fold);
    const scroll = element("div", null, fold, { class: "scroll", tabindex: "0", role: "region", "aria-label": `${map.title}, as a table` });
    const grid = element("table", null, scroll);
    element("caption", map.title, grid);
    const head = element("tr", null, element("thead", null, grid));
    for (const text of ["", ...map.columns]) element("th", text, head, { scope: "col" });
    const body = element("tbody", null, grid);
    const byPlace = new Map(map.cells.map((cell) => [`${cell.row},${cell.column}`, cell]));
    map.rows.forEach((name, r) => {
      const line = element("tr", null, body);
      element("th", name, line, { scope: "row" });
      map.columns.forEach((_, c) => {
        const cell = byPlace.get(`${r},${c}`);
        element("td", cell ? cell.number || small(cell.value) : "", line);
      });
    });
  }

  return (map, place) => {
    if (!map.cells.length) return;
    draw(map, place);
    if (map.rows.length * map.columns.length <= MOST_IN_TABLE) table(map, place);
  };
})();
