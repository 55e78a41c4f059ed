"use strict";
// Every text of a row is put in as text, never as markup: models wrote it.
const rows = JSON.parse(document.getElementById("rows").textContent);
const STEP = 100;
const FILTERS = ["task", "status", "language", "strength"];
const chosen = { text: "" };
let most = STEP;

function made(name, text, kind) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function labelled(name, control, kind) {
  const label = made("label", name, kind);
  label.append(control);
  document.getElementById("filters").append(label);
}

for (const name of FILTERS) {
  const counts = new Map();
  for (const row of rows) counts.set(row[name] ?? "none", (counts.get(row[name] ?? "none") ?? 0) + 1);
  const select = made("select");
  select.id = "by-" + name;
  select.append(new Option("all", ""));
  for (const value of [...counts.keys()].sort()) select.append(new Option(value.replaceAll("_", " ") + " (" + counts.get(value) + ")", value));
  select.addEventListener("change", () => { chosen[name] = select.value; most = STEP; show(); });
  labelled(name, select);
}
const input = made("input");
input.type = "search";
input.id = "by-text";
input.addEventListener("input", () => { chosen.text = input.value.toLowerCase(); most = STEP; show(); });
labelled("text", input, "wide");

function fits(row) {
  if (!FILTERS.every((name) => !chosen[name] || (row[name] ?? "none") === chosen[name])) return false;
  if (!chosen.text) return true;
  return [row.id, row.detail, row.stderr, row.program, row.prompt].some((text) => text.toLowerCase().includes(chosen.text));
}

function block(row) {
  const details = made("details", undefined, "fail");
  const summary = made("summary");
  summary.append(made("b", row.id), made("span", row.status.replaceAll("_", " "), "tag"), made("span", row.strength ?? "not judged", "tag"));
  summary.append(made("span", row.task + ", sample " + row.sample, "why"), made("span", row.detail, "why"));
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    for (const [name, text] of [["prompt", row.prompt], ["program", row.program], ["standard error", row.stderr]]) {
      if (text) details.append(made("h4", name), made("pre", text));
    }
  });
  return details;
}

function show() {
  const found = rows.filter(fits);
  document.getElementById("found").textContent = found.length + " of " + rows.length;
  const list = document.getElementById("list");
  list.replaceChildren(...found.slice(0, most).map(block));
  if (found.length > most) {
    const more = made("button", "show " + Math.min(STEP, found.length - most) + " more", "more-rows");
    more.type = "button";
    more.addEventListener("click", () => { most += STEP; show(); });
    list.append(more);
  }
}
show();
