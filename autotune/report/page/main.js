// Puts the parts together, the first chart first; says when that can be used, and when all is drawn.
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
  if (charts.includes(drawScatter)) markSelected(dark());
}

// A slider that is dragged asks faster than thousands of points are drawn.
let waiting = null;
function redrawSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => { drawScatter(dark()); drawParallel(dark()); }, 60);
}

function clickable(id) {
  document.getElementById(id)?.on?.("plotly_click", ({ points: [point] }) => {
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
  makeFilters(() => { view.page = 0; drawTable(); redrawSoon(); });
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
const now = () => Math.round(performance.now());
function drawRest([draw, ...rest]) {
  if (draw) { draw(dark()); setTimeout(drawRest, 0, rest); return; }
  if (charts.includes(drawScatter)) { clickable("parallel"); fromHash(); }
  document.documentElement.dataset.drawn = now();
}
charts[0](dark());
if (charts.includes(drawScatter)) clickable("scatter");
document.documentElement.dataset.ready = now();
setTimeout(drawRest, 0, charts.slice(1));
