// Everything that is known of one trial, in a panel that stays in view.
const panel = document.getElementById("detail");

function facts(pairs) {
  const list = element("dl", undefined, "facts");
  for (const [name, value] of pairs) {
    const row = element("div");
    row.append(element("dt", name), element("dd", value));
    list.append(row);
  }
  return list;
}

function values(trial, i) {
  const told = data.columns.map(({ label }, k) => [label, (trial.cells?.[k] ?? []).slice(0, 3).filter(Boolean).join(" · ")]);
  const others = data.axes.filter((axis) => !axis.column && axis.value[i] !== null);
  return [facts(told.filter(([, text]) => text)), others.map((axis) => [axis.label, interval(axis, i)])];
}

function showDetail(i) {
  panel.hidden = i === null;
  if (i === null) return;
  const trial = data.trials[i];
  panel.querySelector("h2").textContent = `Trial ${trial.number}`;
  const body = panel.querySelector("div");
  const tags = element("p");
  tags.append(element("span", trial.outcome, `outcome ${trial.outcome.replaceAll(" ", "-")}`));
  for (const tag of [...(trial.front ? ["front"] : []), ...(trial.picks ?? [])]) {
    tags.append(" ", element("span", tag, "tag"));
  }
  const parts = [element("p", trial.recipe, "recipe"), tags];
  if (trial.against) parts.push(element("p", trial.against, "against"));
  if (trial.explanation) parts.push(element("pre", trial.explanation));
  for (const line of trial.remarks ?? []) parts.push(element("p", line, "caption"));
  if (trial.group) {
    const [main, others] = values(trial, i);
    parts.push(main);
    if (others.length) {
      const more = element("details");
      more.append(element("summary", `${others.length} more metrics`), facts(others));
      parts.push(more);
    }
  }
  if (trial.group) {
    const name = data.shell_name;
    parts.push(element("pre", `autotune pareto ${name} --pick ${trial.number}\nautotune reproduce ${name} ${trial.number}`, "commands"));
  }
  if (trial.log) parts.push(element("p", `log: ${trial.log}`, "caption"));
  body.replaceChildren(...parts);
  body.scrollTop = 0;
}
