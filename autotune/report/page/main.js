// Puts the parts together. The first chart comes first; the page says when all are drawn.
const charts = document.getElementById("scatter")
  ? [drawScatter, drawParallel, drawProgress, drawEffects] : [drawEffects];
const drawAll = (dark) => { for (const draw of charts) draw(dark); };
const dark = () => darkScreen.matches;

function choose(i, { turn = true } = {}) {
  selected = i;
  showDetail(i);
  history.replaceState(null, "", i === null ? "#" : `#trial-${data.trials[i].number}`);
  if (i !== null && turn) turnTo(i);
  else drawTable();
  if (charts.includes(drawScatter)) { drawScatter(dark()); drawParallel(dark()); }
}

function clickable(id) {
  document.getElementById(id).on?.("plotly_click", ({ points: [point] }) => {
    if (point.customdata !== null) choose(point.customdata);
  });
}

function fromHash() {
  const i = byNumber.get(Number(location.hash.match(/^#trial-(\d+)$/)?.[1]));
  if (i !== undefined && i !== selected) choose(i);
}

if (charts.includes(drawScatter)) {
  choices.forEach((choice, k) => {
    for (const axis of data.axes) choice.add(new Option(axis.label, axis.name));
    choice.selectedIndex = Math.min(1 - k, data.axes.length - 1);
    choice.addEventListener("change", () => drawScatter(dark()));
  });
  makeFilters(() => { view.page = 0; drawScatter(dark()); drawParallel(dark()); drawTable(); });
  for (const radio of document.querySelectorAll("input[name=over]")) {
    radio.addEventListener("change", () => drawProgress(dark()));
  }
}
const effectMetric = document.getElementById("effect-metric");
for (const { label } of effectMetric ? data.effects : []) effectMetric.add(new Option(label));
effectMetric?.addEventListener("change", () => drawEffects(dark()));

makeTable((i) => choose(i, { turn: false }));
for (const link of document.querySelectorAll("button[data-trial]")) {
  link.addEventListener("click", () => choose(byNumber.get(Number(link.dataset.trial))));
}
panel.querySelector("button").addEventListener("click", () => choose(null));
addEventListener("keydown", (event) => { if (event.key === "Escape" && selected !== null) choose(null); });
addEventListener("hashchange", fromHash);
darkScreen.addEventListener("change", () => drawAll(dark()));
addEventListener("beforeprint", () => drawAll(false));
addEventListener("afterprint", () => drawAll(dark()));

// One chart a turn, so that the page answers between them.
const drawRest = ([draw, ...rest]) => {
  if (draw) { draw(dark()); setTimeout(drawRest, 0, rest); return; }
  for (const id of ["scatter", "parallel"]) if (charts.includes(drawScatter)) clickable(id);
  fromHash();
  document.documentElement.dataset.ready = Math.round(performance.now());
};
drawRest(charts);
