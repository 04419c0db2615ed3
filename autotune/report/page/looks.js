// Okabe and Ito's palette: told apart with any colour vision, and by shape as well.
const looks = {
  infeasible: { symbol: "x-thin", size: 8, light: "#b85200", dark: "#e69f00" },
  feasible: { symbol: "circle-open", size: 7, light: "#6b7683", dark: "#98a3af" },
  front: { symbol: "circle", size: 9, light: "#0072b2", dark: "#56b4e9" },
  pick: { symbol: "star", size: 16, light: "#007a57", dark: "#2fd3a2" },
  baseline: { symbol: "diamond", size: 13, light: "#a8477f", dark: "#ee9fcb" },
};
const verdicts = {
  better: { symbol: "triangle-right", light: "#0072b2", dark: "#56b4e9" },
  worse: { symbol: "triangle-left", light: "#b85200", dark: "#e69f00" },
  "": { symbol: "circle-open", light: "#6b7683", dark: "#98a3af" },
};
const color = (look, dark) => (dark ? look.dark : look.light);
const options = { responsive: true, displaylogo: false, displayModeBar: false };

// Plotly reads some HTML in its texts: everything that is not ours is escaped.
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const titled = (a, lines) => ({
  ...lines, type: a.log ? "log" : "linear",
  title: { text: escaped(`${a.label}, ${a.better} is better`), standoff: 12 },
});

function style(dark) {
  const ink = dark ? "#e6e9ed" : "#1b1f24";
  const line = dark ? "#343b44" : "#d9dde3";
  const paper = dark ? "#14171b" : "#ffffff";
  const lines = { gridcolor: line, linecolor: line, zeroline: false, automargin: true };
  const font = { color: ink, size: 13, family: "system-ui, sans-serif" };
  return {
    ink, line, lines,
    layout: {
      paper_bgcolor: paper, plot_bgcolor: paper, font, margin: { l: 70, r: 20, t: 20, b: 55 },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "closest",
      hoverlabel: { bgcolor: dark ? "#1d2127" : "#ffffff", bordercolor: line, font, align: "left" },
    },
  };
}

// The recipe, its numbers, and what is against it.
function hover(i) {
  const trial = data.trials[i];
  const lines = [`<b>${escaped(shorten(`trial ${trial.number}: ${trial.recipe}`, 120))}</b>`];
  data.columns.forEach((column, k) => {
    const [text, width] = trial.cells[k];
    lines.push(escaped(`${column.label}: ${text} ${width ?? ""}`));
  });
  if (trial.explanation) lines.push(escaped(shorten(trial.explanation.split("\n")[0], 120)));
  return lines.join("<br>");
}
