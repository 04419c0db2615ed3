// The trials on two axes, and on all objectives at once.
const MOST_BARS = 300;  // with more, the intervals of what is not on the front hide the rest
const important = new Set(["front", "pick", "baseline"]);
const choices = ["x-axis", "y-axis"].map((id) => document.getElementById(id));

function bars(axis, places, tint) {
  const reach = (ends, sign) => places.map((i) => (ends ? sign * (ends[i] - axis.value[i]) : 0));
  return {
    type: "data", array: reach(axis.high, 1), arrayminus: reach(axis.low, -1),
    symmetric: false, color: tint, thickness: 1, width: 2,
  };
}

// Names of neighbours, from left to right, are in turn above and below.
function sides(places, x) {
  const order = [...places].sort((a, b) => x.value[a] - x.value[b]);
  return places.map((i) => (order.indexOf(i) % 2 ? "bottom center" : "top center"));
}

function scatterTrace([group, label], places, [x, y], dark) {
  const look = looks[group];
  const tint = color(look, dark);
  const withBars = important.has(group) || places.length <= MOST_BARS;
  return {
    type: "scatter", name: label, showlegend: places.length > 0,
    mode: group === "pick" ? "markers+text" : "markers",
    text: places.map((i) => escaped((data.trials[i].picks ?? []).join(", "))),
    textposition: group === "pick" ? sides(places, x) : "top center",
    x: places.map((i) => x.value[i]), y: places.map((i) => y.value[i]), customdata: places,
    ...(withBars ? { error_x: bars(x, places, tint), error_y: bars(y, places, tint) } : {}),
    hovertext: places.map(hover), hoverinfo: "text", cliponaxis: false,
    marker: { symbol: look.symbol, size: look.size, color: tint, line: { color: tint, width: 1.6 } },
  };
}

// Around the selected trial: a shape is drawn without drawing all points again.
function ring([x, y], tint) {
  if (selected === null || !data.trials[selected].group || x.value[selected] === null || y.value[selected] === null) return [];
  return [{
    type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: x.value[selected], yanchor: y.value[selected],
    x0: -13, x1: 13, y0: -13, y1: 13, line: { color: tint, width: 2.5 },
  }];
}

const chosenAxes = () => choices.map((choice) => byName.get(choice.value));

function markSelected(dark) {
  const { ink } = style(dark);
  Plotly.relayout("scatter", { shapes: ring(chosenAxes(), ink) });
  if (lineHeights.size) Plotly.relayout("parallel", { shapes: track(ink) });
}

function drawScatter(dark) {
  const axes = chosenAxes();
  const { ink, line, lines, layout } = style(dark);
  const shown = data.trials.map((_, i) => i).filter((i) => data.trials[i].group && axes.every((a) => a.value[i] !== null));
  const [kept, out] = [shown.filter(keeps), shown.filter((i) => !keeps(i))];
  const at = (places, look) => ({
    type: "scatter", mode: "markers", showlegend: false, hovertext: places.map(hover), hoverinfo: "text",
    x: places.map((i) => axes[0].value[i]), y: places.map((i) => axes[1].value[i]), customdata: places,
    cliponaxis: false, marker: look,
  });
  Plotly.react("scatter", [
    { ...at(out, { symbol: "circle", size: 4, color: line }), name: "outside the limits", showlegend: out.length > 0 },
    ...data.groups.map((group) => scatterTrace(group, kept.filter((i) => data.trials[i].group === group[0]), axes, dark)),
  ], {
    ...layout, xaxis: titled(axes[0], lines), yaxis: titled(axes[1], lines), shapes: ring(axes, ink),
    uirevision: choices.map((choice) => choice.value).join(),
  }, options);
}

// Width, opacity and size of the marks; what is not important has no marks, and is not told.
const wide = {
  infeasible: [0.6, 0.35, 0], feasible: [0.6, 0.35, 0], front: [1.2, 0.7, 5], pick: [2.8, 1, 11], baseline: [2.4, 1, 9],
};

// Each objective from its worst to its best value, up is better; logarithmic where the axis is.
function heights(axis, places) {
  const turn = (v) => (v === null ? null : (axis.log ? Math.log(v) : v) * (isUpper(axis) ? -1 : 1));
  const turned = places.map((i) => turn(axis.value[i]));
  const known = turned.filter((v) => v !== null);
  const [low, high] = known.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  return turned.map((v) => (v === null ? null : high > low ? (v - low) / (high - low) : 0.5));
}

let lineHeights = new Map();  // trial → its heights, of those that are shown

function track(tint) {
  const at = (lineHeights.get(selected) ?? []).map((y, k) => [k, y]).filter(([, y]) => y !== null);
  if (!at.length) return [];
  return [{ type: "path", path: `M${at.map((point) => point.join(",")).join("L")}`, line: { color: tint, width: 3.5 } }];
}

function lineTrace([group, label], members, dark) {
  const [width, opacity, size] = wide[group];
  const tint = color(looks[group], dark);
  const marked = important.has(group);
  const parts = { x: [], y: [], ...(marked ? { customdata: [], hovertext: [] } : {}) };
  for (const i of members) {
    const told = marked ? hover(i) : "";
    lineHeights.get(i).forEach((y, k) => {
      parts.x.push(k);
      parts.y.push(y);
      parts.customdata?.push(i);
      parts.hovertext?.push(told);
    });
    for (const part of Object.values(parts)) part.push(null);
  }
  return {
    type: "scatter", name: label, showlegend: members.length > 0, cliponaxis: false, ...parts, opacity,
    mode: marked ? "lines+markers" : "lines", hoverinfo: marked ? "text" : "skip",
    line: { color: tint, width }, marker: { symbol: looks[group].symbol, size, color: tint },
  };
}

function drawParallel(dark) {
  if (columns.length < 2) return;
  const { ink, lines, layout } = style(dark);
  const shown = data.trials.map((_, i) => i).filter((i) => data.trials[i].group && keeps(i));
  const at = columns.map((axis) => heights(axis, shown));
  lineHeights = new Map(shown.map((i, n) => [i, at.map((column) => column[n])]));
  const traces = data.groups.map((group) => lineTrace(group, shown.filter((i) => data.trials[i].group === group[0]), dark));
  const ends = columns.flatMap((axis, k) => {
    const known = shown.map((i) => axis.value[i]).filter((v) => v !== null).sort((a, b) => a - b);
    if (!known.length) return [];
    const [best, least] = isUpper(axis) ? [known[0], known.at(-1)] : [known.at(-1), known[0]];
    return [[1, best, "bottom"], [0, least, "top"]].map(([y, v, yanchor]) => ({
      x: k, y, yanchor, text: short(v), showarrow: false, yshift: yanchor === "top" ? -6 : 6, font: { size: 12, color: ink },
    }));
  });
  Plotly.react("parallel", traces, {
    ...layout, annotations: ends, shapes: track(ink),
    margin: { ...layout.margin, l: 60, r: 60, t: 50 }, legend: { ...layout.legend, y: 1.12 },
    xaxis: { ...lines, range: [-0.15, columns.length - 0.85], showline: false,
      tickvals: columns.map((_, k) => k), ticktext: columns.map((a) => escaped(a.label).replace(/ (?=\()/, "<br>")) },
    yaxis: { ...lines, range: [-0.12, 1.12], showgrid: false, showline: false, showticklabels: false, ticks: "" },
  }, options);
}
