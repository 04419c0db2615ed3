// What the page holds, and what is looked at: every part reads it, and redraws when it changes.
const data = JSON.parse(document.getElementById("data").textContent);
const darkScreen = matchMedia("(prefers-color-scheme: dark)");
const columns = data.axes.filter((a) => a.column);
const byName = new Map(data.axes.map((a) => [a.name, a]));
const byNumber = new Map(data.trials.map((t, i) => [t.number, i]));
const limits = new Map();  // metric → the most, or the least, that is let through, as shown
let selected = null;  // place in data.trials

const element = (tag, text, className) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};
const isUpper = (axis) => axis.better === "lower";

// As constraints do: the worse end of the 95 % interval counts, and what was not measured fails.
const worse = (axis, i) => ((isUpper(axis) ? axis.high : axis.low) ?? axis.value)[i];
const keeps = (i) => [...limits].every(([name, limit]) => {
  const end = worse(byName.get(name), i);
  return end !== null && (isUpper(byName.get(name)) ? end <= limit : end >= limit);
});

const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const short = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
const interval = (axis, i) => {
  if (!axis.low || axis.low[i] === axis.high[i]) return short(axis.value[i]);
  return `${short(axis.value[i])} (${short(axis.low[i])} to ${short(axis.high[i])})`;
};
