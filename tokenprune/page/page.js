"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const REASONS = ["dropped", "kept", "important", "diverse", "merged"];
const state = { budget: 0, mode: "kept" };

const element = (name, options = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};
const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
const heat = (rank) => {
  const stops = data.heat, at = rank * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
  return css(stops[low].map((value, i) => Math.round(value + (stops[low + 1][i] - value) * (at - low))));
};

// Whole pixels; what is the same but for rounding errors, such as the border of two crops, stays the same.
const nearest = (side) => Math.round(Math.round(side * 1000) / 1000);

// The cells of some rows of an item, in pixels of a canvas that shows the whole image at a scale.
const cellsOf = (item, wanted, scale) => {
  const cells = [];
  item.rows.forEach((row, number) => {
    if (!row.box || !wanted(row)) return;
    const [left, top, right, bottom] = row.box.map((side) => side * scale);
    const width = (right - left) / row.grid[1], height = (bottom - top) / row.grid[0];
    item.tokens.forEach(([its, y, x], token) => {
      if (its !== number) return;
      const x0 = nearest(left + x * width), y0 = nearest(top + y * height);
      const x1 = nearest(left + (x + 1) * width), y1 = nearest(top + (y + 1) * height);
      cells.push({ token, x0, y0, w: x1 - x0, h: y1 - y0 });
    });
  });
  return cells;
};

// Grey and darker: what no token of these rows shows is darker still.
const dim = (canvas, ctx, cells, known) => {
  ctx.globalCompositeOperation = "saturation";
  ctx.fillStyle = "hsl(0 0% 50%)";
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.globalCompositeOperation = "source-over";
  if (!known) return;
  ctx.fillStyle = "rgb(0 0 0 / 55%)";
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  const seen = new Path2D();
  seen.rect(0, 0, canvas.width, canvas.height);
  for (const { x0, y0, w, h } of cells) seen.rect(x0, y0, w, h);
  ctx.fillStyle = "rgb(0 0 0 / 60%)";
  ctx.fill(seen, "evenodd");
};

const paint = (canvas, item, cells, kept, scores) => {
  const ctx = canvas.getContext("2d");
  ctx.imageSmoothingEnabled = !item.pixelated;
  ctx.globalCompositeOperation = "source-over";
  ctx.drawImage(item.picture, 0, 0, canvas.width, canvas.height);
  dim(canvas, ctx, cells, cells.length > 0);
  if (state.mode === "scores") {
    if (!scores) return;
    ctx.globalAlpha = 0.7;
    for (const { token, x0, y0, w, h } of cells) {
      ctx.fillStyle = heat(scores[token]);
      ctx.fillRect(x0, y0, w, h);
    }
    ctx.globalAlpha = 1;
    return;
  }
  const bright = new Path2D();
  for (const { token, x0, y0, w, h } of cells) if (kept[token] !== "0") bright.rect(x0, y0, w, h);
  ctx.save();
  ctx.clip(bright);
  ctx.drawImage(item.picture, 0, 0, canvas.width, canvas.height);
  ctx.restore();
  for (const { token, x0, y0, w, h } of cells) {
    if (kept[token] === "0") continue;
    const line = Math.max(1, Math.round(Math.min(w, h) / 10));
    ctx.strokeStyle = css(data.colours[kept[token]]);
    ctx.lineWidth = line;
    ctx.strokeRect(x0 + line / 2, y0 + line / 2, w - line, h - line);
  }
};

const describe = (kept, pipeline, budget, part) => {
  const count = REASONS.map((_, reason) => [...kept].filter((one) => one === String(reason)).length);
  const whys = REASONS.map((name, reason) => (reason && count[reason] ? `${count[reason]} ${name}` : "")).filter(Boolean);
  const all = `${kept.length - count[0]} of ${kept.length} tokens stay`;
  return `${part}, ${pipeline} at ${budget}: ${all}${whys.length ? ` (${whys.join(", ")})` : ""}`;
};

