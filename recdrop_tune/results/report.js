"use strict";
// Draws the panels of a figure below each other.
function stack(data, layout) {
  const panels = new Set(data.map((trace) => trace.xaxis)).size;
  for (let i = 0; i < panels; i++) {
    const axis = i ? i + 1 : "", top = 1 - (i + 0.3) / panels;
    const domain = [1 - (i + 1) / panels, top], { title } = layout.yaxis;
    layout[`xaxis${axis}`].domain = [0, 1];
    Object.assign(layout[`yaxis${axis}`], { domain, title, showticklabels: true });
    Object.assign(layout.annotations[i], { x: 0.5, y: top });
  }
  layout.height = 100 + 210 * panels;
}
for (const place of document.querySelectorAll(".figure")) {
  const { data, layout } = JSON.parse(place.querySelector("script").textContent);
  const narrow = place.clientWidth < 700;
  if (narrow) {
    layout.font.size = 11;
    layout.legend = { orientation: "h", y: 1, yanchor: "bottom" };
    const corner = { x: 1, xanchor: "right", y: 1, yanchor: "top" };
    for (const note of layout.annotations ?? []) if (note.x > 1) Object.assign(note, corner);
    if (layout.xaxis2) stack(data, layout);
    if (layout.yaxis.automargin) {  // Long names.
      data[0].y = data[0].y.map((name) => name.replace(" (", "<br>("));
      layout.xaxis.title.text = layout.xaxis.title.text.replace("the same without dropout", "0");
    }
    place.style.height = `${layout.height}px`;
  }
  const options = { responsive: true, displaylogo: false };
  Plotly.newPlot(place, data, layout, narrow ? { ...options, displayModeBar: false } : options);
  // A4 paper has 700 pixels between its margins.
  addEventListener("beforeprint", () => Plotly.relayout(place, { width: 700 }));
  addEventListener("afterprint", () => Plotly.relayout(place, { width: null, autosize: true }));
}

// A click on a column sorts a table by it. Missing values stay last.
function key(row, column) {
  const text = row.cells[column].textContent;
  return text === "-" ? null : isNaN(text) ? text : Number(text);
}
function compare(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(b));
}
for (const head of document.querySelectorAll("th")) {
  head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0], column = head.cellIndex;
    body.append(...[...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign)));
  });
}
