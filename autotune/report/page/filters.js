// One limit for each metric of the table: a slider over what was measured, and the number itself.
const loosened = (value, up) => {
  const size = 10 ** (Math.floor(Math.log10(Math.abs(value))) - 2);
  const rounded = (up ? Math.ceil(value / size) : Math.floor(value / size)) * size;
  return value === 0 || !Number.isFinite(size) ? value : Number(rounded.toPrecision(3));
};

function makeFilter(axis, changed) {
  const upper = isUpper(axis);
  const ends = data.trials.map((_, i) => worse(axis, i)).filter((v) => v !== null);
  const steps = [...new Set(ends.map((v) => loosened(v, upper)))].sort((a, b) => a - b);
  const open = upper ? steps.length : 0;  // the slider's place without a limit
  const slider = Object.assign(element("input"), {
    type: "range", min: 0, max: steps.length, step: 1, value: open,
  });
  const number = Object.assign(element("input"), { type: "number", step: "any", placeholder: "any" });
  slider.setAttribute("aria-label", `${axis.label}, slider`);
  const set = (limit) => {
    if (limit === null) limits.delete(axis.name);
    else limits.set(axis.name, limit);
    changed();
  };
  slider.addEventListener("input", () => {
    const place = Number(slider.value);
    number.value = place === open ? "" : String(steps[upper ? place : place - 1]);
    set(place === open ? null : Number(number.value));
  });
  number.addEventListener("input", () => {
    const limit = number.value === "" ? null : number.valueAsNumber;
    const inside = steps.filter((v) => (upper ? v <= limit : v < limit)).length;
    slider.value = limit === null ? open : upper ? Math.max(0, inside - 1) : inside + 1;
    set(limit);
  });
  const label = element("label");
  label.append(element("span", `${axis.label} ${upper ? "≤" : "≥"}`), number);
  const row = element("div", undefined, "filter");
  row.append(label, slider);
  row.clear = () => { number.value = ""; slider.value = open; };
  return row;
}

// What the terminal answers for the same limits.
function command() {
  const [first] = columns;
  if (!first) return `autotune pareto ${data.shell_name}`;
  const where = [...limits].map(([name, limit]) => {
    const axis = byName.get(name);
    return `${name}${isUpper(axis) ? "<=" : ">="}${Number((limit * axis.factor).toPrecision(12))}`;
  });
  const best = first.better === "higher" ? "max" : "min";
  const pick = `${best} ${first.name}${where.length ? ` where ${where.join(" and ")}` : ""}`;
  return `autotune pareto ${data.shell_name} --pick "${pick}"`;
}

function makeFilters(changed) {
  const holder = document.getElementById("filters");
  const told = document.getElementById("kept");
  const clear = document.getElementById("clear");
  const rows = [];
  const update = () => {
    const measured = data.trials.map((_, i) => i).filter((i) => data.trials[i].group);
    const count = measured.filter(keeps).length;
    told.textContent = limits.size ? `${count} of ${measured.length} measured trials keep these limits.` : "";
    clear.hidden = !limits.size;
    document.getElementById("pick-command").textContent = command();
    changed();
  };
  for (const axis of columns) rows.push(makeFilter(axis, update));
  holder.append(...rows);
  clear.addEventListener("click", () => {
    limits.clear();
    for (const row of rows) row.clear();
    update();
  });
  document.getElementById("pick-command").textContent = command();
}
