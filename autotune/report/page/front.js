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

function scatterTrace([group, label], places, [x, y], dark) {
  const look = looks[group];
  const tint = color(look, dark);
  const withBars = important.has(group) || places.length <= MOST_BARS;
  return {
    type: "scatter", name: label, showlegend: places.length > 0,
    mode: group === "pick" ? "markers+text" : "markers",
    text: places.map((i) => escaped((data.trials[i].picks ?? []).join(", "))), textposition: "top center",
    x: places.map((i) => x.value[i]), y: places.map((i) => y.value[i]), customdata: places,
    ...(withBars ? { error_x: bars(x, places, tint), error_y: bars(y, places, tint) } : {}),
    hovertext: places.map(hover), hoverinfo: "text", cliponaxis: false,
    marker: { symbol: look.symbol, size: look.size, color: tint, line: { color: tint, width: 1.6 } },
  };
}

function drawScatter(dark) {
  const axes = choices.map((choice) => byName.get(choice.value));
  const { ink, line, lines, layout } = style(dark);
  const shown = data.trials.map((_, i) => i).filter((i) => data.trials[i].group && axes.every((a) => a.value[i] !== null));
  const [kept, out] = [shown.filter(keeps), shown.filter((i) => !keeps(i))];
  const ring = selected !== null && shown.includes(selected) ? [selected] : [];
  const at = (places, look) => ({
    type: "scatter", mode: "markers", showlegend: false, hovertext: places.map(hover), hoverinfo: "text",
    x: places.map((i) => axes[0].value[i]), y: places.map((i) => axes[1].value[i]), customdata: places,
    cliponaxis: false, marker: look,
  });
  Plotly.react("scatter", [
    { ...at(out, { symbol: "circle", size: 4, color: line }), name: "outside the limits", showlegend: out.length > 0 },
    ...data.groups.map((group) => scatterTrace(group, kept.filter((i) => data.trials[i].group === group[0]), axes, dark)),
    at(ring, { symbol: "circle-open", size: 24, color: ink, line: { color: ink, width: 2.5 } }),
  ], {
    ...layout, xaxis: titled(axes[0], lines), yaxis: titled(axes[1], lines),
    uirevision: choices.map((choice) => choice.value).join(),
  }, options);
}

// Each objective from its worst to its best value, up is better; logarithmic where the axis is.
function heights(axis, places) {
  const turn = (v) => (v === null ? null : (axis.log ? Math.log(v) : v) * (isUpper(axis) ? -1 : 1));
  const turned = places.map((i) => turn(axis.value[i]));
  const known = turned.filter((v) => v !== null);
  const [low, high] = known.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  return turned.map((v) => (v === null ? null : high > low ? (v - low) / (high - low) : 0.5));
}

function lineTrace(name, places, at, look) {
  const parts = { x: [], y: [], customdata: [], hovertext: [] };
  for (const i of places) {
    const told = hover(i);
    columns.forEach((_, k) => {
      parts.x.push(k);
      parts.y.push(at[k].get(i));
      parts.customdata.push(i);
      parts.hovertext.push(told);
    });
    for (const part of Object.values(parts)) part.push(null);
  }
  return { type: "scatter", mode: "lines+markers", name, showlegend: places.length > 0, hoverinfo: "text", cliponaxis: false, ...parts, ...look };
}

function drawParallel(dark) {
  if (columns.length < 2) return;
  const { ink, lines, layout } = style(dark);
  const shown = data.trials.map((_, i) => i).filter((i) => data.trials[i].group && keeps(i));
  const at = columns.map((axis) => new Map(heights(axis, shown).map((y, k) => [shown[k], y])));
  const look = (group, width, opacity, size) => ({
    opacity, line: { color: color(looks[group], dark), width },
    marker: { symbol: looks[group].symbol, size, color: color(looks[group], dark) },
  });
  const wide = { infeasible: [0.6, 0.35, 3], feasible: [0.6, 0.35, 3], front: [1.2, 0.7, 5], pick: [2.8, 1, 11], baseline: [2.4, 1, 9] };
  const traces = data.groups.map(([group, label]) => lineTrace(
    label, shown.filter((i) => data.trials[i].group === group), at, look(group, ...wide[group])));
  const chosen = shown.includes(selected) ? [selected] : [];
  traces.push({ ...lineTrace("selected", chosen, at, { line: { color: ink, width: 3.5 }, marker: { color: ink, size: 7 } }), showlegend: chosen.length > 0 });
  const ends = columns.flatMap((axis, k) => {
    const known = shown.map((i) => axis.value[i]).filter((v) => v !== null).sort((a, b) => a - b);
    if (!known.length) return [];
    const [best, least] = isUpper(axis) ? [known[0], known.at(-1)] : [known.at(-1), known[0]];
    return [[1, best, "bottom"], [0, least, "top"]].map(([y, v, yanchor]) => ({
      x: k, y, yanchor, text: short(v), showarrow: false, yshift: yanchor === "top" ? -6 : 6, font: { size: 12, color: ink },
    }));
  });
  Plotly.react("parallel", traces, {
    ...layout, annotations: ends,
    margin: { ...layout.margin, l: 60, r: 60, t: 50 }, legend: { ...layout.legend, y: 1.12 },
    xaxis: { ...lines, range: [-0.15, columns.length - 0.85], showline: false,
      tickvals: columns.map((_, k) => k), ticktext: columns.map((a) => escaped(a.label).replace(/ (?=\()/, "<br>")) },
    yaxis: { ...lines, range: [-0.12, 1.12], showgrid: false, showline: false, showticklabels: false, ticks: "" },
  }, options);
}