const legend = (run) => {
  const list = element("ul", { class: "legend" });
  for (const [reason, count] of Object.entries(run.counts)) {
    const swatch = element("span", { style: `background: ${css(data.colours[reason])}`, "aria-hidden": "true" });
    list.append(element("li", {}, swatch, `${count} ${REASONS[reason]}`));
  }
  return list;
};

const ramp = () => {
  const stops = data.heat.map(css).join(", ");
  const bar = element("span", { class: "ramp", style: `background: linear-gradient(90deg, ${stops})`, "aria-hidden": "true" });
  return element("p", { class: "small" }, "scores by rank: lowest", bar, "highest");
};

const canvasFor = (item, width, name) => {
  const wanted = width / Math.max(item.width, item.height), scale = item.pixelated ? Math.max(1, Math.round(wanted)) : wanted;
  const canvas = element("canvas", {
    width: Math.round(item.width * scale), height: Math.round(item.height * scale), class: name, role: "img",
  });
  return [canvas, scale];
};

// One figure: the picture, its thumbnail apart, a strip of its stages, and a caption.
const figureOf = (item, pipeline) => {
  const known = item.rows.some((row) => row.box), apart = item.rows.some((row) => row.again);
  const every = item.rows.every((row) => row.again || !row.box);
  const [whole, scale] = canvasFor(item, 840, "whole");
  const [thumb, smaller] = canvasFor(item, 240, "");
  const pictures = element("div", { class: "pictures" }, whole);
  if (apart && !every) pictures.append(element("div", { class: "thumbnail" }, thumb, element("span", { text: "thumbnail" })));
  const strip = element("ul", { class: "strip", hidden: true }), caption = element("figcaption");
  const figure = element("figure", {}, element("h3", { text: pipeline.name }), pictures, strip, caption);
  const main = cellsOf(item, (row) => every || !row.again, scale), again = cellsOf(item, (row) => row.again, smaller);
  const draw = () => {
    const run = pipeline.runs[state.budget], budget = data.budgets[state.budget];
    const part = (name) => (state.mode === "scores" ? `Scores of ${pipeline.name}, ${name}` : describe(run.kept, pipeline.name, budget, name));
    paint(whole, item, known ? main : [], run.kept, pipeline.scores);
    whole.setAttribute("aria-label", part(item.alt));
    if (apart && !every) paint(thumb, item, again, run.kept, pipeline.scores);
    thumb.setAttribute("aria-label", part(`thumbnail of ${item.alt}`));
    drawStrip(strip, item, pipeline, run);
    const share = run.before ? ` (${((100 * run.after) / run.before).toFixed(1)} %)` : "";
    const last = run.stages.length ? " in the last layers" : "";
    const lines = [element("p", { class: "count", text: `${run.after} of ${run.before} tokens${share}${last}` })];
    if (run.average !== null) lines.push(element("p", { class: "small", text: `${run.average.toFixed(1)} averaged over the layers` }));
    lines.push(state.mode === "scores" ? (pipeline.scores ? ramp() : element("p", { class: "small", text: pipeline.unscored })) : legend(run));
    if (item.note) lines.push(element("p", { class: "note", text: item.note }));
    caption.replaceChildren(...lines);
  };
  return [figure, draw];
};

const drawStrip = (strip, item, pipeline, run) => {
  strip.hidden = run.stages.length < 2;
  strip.replaceChildren(...(strip.hidden ? [] : run.stages.map((stage) => {
    const [canvas, scale] = canvasFor(item, 160, "");
    const once = item.rows.every((row) => row.again || !row.box);
    paint(canvas, item, cellsOf(item, (row) => once || !row.again, scale), stage.kept, pipeline.scores);
    canvas.setAttribute("aria-label", describe(stage.kept, pipeline.name, data.budgets[state.budget], stage.label));
    return element("li", {}, canvas, element("span", { text: `${stage.label}: ${stage.after}` }));
  })));
};

