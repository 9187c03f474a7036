// Charts of a page: colours of the theme, one range of dates for all of them, finer series, buttons and print.
(function () {
  "use strict";
  const DAY = 864e5, MOST_POINTS = 3000, PRINT_WIDTH = 680, charts = [];
  const DATED = /^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?$/, X_AXIS = /^xaxis\d*$/, Y_AXIS = /^yaxis\d*$/;
  // The palette of the figures, light and dark; see reports/views/drawing.py and reports/styles/site.css.
  const DARK = {"#1d5b9b": "#6db0f2", "#b54e0a": "#f2944a", "#6b757c": "#9aa6ae", "#9c1420": "#ff8576", "#0a8060": "#58d8b4", "#3c8f87": "#2eeccb", "#162361": "#8593f0", "#c771e9": "#efde3d", "#76393c": "#c9a24a", "#434c53": "#b8c2c8", "#14191d": "#e9edef", "#e6e9e7": "#262e34", "#ffffff": "#161b1f", "rgba(156,20,32,0.18)": "rgba(255,133,118,0.25)"};
  let range = null, whole = null, bar = null, printing = false, isDark = () => false;

  const milliseconds = (text) => Date.parse(text.length > 10 ? text.replace(" ", "T") + "Z" : text);
  const stamp = (time) => new Date(time).toISOString().slice(0, 19).replace("T", " ");
  const day = (time) => new Date(time).toISOString().slice(0, 10);
  function values(array) {
    if (!array || !array.bdata) return array;
    const bytes = Uint8Array.from(atob(array.bdata), (each) => each.charCodeAt(0));
    const kinds = {f8: Float64Array, f4: Float32Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array};
    return Array.from(new kinds[array.dtype](bytes.buffer));
  }
  function themed(part) {
    let text = JSON.stringify(part);
    if (isDark() && !printing) for (const [light, dark] of Object.entries(DARK)) text = text.replaceAll(light, dark);
    return JSON.parse(text);
  }
  function isDated(trace) { return Array.isArray(trace.x) && trace.x.some((each) => typeof each === "string") && trace.x.every((each) => each === null || DATED.test(each)); }
  function firstAfter(times, time) {
    let low = 0, high = times.length;
    while (low < high) { const middle = (low + high) >> 1; if (times[middle] < time) low = middle + 1; else high = middle; }
    return low;
  }

  // Of many points, the first, the smallest and the largest of each of equal stretches.
  function thinned(y, first, after) {
    const kept = [], stretches = MOST_POINTS / 3;
    if (after - first <= MOST_POINTS) { for (let place = first; place < after; place++) kept.push(place); return kept; }
    for (let stretch = 0; stretch < stretches; stretch++) {
      const from = first + Math.floor((after - first) * stretch / stretches), to = first + Math.floor((after - first) * (stretch + 1) / stretches);
      let least = from, most = from;
      for (let place = from; place < to; place++) { if (y[place] < y[least]) least = place; if (y[place] > y[most]) most = place; }
      kept.push(...Array.from(new Set([from, least, most])).sort((one, other) => one - other));
    }
    kept.push(after - 1);
    return kept;
  }
  // The points of a trace in the range; of a line, with one point before and one after it.
  function inRange(chart, trace, place) {
    if (!range || !chart.times[place]) return trace;
    const fine = chart.fine && chart.fine[place], times = fine ? fine.times : chart.times[place];
    const isLine = (trace.mode || "").includes("lines");
    const first = Math.max(0, firstAfter(times, range[0]) - (isLine ? 1 : 0)), after = Math.min(times.length, firstAfter(times, range[1] + 1) + (isLine ? 1 : 0));
    const kept = fine ? thinned(fine.values, first, after) : Array.from({length: after - first}, (_, each) => first + each);
    const cut = {...trace, x: kept.map((each) => fine ? stamp(times[each]) : trace.x[each])};
    if (fine) cut.y = kept.map((each) => fine.values[each]);
    else for (const key of ["y", "text", "customdata"]) if (Array.isArray(trace[key])) cut[key] = kept.map((each) => trace[key][each]);
    return cut;
  }
  function shown(chart) {
    const layout = JSON.parse(JSON.stringify(chart.layout));
    layout.uirevision = "kept";
    layout.dragmode = chart.isDated ? "zoom" : false;
    for (const name of Object.keys(layout)) {
      if (chart.isDated && Y_AXIS.test(name)) layout[name].fixedrange = true;
      if (chart.isDated && X_AXIS.test(name)) {
        layout[name].uirevision = String(range);
        if (range) { layout[name].range = range.map(stamp); layout[name].autorange = false; }
      }
      if (Y_AXIS.test(name) && range && layout[name].type === "log") delete layout[name].dtick;
      if (Y_AXIS.test(name) && chart.isLinear && layout[name].type === "log") { layout[name].type = "linear"; delete layout[name].dtick; delete layout[name].range; }
    }
    if (printing) { layout.width = PRINT_WIDTH; layout.autosize = false; }
    return [themed(chart.data.map((trace, place) => inRange(chart, trace, place))), themed(layout)];
  }
  function redraw() { for (const chart of charts) Plotly.react(chart.id, ...shown(chart)); }

  function button(text, act, label) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    if (label) made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  }
  function addButtons(chart) {
    let line = document.querySelector(`[data-figure="${CSS.escape(chart.id)}"]`);
    if (!line) {
      line = document.createElement("p");
      line.className = "pt-take";
      document.getElementById(chart.id).before(line);
    }
    const named = chart.id.replace(/^figure-/, "").replace(/-/g, " ");
    line.append(button("PNG", () => Plotly.downloadImage(chart.id, {format: "png", filename: chart.id, scale: 2}), `${named}, PNG`));
    if (Object.keys(chart.layout).some((name) => Y_AXIS.test(name) && chart.layout[name].type === "log")) {
      const scale = button("Linear scale", () => {
        chart.isLinear = !chart.isLinear;
        scale.textContent = chart.isLinear ? "Log scale" : "Linear scale";
        Plotly.react(chart.id, ...shown(chart));
      });
      line.append(scale);
    }
    if (chart.isDated) {
      chart.reset = button("Reset zoom", () => setRange(null), `${named}, reset zoom`);
      chart.reset.disabled = true;
      line.append(chart.reset);
    }
    chart.finer = line.dataset.finer;
    chart.said = document.createElement("small");
    chart.said.setAttribute("role", "status");
    line.prepend(chart.said);
  }
  function loadFiner(chart) {
    if (!chart.finer || chart.fine !== undefined) return;
    chart.fine = null;
    chart.said.textContent = "Loading finer data";
    const script = document.createElement("script");
    script.src = chart.finer;
    script.addEventListener("error", () => { chart.fine = undefined; chart.said.textContent = "Finer data did not load"; });
    document.head.append(script);
  }
  async function finer(id, packed) {
    const chart = charts.find((each) => each.id === id);
    const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    chart.fine = {};
    for (const [place, series] of Object.entries(JSON.parse(text))) {
      let time = series.start;
      chart.fine[place] = {times: Float64Array.from(series.steps, (step) => (time += step)), values: series.values};
    }
    chart.said.textContent = "";
    document.getElementById(id).dataset.finer = "loaded";
    Plotly.react(id, ...shown(chart));
  }

  function setRange(next) {
    if (next) next = [Math.max(whole[0], Math.min(...next)), Math.min(whole[1], Math.max(...next))];
    range = next && next[1] > next[0] && (next[0] > whole[0] || next[1] < whole[1]) ? next : null;
    if (range) charts.filter((chart) => chart.isDated).forEach(loadFiner);
    for (const chart of charts.filter((each) => each.isDated)) {
      Plotly.react(chart.id, ...shown(chart));
      chart.reset.disabled = !range;
    }
    try { history.replaceState(null, "", range ? `#from=${day(range[0])}&to=${day(range[1])}` : location.pathname + location.search); } catch { /* A page without an address of its own. */ }
    if (bar) bar.update();
  }
  function draw(id, data, layout) {
    const decoded = data.map((trace) => ({...trace, x: values(trace.x), y: values(trace.y)}));
    const chart = {id, data: decoded, layout, isLinear: false};
    chart.isDated = decoded.some(isDated);
    chart.times = decoded.map((trace) => {
      if (!isDated(trace) || trace.x.includes(null)) return null;
      const times = trace.x.map(milliseconds);
      return times.every((time, place) => place === 0 || time >= times[place - 1]) ? times : null;
    });
    charts.push(chart);
    Plotly.newPlot(id, ...shown(chart), {responsive: true, displayModeBar: false, doubleClick: chart.isDated ? false : "reset"});
    addButtons(chart);
    const node = document.getElementById(id);
    if (!chart.isDated) return;
    node.on("plotly_relayout", (change) => {
      const axis = Object.keys(change).find((name) => /^xaxis\d*\.range(\[0\])?$/.test(name));
      if (!axis) return;
      const name = axis.split(".")[0], ends = change[`${name}.range`] || [change[`${name}.range[0]`], change[`${name}.range[1]`]];
      setRange(ends.map((end) => typeof end === "string" ? milliseconds(end.slice(0, 19)) : end));
    });
    node.on("plotly_doubleclick", () => setRange(null));
  }

  // The bar of the range: spans, a miniature with two handles, two dates, and the reset.
  function makeBar() {
    const spans = charts.flatMap((chart) => chart.times).filter((times) => times && times.length > 1);
    if (!spans.length) return;
    whole = [Math.min(...spans.map((times) => times[0])), Math.max(...spans.map((times) => times[times.length - 1]))];
    if (whole[1] - whole[0] < DAY) return;
    const box = document.createElement("div");
    box.className = "pt-range";
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Dates of all charts, UTC");
    const presets = document.createElement("div"), choices = [["All", null]];
    presets.className = "pt-spans";
    const firstYear = new Date(whole[0]).getUTCFullYear(), lastYear = new Date(whole[1] - 1).getUTCFullYear();
    if (lastYear > firstYear) for (let year = Math.max(firstYear, lastYear - 4); year <= lastYear; year++) choices.push([String(year), [Date.UTC(year, 0, 1), Date.UTC(year + 1, 0, 1)]]);
    const lasts = [[182.5, "6 m"], [91.25, "3 m"], [30, "1 m"], [7, "1 w"], [1, "1 d"]].filter(([days]) => days * DAY < 0.95 * (whole[1] - whole[0]));
    for (const [days, text] of lasts.slice(0, 2)) choices.push([text, [whole[1] - days * DAY, whole[1]]]);
    const buttons = choices.map(([text, span]) => {
      const made = button(text, () => setRange(span), span && text.includes(" ") ? `last ${text}` : text);
      made.span = span && [Math.max(whole[0], span[0]), Math.min(whole[1], span[1])];
      presets.append(made);
      return made;
    });
    const brush = makeBrush();
    const dates = ["from", "to"].map((name, place) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, {size: 10, inputMode: "numeric", maxLength: 10});
      label.append(name, input);
      input.addEventListener("change", () => {
        const time = /^\d{4}-\d\d-\d\d$/.test(input.value) ? milliseconds(input.value) : NaN, ends = (range || whole).slice();
        if (!Number.isNaN(time)) { ends[place] = time + (place ? DAY - 1 : 0); setRange(ends); }
        input.setAttribute("aria-invalid", String(Number.isNaN(time)));
      });
      return {label, input};
    });
    const reset = button("Reset", () => setRange(null), "Reset the dates of all charts");
    reset.className = "pt-button";
    const note = document.createElement("p");
    note.className = "pt-whole";
    box.append(presets, brush.box, ...dates.map((each) => each.label), reset, note);
    bar = {update() {
      const ends = range || whole;
      buttons.forEach((each) => each.setAttribute("aria-pressed", String(each.span ? Boolean(range) && Math.abs(each.span[0] - range[0]) < 36e5 && Math.abs(each.span[1] - range[1]) < 36e5 : !range)));
      dates.forEach((each, place) => { each.input.value = day(ends[place]); each.input.setAttribute("aria-invalid", "false"); });
      reset.disabled = !range;
      note.textContent = range ? `Charts: ${day(ends[0])} to ${day(ends[1])}, UTC. Tiles and tables cover the whole run.` : "";
      brush.update(ends);
    }};
    const first = document.getElementById(charts.find((chart) => chart.isDated).id), main = first.closest("main") || document.body;
    let place = first;
    while (place.parentNode !== main && place.parentNode !== document.body) place = place.parentNode;
    const heading = place.previousElementSibling;
    (heading && /^H[1-6]$/.test(heading.tagName) ? heading : place).before(box);
    bar.update();
    const asked = new URLSearchParams(location.hash.slice(1)), ends = [asked.get("from"), asked.get("to")];
    if (ends.every((end) => end && DATED.test(end))) setRange([milliseconds(ends[0]), milliseconds(ends[1]) + DAY - 1]);
  }
  function makeBrush() {
    const box = document.createElement("div"), chart = charts.find((each) => each.times.some((times) => times && times.length > 1));
    const line = chart.times.findIndex((times, place) => times && times.length > 1 && Array.isArray(chart.data[place].y));
    const times = line < 0 ? whole : chart.times[line], y = line < 0 ? [0, 0] : chart.data[line].y, known = y.filter(Number.isFinite);
    const least = Math.min(...known), height = Math.max(...known) - least || 1;
    const across = (time) => 1000 * (time - whole[0]) / (whole[1] - whole[0]);
    const points = times.map((time, place) => Number.isFinite(y[place]) ? `${across(time).toFixed(1)},${(36 - 32 * (y[place] - least) / height).toFixed(1)}` : "").filter(Boolean);
    box.className = "pt-brush";
    box.innerHTML = `<svg viewBox="0 0 1000 40" preserveAspectRatio="none" aria-hidden="true"><polyline points="${points.join(" ")}"/></svg><div class="pt-window"></div>`;
    const inner = box.querySelector(".pt-window");
    const timeAt = (event) => { const frame = box.getBoundingClientRect(); return whole[0] + (whole[1] - whole[0]) * Math.min(1, Math.max(0, (event.clientX - frame.left) / frame.width)); };
    function follow(begin, move) {
      begin.preventDefault();
      let last = null;
      const moved = (event) => { last = move(timeAt(event)); brush.update(last); };
      const done = () => { removeEventListener("pointermove", moved); removeEventListener("pointerup", done); if (last) setRange(last); else bar.update(); };
      addEventListener("pointermove", moved);
      addEventListener("pointerup", done);
    }
    const sorted = (one, other) => one < other ? [one, other] : [other, one];
    const handles = ["Start", "End"].map((name, place) => {
      const handle = document.createElement("div");
      handle.className = "pt-handle";
      handle.tabIndex = 0;
      handle.setAttribute("role", "slider");
      handle.setAttribute("aria-label", `${name} of the dates`);
      handle.addEventListener("pointerdown", (event) => {
        event.stopPropagation();
        const ends = range || whole;
        follow(event, (time) => sorted(ends[1 - place], time));
      });
      handle.addEventListener("keydown", (event) => {
        const step = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key];
        if (!step) return;
        event.preventDefault();
        const ends = (range || whole).slice();
        ends[place] += step * (event.shiftKey ? 30 : 1) * DAY;
        if (ends[1] - ends[0] >= DAY / 24) setRange(ends);
      });
      box.append(handle);
      return handle;
    });
    box.addEventListener("pointerdown", (event) => {
      const start = timeAt(event), ends = range || whole;
      if (range && event.target === inner) follow(event, (time) => { const by = Math.min(whole[1] - ends[1], Math.max(whole[0] - ends[0], time - start)); return [ends[0] + by, ends[1] + by]; });
      else follow(event, (time) => sorted(start, time));
    });
    const brush = {box, update(ends) {
      const [left, right] = ends.map((end) => across(end) / 10);
      inner.style.left = `${left}%`;
      inner.style.width = `${right - left}%`;
      handles.forEach((handle, place) => {
        handle.style.left = `${place ? right : left}%`;
        handle.setAttribute("aria-valuemin", "0");
        handle.setAttribute("aria-valuemax", "100");
        handle.setAttribute("aria-valuenow", (place ? right : left).toFixed(1));
        handle.setAttribute("aria-valuetext", day(ends[place]));
      });
    }};
    return brush;
  }

  window.peakTrade = {
    draw, finer, redraw,
    onTheme(asked) { isDark = asked; },
    print(isPrinting) {
      printing = isPrinting;
      redraw();
      if (!isPrinting) for (const chart of charts) Plotly.Plots.resize(chart.id);
    },
  };
  document.addEventListener("DOMContentLoaded", makeBar);
})();
