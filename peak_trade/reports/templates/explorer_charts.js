// Charts and comparison of the explorer of runs. A brush sets the same ranges as the fields of the filters.
(function () {
  "use strict";
  const explorer = window.peakTrade.explorer, {column, columns, numeric, state, view, byId, add, textOf, growthOf, numberText, cellText, isConstant, nScope} = explorer;
  const SVG = "http://www.w3.org/2000/svg", LINES = 1500, AXES = 6;
  const COLORS = ["--pt-engine", "--pt-venue", "--pt-c3", "--pt-c4", "--pt-c5", "--pt-c6"], DASHES = ["", "6 3", "2 2.5", "8 3 2 3", "", "6 3"];
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colorOf = (mark) => color(COLORS[mark % COLORS.length]);
  explorer.letter = (mark) => (mark < 26 ? String.fromCharCode(65 + mark) : `#${mark + 1}`);

  function canvasOf(id) {
    const canvas = byId(id), width = canvas.clientWidth, height = canvas.clientHeight, scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = width * scale;
    canvas.height = height * scale;
    pen.scale(scale, scale);
    pen.font = "12px sans-serif";
    return {canvas, pen, width, height};
  }
  function extent(each, rows) {
    let least = Infinity, most = -Infinity;
    for (const row of rows) { const value = each.values[row]; if (value < least) least = value; if (value > most) most = value; }
    return least > most ? null : least === most ? [least - 0.5, most + 0.5] : [least, most];
  }
  const everyRow = () => Array.from({length: nScope()}, (_, row) => row);
  const thinned = (rows, most) => (rows.length <= most ? rows : Array.from({length: most}, (_, place) => rows[Math.floor(place * rows.length / most)]));

  // Scatter of two measures.
  const scatter = {left: 58, right: 12, top: 8, bottom: 24};
  function drawScatter(rows) {
    const {canvas, pen, width, height} = canvasOf("pt-scatter"), across = column[state.x], down = column[state.y];
    const x = across && extent(across, rows), y = down && extent(down, rows);
    scatter.x = null;
    if (!x || !y) return;
    const placeX = (value) => scatter.left + (width - scatter.left - scatter.right) * (value - x[0]) / (x[1] - x[0]);
    const placeY = (value) => height - scatter.bottom - (height - scatter.top - scatter.bottom) * (value - y[0]) / (y[1] - y[0]);
    Object.assign(scatter, {x, y, width, height});
    pen.fillStyle = color("--pt-ink2");
    pen.strokeStyle = color("--pt-control");
    pen.strokeRect(scatter.left, scatter.top, width - scatter.left - scatter.right, height - scatter.top - scatter.bottom);
    pen.textAlign = "right";
    for (const [value, base] of [[y[0], "bottom"], [y[1], "top"]]) { pen.textBaseline = base; pen.fillText(numberText(down, value), scatter.left - 5, placeY(value)); }
    pen.textBaseline = "top";
    pen.fillText(numberText(across, x[1]), width - scatter.right, height - scatter.bottom + 5);
    pen.textAlign = "left";
    pen.fillText(numberText(across, x[0]), scatter.left, height - scatter.bottom + 5);
    pen.save();
    pen.strokeStyle = color("--pt-ink3");
    pen.beginPath();
    if (y[0] < 0 && y[1] > 0) { pen.moveTo(scatter.left, placeY(0)); pen.lineTo(width - scatter.right, placeY(0)); }
    if (x[0] < 0 && x[1] > 0) { pen.moveTo(placeX(0), scatter.top); pen.lineTo(placeX(0), height - scatter.bottom); }
    pen.stroke();
    pen.restore();
    const dots = (some, fill, size) => {
      pen.fillStyle = fill;
      for (const row of some) if (!Number.isNaN(across.values[row] + down.values[row])) pen.fillRect(placeX(across.values[row]) - size / 2, placeY(down.values[row]) - size / 2, size, size);
    };
    dots(rows, color("--pt-rule"), 3);
    dots(view.rows, color("--pt-engine"), 4);
    for (const [mark, row] of state.runs.entries()) {
      dots([row], colorOf(mark), 9);
      pen.fillStyle = color("--pt-ink");
      pen.fillText(explorer.letter(mark), placeX(across.values[row]) + 7, placeY(down.values[row]) - 6);
    }
    canvas.setAttribute("aria-label", `${down.label} by ${across.label} of ${rows.length.toLocaleString("en")} runs; ${view.rows.length.toLocaleString("en")} match the filters.`);
  }

  // Parallel axes: settings that differ, then the measures of the table.
  const parallel = {left: 34, right: 34, top: 42, bottom: 20, axes: []};
  function axes() {
    const isAxis = (each) => each.kind === "number" && !isConstant(each);
    const settings = columns.filter((each) => each.group === "setting" && !each.label.startsWith("settings.") && isAxis(each));
    const measures = numeric.filter((each) => each.group === "measure" && (state.columns.includes(each.name) || each.name in state.ranges) && isAxis(each));
    return [...settings.slice(0, Math.max(2, AXES - measures.length)), ...measures].slice(0, AXES);
  }
  function drawParallel(rows) {
    const {canvas, pen, width, height} = canvasOf("pt-parallel");
    const chosen = axes().map((each) => ({each, ends: extent(each, rows)})).filter(({ends}) => ends);
    parallel.axes = [];
    byId("pt-lines").textContent = "";
    if (chosen.length < 2) return;
    const step = (width - parallel.left - parallel.right) / (chosen.length - 1);
    const low = height - parallel.bottom;
    parallel.axes = chosen.map(({each, ends}, place) => ({each, ends, x: parallel.left + place * step, y: (value) => low - (low - parallel.top) * (value - ends[0]) / (ends[1] - ends[0])}));
    Object.assign(parallel, {width, height});
    const lines = (some, stroke, alpha, wide) => {
      pen.strokeStyle = stroke;
      pen.globalAlpha = alpha;
      pen.lineWidth = wide;
      pen.beginPath();
      for (const row of some) {
        let isDown = false;
        for (const {each, x, y} of parallel.axes) {
          const value = each.values[row];
          if (Number.isNaN(value)) isDown = false;
          else if (isDown) pen.lineTo(x, y(value));
          else { pen.moveTo(x, y(value)); isDown = true; }
        }
      }
      pen.stroke();
      pen.globalAlpha = 1;
    };
    const drawn = thinned(view.rows, LINES), behind = view.rows.length < rows.length ? thinned(rows, LINES / 3) : [];
    lines(behind, color("--pt-rule"), 1, 1);
    lines(drawn, color("--pt-engine"), drawn.length > 200 ? 0.12 : 0.4, 1);
    for (const [mark, row] of state.runs.entries()) lines([row], colorOf(mark), 1, 2.5);
    for (const [place, {each, ends, x, y}] of parallel.axes.entries()) {
      pen.strokeStyle = color("--pt-control");
      pen.lineWidth = 1;
      pen.strokeRect(x, parallel.top, 0, low - parallel.top);
      const range = state.ranges[each.name];
      if (range) {
        const from = y(Math.max(ends[0], Number.isNaN(range.low) ? ends[0] : range.low)), to = y(Math.min(ends[1], Number.isNaN(range.high) ? ends[1] : range.high));
        pen.strokeStyle = color("--pt-link");
        pen.lineWidth = 2;
        pen.strokeRect(x - 5, Math.min(from, to), 10, Math.abs(from - to));
      }
      pen.fillStyle = color("--pt-ink2");
      pen.textAlign = place === 0 ? "left" : place === parallel.axes.length - 1 ? "right" : "center";
      const edge = x + (place === 0 ? -parallel.left : place === parallel.axes.length - 1 ? parallel.right : 0), room = step - 6;
      pen.textBaseline = "top";
      pen.fillText(each.label, edge, place % 2 ? 0 : 13, room * 1.8);
      pen.fillText(numberText(each, ends[1]), edge, 27, room);
      pen.fillText(numberText(each, ends[0]), edge, low + 5, room);
    }
    byId("pt-lines").textContent = `Drag on an axis to filter; click to clear.${drawn.length < view.rows.length ? ` ${drawn.length.toLocaleString("en")} of ${view.rows.length.toLocaleString("en")} lines are drawn.` : ""}`;
    canvas.setAttribute("aria-label", `${parallel.axes.map(({each}) => each.label).join(", ")} of ${view.rows.length.toLocaleString("en")} runs on parallel axes.`);
  }
  explorer.drawCharts = () => { const rows = everyRow(); drawScatter(rows); drawParallel(rows); };

  function brush(id, apply) {
    const canvas = byId(id);
    let start = null;
    const at = (event) => { const edge = canvas.getBoundingClientRect(); return [event.clientX - edge.left, event.clientY - edge.top]; };
    canvas.addEventListener("pointerdown", (event) => { start = at(event); canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => { if (start) { const end = at(event); if (Math.hypot(end[0] - start[0], end[1] - start[1]) > 4) apply(start, end); } });
    canvas.addEventListener("pointerup", (event) => { if (start) { const end = at(event); if (Math.hypot(end[0] - start[0], end[1] - start[1]) <= 4) apply(start, null); } start = null; });
  }
  brush("pt-scatter", (start, end) => {
    const {x, y, left, right, top, bottom, width, height} = scatter;
    if (!x) return;
    const across = (place) => x[0] + (x[1] - x[0]) * (place - left) / (width - left - right), down = (place) => y[1] - (y[1] - y[0]) * (place - top) / (height - top - bottom);
    const ends = end ? [[start[0], end[0]].map(across), [start[1], end[1]].map(down)] : [[NaN], [NaN]];
    [state.x, state.y].forEach((name, place) => explorer.setRange(name, Math.min(...ends[place]), Math.max(...ends[place])));
    explorer.update();
  });
  brush("pt-parallel", (start, end) => {
    const near = parallel.axes.reduce((best, each) => (!best || Math.abs(each.x - start[0]) < Math.abs(best.x - start[0]) ? each : best), null);
    if (!near) return;
    const low = parallel.height - parallel.bottom, value = (place) => near.ends[0] + (near.ends[1] - near.ends[0]) * (low - place) / (low - parallel.top);
    const ends = end ? [start[1], end[1]].map(value) : [NaN];
    explorer.setRange(near.each.name, Math.min(...ends), Math.max(...ends));
    explorer.update();
  });

  // Comparison of the ticked runs with the pinned baseline.
  function overlay(runs, room) {
    const lines = runs.map((row) => ({row, values: growthOf(row), from: column.start.values[row], to: column.end.values[row]})).filter((each) => each.values.length > 1 && each.to > each.from);
    const from = Math.max(...lines.map((each) => each.from)), to = Math.min(...lines.map((each) => each.to));
    if (lines.length < 2 || from >= to) return null;
    const width = Math.min(720, room), height = 220, edge = 64, svg = document.createElementNS(SVG, "svg");
    const at = (line, time) => { const place = (line.values.length - 1) * (time - line.from) / (line.to - line.from), whole = Math.min(Math.floor(place), line.values.length - 2); return line.values[whole] + (place - whole) * (line.values[whole + 1] - line.values[whole]); };
    const times = Array.from({length: 61}, (_, place) => from + (to - from) * place / 60);
    const paths = lines.map((line) => times.map((time) => Math.log(Math.max(at(line, time) / at(line, from), 1e-9))));
    const least = Math.min(0, ...paths.flat()), most = Math.max(0, ...paths.flat()), span = most - least || 1;
    const x = (place) => 8 + (width - edge - 8) * place / 60, y = (value) => height - 22 - (height - 40) * (value - least) / span;
    const put = (tag, attributes, text = "") => { const made = document.createElementNS(SVG, tag); made.textContent = text; for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value); svg.append(made); return made; };
    put("path", {d: `M8 ${y(0)}H${width - edge}`, class: "pt-zero"});
    const labels = paths.map((path, place) => ({place, y: y(path[60])})).sort((one, other) => one.y - other.y);
    labels.forEach((label, place) => { if (place) label.y = Math.max(label.y, labels[place - 1].y + 15); });
    for (const {place, y: down} of labels) {
      const mark = runs.indexOf(lines[place].row), stroke = `var(${COLORS[mark % COLORS.length]})`;
      put("path", {d: `M${paths[place].map((value, step) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`, "stroke-dasharray": DASHES[mark % DASHES.length]}).style.stroke = stroke;
      put("text", {x: width - edge + 6, y: (down + 4).toFixed(1)}, `${explorer.letter(mark)} ×${Math.exp(paths[place][60]).toFixed(2)}`);
    }
    for (const [anchor, place, time] of [["start", 8, from], ["end", width - edge, to]]) put("text", {x: place, y: height - 4, "text-anchor": anchor}, new Date(1000 * time).toISOString().slice(0, 10));
    for (const [name, value] of Object.entries({class: "pt-spark", width, height, role: "img", "aria-label": `Growth of one unit: ${labels.map(({place}) => `${explorer.letter(runs.indexOf(lines[place].row))} ×${Math.exp(paths[place][60]).toFixed(2)}`).join(", ")}`})) svg.setAttribute(name, value);
    return svg;
  }
  function compareTable(parent, label, runs, rows, kind = "") {
    const holder = add(parent, "div", "", {class: "pt-table", tabindex: 0, role: "region", "aria-label": label}), table = add(holder, "table"), head = table.createTHead().insertRow(), body = table.createTBody();
    add(head, "th", "", {scope: "col"});
    for (const row of runs) add(head, "th", `${explorer.letter(state.runs.indexOf(row))}${row === state.baseline ? ", baseline" : ""}`, {scope: "col", class: kind});
    for (const [each, cells] of rows) {
      const line = body.insertRow(), name = add(line, "th", "", {scope: "row"});
      if (each.link) add(name, "a", each.label, {href: each.link});
      else name.textContent = each.label;
      for (const text of cells) add(line, "td", text, {dir: "auto", class: kind, title: text});
    }
  }
  function difference(each, row) {
    const change = each.values[row] - each.values[state.baseline];
    if (Number.isNaN(change)) return cellText(each, row);
    return numberText(each, change, "+").replace("%", "\u00a0pp");
  }
  explorer.showCompare = () => {
    const panel = byId("pt-compare"), runs = [state.baseline, ...state.runs.filter((row) => row !== state.baseline)], held = document.activeElement?.dataset?.pin;
    panel.hidden = state.runs.length === 0;
    panel.textContent = "";
    if (panel.hidden) return;
    add(panel, "h2", `Compare ${state.runs.length} run${state.runs.length > 1 ? "s" : ""}`, {id: "pt-compare-title"});
    const clear = add(panel, "button", "Clear the comparison", {type: "button", class: "pt-button"});
    clear.addEventListener("click", () => { state.runs = []; state.baseline = -1; explorer.update(); byId("pt-box").focus(); });
    const list = add(panel, "ol", "", {class: "pt-pins"});
    for (const row of runs) {
      const item = add(list, "li"), mark = state.runs.indexOf(row), name = `${textOf("strategy", row)}, ${textOf("symbol", row)}, ${cellText(column.recorded_at, row)}`;
      add(item, "b", explorer.letter(mark)).style.borderColor = `var(${COLORS[mark % COLORS.length]})`;
      add(item, "span", ` ${name} `, {dir: "auto"});
      const pin = add(item, "button", row === state.baseline ? "Baseline" : "Pin as baseline", {type: "button", class: "pt-button", "data-pin": row, "aria-pressed": String(row === state.baseline), "aria-label": `Baseline: ${explorer.letter(mark)} ${name}`});
      pin.addEventListener("click", () => { state.baseline = row; explorer.update(); });
      if (String(row) === held) pin.focus();
      const drop = add(item, "button", "Remove", {type: "button", class: "pt-button", "aria-label": `Remove ${explorer.letter(mark)} ${name}`});
      drop.addEventListener("click", () => explorer.choose(row, false));
    }
    if (runs.length < 2) { add(panel, "p", "Tick another run in the table."); return; }
    const differ = (each) => runs.some((row) => cellText(each, row) !== cellText(each, state.baseline));
    if (differ(column.data_digest) || differ(column.data)) add(panel, "p", "The runs are on different data: their results are not those of one market.", {class: "pt-caution"});
    const drawing = overlay(runs, panel.clientWidth);
    if (drawing) { add(panel, "h3", "Growth of one unit over the common span, logarithmic"); panel.append(drawing); }
    else add(panel, "p", "No common span of equity is recorded for these runs.", {class: "pt-note"});
    const measures = numeric.filter((each) => each.group === "measure" && runs.some((row) => !Number.isNaN(each.values[row])));
    add(panel, "h3", "Results of the baseline, and differences from it");
    compareTable(panel, "Results", runs, measures.map((each) => [each, runs.map((row) => {
      const error = each.errors?.[row];
      return (row === state.baseline ? cellText(each, row) : difference(each, row)) + (row === state.baseline && error ? ` ±\u00a0${numberText(each, error)}` : "");
    })]), "pt-float");
    add(panel, "p", "A difference has no error here: it takes the returns of both runs.", {class: "pt-note"});
    const inputs = columns.filter((each) => each.group !== "measure" && !["growth", "page", "recorded_at", "run_id", "verdict"].includes(each.name));
    const changed = inputs.filter(differ), equal = inputs.filter((each) => !differ(each));
    const line = (each) => [each, runs.map((row) => (row !== state.baseline && cellText(each, row) === cellText(each, state.baseline) ? "=" : cellText(each, row)))];
    add(panel, "h3", `${changed.length} of ${inputs.length} inputs differ`);
    if (changed.length) compareTable(panel, "Inputs that differ", runs, changed.map(line));
    const rest = add(panel, "details");
    add(rest, "summary", `${equal.length} equal inputs`);
    compareTable(rest, "Equal inputs", [state.baseline], equal.map((each) => [each, [cellText(each, state.baseline)]]));
  };
})();