const headed = (caption, heads) => {
  const table = element("table", {}, element("caption", { text: caption }));
  table.append(element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col", text: head })))));
  return table;
};

// A line for each question, a column for each pipeline: what it answers under the chosen budget.
const answersOf = (item) => {
  const place = element("div", { class: "table answers" });
  if (!item.questions.length) return [place, () => {}];
  const known = item.questions.some((question) => question.expected !== null);
  const names = item.pipelines.map((pipeline) => pipeline.name);
  const draw = () => {
    const heads = ["question", ...(known ? ["right answer"] : []), "all tokens", ...names];
    const table = headed(`Answers at ${data.budgets[state.budget]}`, heads), body = element("tbody");
    item.questions.forEach((question, at) => {
      const row = element("tr", {}, element("th", { scope: "row", text: question.text }));
      if (known) row.append(element("td", { text: question.expected ?? "" }));
      row.append(element("td", { text: question.full || "(nothing)" }));
      for (const pipeline of item.pipelines) {
        const said = pipeline.runs[state.budget].answers[at], same = said === question.full;
        row.append(element("td", { class: same ? "same" : "other", text: `${same ? "✓" : "✗"} ${said || "(nothing)"}` }));
      }
      body.append(row);
    });
    table.append(body);
    place.replaceChildren(table, element("p", { class: "small", text: "✓: the same as with all tokens." }));
  };
  return [place, draw];
};

// Every count of an item, folded away.
const numbersOf = (item) => {
  const table = headed(`Counts: ${item.heading}`, ["pipeline", "budget", "tokens", "important", "diverse", "merged"]);
  const body = element("tbody");
  for (const pipeline of item.pipelines) {
    pipeline.runs.forEach((run, budget) => {
      const row = element("tr", { "data-budget": budget }, element("th", { scope: "row", text: pipeline.name }));
      row.append(element("td", { text: data.budgets[budget] }), element("td", { class: "figure", text: `${run.after}/${run.before}` }));
      for (const reason of [2, 3, 4]) row.append(element("td", { class: "figure", text: run.counts[reason] ?? 0 }));
      body.append(row);
    });
  }
  table.append(body);
  return element("details", {}, element("summary", { text: "All counts" }), element("div", { class: "table" }, table));
};

const start = async () => {
  document.getElementById("lead").textContent = data.lead;
  for (const [name, fact] of data.facts) {
    document.getElementById("facts").append(element("div", {}, element("dt", { text: name }), element("dd", { text: fact })));
  }
  const draws = [], items = document.getElementById("items");
  for (const item of data.items) {
    item.picture = new Image();
    item.picture.src = item.image;
    await item.picture.decode();
    const section = element("section", {}, element("h2", { text: item.heading }));
    const figures = element("div", { class: "figures" });
    for (const pipeline of item.pipelines) {
      const [figure, draw] = figureOf(item, pipeline);
      figures.append(figure);
      draws.push(draw);
    }
    const [table, draw] = answersOf(item);
    draws.push(draw);
    section.append(figures, table, numbersOf(item));
    items.append(section);
  }
  const slider = document.getElementById("budget"), chosen = document.getElementById("chosen");
  slider.max = data.budgets.length - 1;
  data.budgets.forEach((budget, at) => document.getElementById("ticks").append(element("option", { value: at, label: budget })));
  const redraw = () => {
    chosen.textContent = data.budgets[state.budget];
    slider.setAttribute("aria-valuetext", data.budgets[state.budget]);
    for (const row of document.querySelectorAll("tr[data-budget]")) {
      if (Number(row.dataset.budget) === state.budget) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    draws.forEach((draw) => draw());
  };
  slider.addEventListener("input", () => { state.budget = Number(slider.value); redraw(); });
  document.getElementById("controls").addEventListener("change", (event) => {
    if (event.target.name === "mode") { state.mode = event.target.value; redraw(); }
  });
  document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
  redraw();
  document.documentElement.dataset.ready = "true";
};
start();
