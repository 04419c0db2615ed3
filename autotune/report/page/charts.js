// How the search went on, and what each plugin gave.
const picked = (name) => document.querySelector(`input[name=${name}]:checked`)?.value;

function drawProgress(dark) {
  const { lines, layout } = style(dark);
  const over = picked("over");
  const { x, y } = data.progress[over];
  // A few trials alone would have halves between them.
  const whole = over === "trials" && x.length < 10 ? { tick0: 0, dtick: 1 } : {};
  Plotly.react("progress", [{
    x, y, type: "scatter", mode: x.length < 60 ? "lines+markers" : "lines",
    line: { shape: "hv", color: color(looks.front, dark), width: 2.5 },
    hovertemplate: over === "trials" ? "trial %{x}: %{y:.3f}<extra></extra>" : "%{x:.1f} min: %{y:.3f}<extra></extra>",
  }], {
    ...layout, xaxis: { ...lines, title: { text: over === "trials" ? "trial" : "minutes since the first trial began" }, ...whole },
    yaxis: { ...lines, title: { text: "hypervolume" }, rangemode: "tozero" },
  }, options);
}

function drawEffects(dark) {
  const choice = document.getElementById("effect-metric");
  if (!choice) return;
  const { ink, lines, layout } = style(dark);
  const { label, ratio, unit, rows } = data.effects[choice.selectedIndex];
  const shown = [...rows].reverse();  // Plotly counts from below
  const tints = shown.map((row) => color(verdicts[row.judged], dark));
  const reach = (end) => shown.map(({ estimate: e }) => Math.abs((e[end] ?? e.value) - e.value));
  const holder = document.getElementById("effects");
  holder.style.height = `${110 + 26 * shown.length}px`;
  Plotly.react("effects", shown.map((row, k) => ({
    type: "scatter", mode: "markers", showlegend: false, x: [row.estimate.value], y: [k],
    error_x: { type: "data", symmetric: false, array: [reach("high")[k]], arrayminus: [reach("low")[k]], color: tints[k], thickness: 1.6, width: 4 },
    marker: { symbol: verdicts[row.judged].symbol, size: 11, color: tints[k], line: { color: tints[k], width: 1.6 } },
    hovertext: [escaped(`${row.choice}: ${row.text}, ${row.judged || "not beyond noise"}, ${row.trials} trials`)], hoverinfo: "text",
  })), {
    ...layout, xaxis: { ...lines, type: ratio ? "log" : "linear", title: { text: escaped(ratio ? `${label}: times the baseline's` : `${label}: difference in ${unit}`), standoff: 12 } },
    yaxis: { ...lines, tickvals: shown.map((_, k) => k), ticktext: shown.map((row) => escaped(shorten(row.choice, 60))), range: [-0.7, shown.length - 0.3], showgrid: false },
    shapes: [{ type: "line", x0: ratio ? 1 : 0, x1: ratio ? 1 : 0, y0: 0, y1: 1, yref: "paper", line: { color: ink, width: 1.2, dash: "dot" } }],
  }, options);
}
