// Influence of items on each other and susceptibilities, in the places that the page has for them.
"use strict";
(() => {
  const { data, element, choice } = shared;
  const PALE = 2;
  const withError = (value, error) => `${Number(value.toPrecision(4))} ± ${Number(error.toPrecision(2))}`;

  // Numbers come as whole multiples of a scale; of a symmetric matrix those below the diagonal alone.
  function cellsOf(map) {
    const at = (matrix, r, c) => {
      const row = map.symmetric ? matrix[Math.max(r, c)] : matrix[r];
      const number = row[map.symmetric ? Math.min(r, c) : c];
      return number === null ? null : number * map.scale;
    };
    const cells = [];
    for (const [r, row] of map.rows.entries())
      for (const [c, column] of map.columns.entries()) {
        if (map.symmetric && r === c) continue;
        const value = at(map.values, r, c), error = at(map.errors, r, c);
        if (value === null || error === null) continue;
        const pale = Math.abs(value) <= PALE * error, number = withError(value, error);
        const text = `${map.row_word}: ${row}\n${map.column_word}: ${column}\n${map.name} = ${number} ${map.unit}`.trim();
        cells.push({ row: r, column: c, value, pale, number, text: pale ? `${text}\n0 within ${PALE} standard errors` : text });
      }
    return cells;
  }

  function draw(map, place) {
    place.replaceChildren();
    heatMap({
      title: map.title, rows: map.rows, columns: map.columns, square: map.symmetric, numbered: true, numbers: map.numbers, cells: cellsOf(map),
      label: `${map.name} ${map.unit && `(${map.unit})`}`.trim(), columnWord: `${map.column_word}, by number →`, signed: true,
    }, place);
    element("p", `Faint: within ${PALE} standard errors of 0. ${map.note}`.trim(), place, { class: "note" });
  }

  const drawn = [];
  for (const [index, matrix] of data.matrices.entries()) {
    if (!matrix.maps.length) continue;
    const place = document.querySelector(`[data-matrix="${index}"]`);
    const form = element("form", null, place, { "aria-label": "Matrix" });
    const figure = element("div", null, place);
    let shown = 0;
    const again = () => draw(matrix.maps[shown], figure);
    if (matrix.maps.length > 1)
      choice(form, `matrix-${index}`, "shown", matrix.maps.map((map, m) => [String(m), map.name]), "0", (value) => { shown = +value; again(); });
    drawn.push(again);
    again();
  }
  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    for (const again of drawn) again();
  });
})();
