// The table of all trials, a page at a time: ten thousand rows at once would take seconds.
const PAGE_ROWS = 50;
const PRINTED_ROWS = 500;
const table = document.getElementById("trials");
const view = { column: 0, sign: 1, page: 0, search: "", rows: PAGE_ROWS };

const textOf = (t) => [
  `#${t.number}`, t.outcome, t.recipe, t.front ? "front" : "", ...(t.picks ?? []),
  t.explanation ?? "", ...(t.remarks ?? []),
].join(" ").toLowerCase();
const texts = [];  // made at the first search

function sortKey(i) {
  const trial = data.trials[i];
  if (view.column < 3) return [trial.number, trial.outcome, trial.recipe][view.column];
  const axis = byName.get(table.tHead.rows[0].cells[view.column].dataset.metric);
  return axis ? axis.value[i] : null;
}

function compare(a, b) {
  const [x, y] = [sortKey(a), sortKey(b)];
  // What was not measured stays at the end, whichever way is up.
  if (x === null || y === null) return (x === null) - (y === null) || a - b;
  return view.sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a - b;
}

function matching() {
  const words = view.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length && !texts.length) texts.push(...data.trials.map(textOf));
  return data.trials.map((_, i) => i)
    .filter((i) => !limits.size || (data.trials[i].group && keeps(i)))
    .filter((i) => words.every((word) => texts[i].includes(word)))
    .sort(compare);
}

function makeRow(i) {
  const trial = data.trials[i];
  const row = element("tr", undefined, [trial.front && "front", i === selected && "selected"].filter(Boolean).join(" "));
  row.dataset.trial = trial.number;
  const first = element("td");
  const button = element("button", String(trial.number), "link");
  button.type = "button";
  button.setAttribute("aria-label", `trial ${trial.number}`);
  first.append(button);
  const outcome = element("td");
  outcome.append(element("span", trial.outcome, `outcome ${trial.outcome.replaceAll(" ", "-")}`));
  const recipe = element("td", trial.recipe, "recipe");
  for (const tag of [...(trial.front ? ["front"] : []), ...(trial.picks ?? [])]) {
    recipe.append(" ", element("span", tag, "tag"));
  }
  for (const line of [...(trial.explanation ? [trial.explanation] : []), ...(trial.remarks ?? [])]) {
    recipe.append(element("small", shorten(line, 160)));
  }
  row.append(first, outcome, recipe);
  const count = table.tHead.rows[0].cells.length - 3;
  for (let k = 0; k < count; k++) row.append(makeCell(trial.cells?.[k] ?? ["–"]));
  return row;
}

function makeCell([text, width, ratio, reason]) {
  const cell = element("td", text, "number");
  if (width) cell.append(" ", element("span", width, "interval"));
  if (ratio) cell.append(element("small", ratio));
  if (reason) cell.title = reason;
  return cell;
}

function drawTable() {
  if (!table) return;
  const found = matching();
  const pages = Math.max(1, Math.ceil(found.length / view.rows));
  view.page = Math.min(view.page, pages - 1);
  const start = view.page * view.rows;
  const shown = found.slice(start, start + view.rows);
  table.tBodies[0].replaceChildren(...shown.map(makeRow));
  const all = data.trials.length;
  const among = found.length < all ? ` (of ${all.toLocaleString("en")})` : "";
  document.getElementById("range").textContent = found.length
    ? `${start + 1} to ${start + shown.length} of ${found.length.toLocaleString("en")}${among}`
    : `no trial matches${among}`;
  const [first, back, on, last] = document.querySelectorAll("#pager button");
  first.disabled = back.disabled = view.page === 0;
  on.disabled = last.disabled = view.page === pages - 1;
  document.getElementById("pager").hidden = all <= PAGE_ROWS;
}

function sortBy(heading) {
  view.sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  view.column = heading.cellIndex;
  view.page = 0;
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", view.sign > 0 ? "ascending" : "descending");
  drawTable();
}

// Turns to the page that holds a trial, if the filters let it through.
function turnTo(i) {
  const place = matching().indexOf(i);
  if (place >= 0) view.page = Math.floor(place / view.rows);
  drawTable();
}

function makeTable(choose) {
  if (!table) return;
  for (const button of table.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }
  table.tBodies[0].addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !getSelection().toString()) choose(byNumber.get(Number(row.dataset.trial)));
  });
  document.getElementById("search").addEventListener("input", (event) => {
    Object.assign(view, { search: event.target.value, page: 0 });
    drawTable();
  });
  const steps = [() => 0, () => view.page - 1, () => view.page + 1, () => Infinity];
  document.querySelectorAll("#pager button").forEach((button, k) => {
    button.addEventListener("click", () => { view.page = steps[k](); drawTable(); });
  });
  addEventListener("beforeprint", () => { Object.assign(view, { rows: PRINTED_ROWS, page: 0 }); drawTable(); });
  addEventListener("afterprint", () => { view.rows = PAGE_ROWS; drawTable(); });
  drawTable();
}
