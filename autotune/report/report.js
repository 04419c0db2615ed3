"use strict";
(() => {
  const table = document.getElementById("trials");
  const key = (row, column) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
  };
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);

  function sort(heading) {
    const column = heading.cellIndex;
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      // What was not measured stays at the end, whichever way is up.
      return x === "" || y === "" ? (x === "") - (y === "") : sign * compare(x, y);
    });
    table.tBodies[0].append(...rows);
  }
  for (const button of table ? table.querySelectorAll("th button") : []) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }

  const holder = document.getElementById("data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);

  // Okabe and Ito's palette: told apart with any colour vision, and by shape as well.
  const looks = {
    infeasible: { symbol: "x-thin", size: 9, light: "#b85200", dark: "#e69f00" },
    feasible: { symbol: "circle-open", size: 8, light: "#6b7683", dark: "#98a3af" },
    front: { symbol: "circle", size: 10, light: "#0072b2", dark: "#56b4e9" },
    pick: { symbol: "star", size: 17, light: "#007a57", dark: "#2fd3a2" },
    baseline: { symbol: "diamond", size: 13, light: "#a8477f", dark: "#ee9fcb" },
  };
  const darkScreen = matchMedia("(prefers-color-scheme: dark)");
  const axis = (name) => data.axes.find((a) => a.name === name);
  const choices = ["x-axis", "y-axis"].map((id) => document.getElementById(id));
  const at = (points, name, part) => points.map((p) => p.values[name][part]);
  const bars = (points, name, color) => ({
    type: "data", array: at(points, name, "plus"), arrayminus: at(points, name, "minus"),
    symmetric: false, color, thickness: 1, width: 2,
  });

  function trace([group, label], x, y, dark) {
    const points = data.points.filter((p) => p.group === group && p.values[x] && p.values[y]);
    const look = looks[group];
    const color = dark ? look.dark : look.light;
    return {
      type: "scatter", name: label, showlegend: points.length > 0,
      mode: group === "pick" ? "markers+text" : "markers",
      text: points.map((p) => p.picks.join(", ")), textposition: "top center",
      x: at(points, x, "value"), y: at(points, y, "value"),
      error_x: bars(points, x, color), error_y: bars(points, y, color),
      hovertext: points.map((p) => p.hover), hoverinfo: "text",
      cliponaxis: false,
      marker: { symbol: look.symbol, size: look.size, color, line: { color, width: 1.6 } },
    };
  }

  function style(dark) {
    const ink = dark ? "#e6e9ed" : "#1b1f24";
    const line = dark ? "#343b44" : "#d9dde3";
    const paper = dark ? "#14171b" : "#ffffff";
    const lines = { gridcolor: line, linecolor: line, zeroline: false, automargin: true };
    const font = { color: ink, size: 13, family: "system-ui, sans-serif" };
    return {
      lines,
      layout: {
        paper_bgcolor: paper, plot_bgcolor: paper, font, margin: { l: 70, r: 20, t: 20, b: 55 },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "closest",
        hoverlabel: { bgcolor: dark ? "#1d2127" : "#ffffff", bordercolor: line, font, align: "left" },
      },
    };
  }

  const titled = (a, lines) => ({
    ...lines, type: a.log ? "log" : "linear",
    title: { text: `${a.label}, ${a.better} is better`, standoff: 12 },
  });
  const options = { responsive: true, displaylogo: false, displayModeBar: false };

  function draw(dark) {
    const [x, y] = choices.map((choice) => choice.value);
    const { lines, layout } = style(dark);
    const traces = data.groups.map((group) => trace(group, x, y, dark));
    Plotly.react("scatter", traces, {
      ...layout, xaxis: titled(axis(x), lines), yaxis: titled(axis(y), lines),
    }, options);
    // A few trials alone would have halves between them.
    const whole = data.progress.x.length < 10 ? { tick0: 0, dtick: 1 } : {};
    const color = dark ? looks.front.dark : looks.front.light;
    Plotly.react("progress", [{
      ...data.progress, type: "scatter", mode: "lines", line: { shape: "hv", color, width: 2.5 },
      hovertemplate: "trial %{x}: %{y:.3f}<extra></extra>",
    }], {
      ...layout, xaxis: { ...lines, title: { text: "trial" }, ...whole },
      yaxis: { ...lines, title: { text: "hypervolume" }, rangemode: "tozero" },
    }, options);
  }

  choices.forEach((choice, i) => {
    for (const a of data.axes) choice.add(new Option(a.label, a.name));
    choice.selectedIndex = Math.min(1 - i, data.axes.length - 1);
    choice.addEventListener("change", () => draw(darkScreen.matches));
  });
  darkScreen.addEventListener("change", () => draw(darkScreen.matches));
  addEventListener("beforeprint", () => draw(false));
  addEventListener("afterprint", () => draw(darkScreen.matches));
  draw(darkScreen.matches);
})();
