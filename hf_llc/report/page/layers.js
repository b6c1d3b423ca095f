// Measures with a value for each layer, head, matrix or position: heat maps in folds under the panel of their measure.
"use strict";
const layerFolds = (() => {
  const { data, element, small } = shared;
  const open = new Set();

  function mapOf(list, own, choose) {
    const points = own.points.map((index) => data.runs[own.run].points[index]);
    const columns = points.map((point) => (point.step == null ? point.revision : String(point.step)));
    const cells = own.values.flatMap((row, r) =>
      row.flatMap((value, c) => (value === null ? [] : [{
        row: r, column: c, value, point: points[c],
        text: `${points[c].revision}\n${own.rows[r]}\n${list.name} = ${small(value)} ${list.unit}`.trim(),
      }]))
    );
    return {
      title: data.runs.length > 1 ? `${list.name} of ${data.runs[own.run].name}` : list.name,
      rows: own.rows, columns, cells, shorten: true, label: `${list.name} ${list.unit && `(${list.unit})`}`.trim(),
      columnWord: "checkpoint →", signed: cells.some((cell) => cell.value < 0), choose: (cell) => choose(cell.point),
    };
  }

  function fold(list, choose) {
    const details = element("details", null, null, { "data-list": list.name });
    element("summary", `${list.name}: ${list.meaning}`, details);
    const place = element("div", null, details);
    let drawn = false;
    const draw = () => {
      if (drawn) return;
      drawn = true;
      for (const own of list.runs) {
        if (data.runs.length > 1) element("p", data.runs[own.run].name, place);
        heatMap(mapOf(list, own, choose), place);
        if (own.thinned) element("p", `${own.thinned}.`, place, { class: "note" });
      }
    };
    details.addEventListener("toggle", () => {
      if (!details.open) open.delete(list.name);
      else {
        open.add(list.name);
        draw();
      }
    });
    if (open.has(list.name)) {
      details.open = true;
      draw();
    }
    return details;
  }

  return (panel, choose) => data.lists.filter((list) => list.panel === panel).map((list) => fold(list, choose));
})();
