// The explorer of runs: state, filters, address and table. runs.js has the columns; explorer_charts.js draws the charts.
(function () {
  "use strict";
  const data = window.peakTradeRuns, box = document.getElementById("pt-explorer");
  const byId = (id) => document.getElementById(id);
  const ROW = 35, SPARE = 10, MANY = 100; // height of a row in px; rows above and below the window; choices of a filter
  const order = new Intl.Collator("en", {numeric: true});

  function read(column) {
    const values = Array.isArray(column.values) ? column.values : new Array(data.n).fill(column.values);
    if (column.kind === "text") return {...column, values};
    return {...column, values: Float64Array.from(values, (value) => value ?? NaN)};
  }
  const columns = data.columns.map(read);
  columns.splice(1, 0, {name: "growth", label: "equity", group: "run", kind: "growth", values: Float64Array.from(data.growth, (line) => Number(line.slice(line.lastIndexOf(" ") + 1) || NaN))});
  const column = Object.fromEntries(columns.map((each) => [each.name, each]));
  const numeric = columns.filter((each) => each.kind === "number");
  const growthOf = (row) => data.growth[row].split(" ").map(Number);
  const textOf = (name, row) => column[name].texts[column[name].values[row]];
  const keyOf = (row) => textOf("page", row) || textOf("run_id", row);
  const isConstant = (each) => new Set([...each.values].filter((value) => !Number.isNaN(value))).size < 2;

  // Text of values.
  const plain = (value, digits) => value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits ?? 6, signDisplay: "negative"}).replace("-", "\u2212");
  function numberText(each, value, sign = "") {
    if (Number.isNaN(value)) return "–";
    const text = each.is_percent ? `${plain(100 * value, each.digits)}%` : plain(value, each.digits);
    return value > 0 && sign ? sign + text : text;
  }
  const timeText = (seconds) => (Number.isNaN(seconds) ? "–" : new Date(1000 * seconds).toISOString().slice(0, 16).replace("T", " "));
  function cellText(each, row) {
    if (each.kind === "text") return each.texts[each.values[row]] || "–";
    return each.kind === "time" ? timeText(each.values[row]) : numberText(each, each.values[row]);
  }

  // State: what the address holds.
  const shown = data.shown.filter((name) => column[name] && (!isConstant(column[name]) || cellText(column[name], 0) !== "–"));
  const START = {all: false, texts: {}, ranges: {}, from: "", to: "", sort: "-recorded_at", columns: shown, runs: [], baseline: -1, x: "max_drawdown", y: "sharpe"};
  const state = {};
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    Object.assign(state, structuredClone(START));
    for (const name of ["x", "y"]) if (!column[state[name]]) state[name] = numeric[0]?.name ?? "";
    const rowOf = (key) => { for (let row = 0; row < data.n; row++) if (keyOf(row) === key || textOf("run_id", row) === key) return row; return -1; };
    for (const [name, value] of given) {
      if (name === "all") state.all = value === "1";
      else if (name === "from" || name === "to") state[name] = value;
      else if (name === "sort" && column[value.replace(/^-/, "")]) state.sort = value;
      else if (name === "columns") state.columns = value.split(",").filter((each) => column[each]);
      else if (name === "run") { const row = rowOf(value); if (row >= 0 && !state.runs.includes(row)) state.runs.push(row); }
      else if (name === "baseline") state.baseline = rowOf(value);
      else if ((name === "x" || name === "y") && column[value]?.kind === "number") state[name] = value;
      else if (column[name]?.kind === "text") state.texts[name] = value;
      else if (column[name]?.kind === "number") {
        const [low, high] = value.split("..").map((end) => (end === "" || end === undefined ? NaN : Number(end)));
        state.ranges[name] = {low, high: high ?? NaN};
      }
    }
    if (!state.runs.includes(state.baseline)) state.baseline = state.runs[0] ?? -1;
    if (state.runs.some((row) => row >= data.recent)) state.all = true;
  }
  function writeAddress() {
    const kept = new URLSearchParams(), end = (value) => (Number.isNaN(value) ? "" : String(Number(value.toPrecision(6))));
    if (state.all) kept.set("all", "1");
    for (const [name, value] of Object.entries(state.texts)) kept.set(name, value);
    for (const [name, range] of Object.entries(state.ranges)) kept.set(name, `${end(range.low)}..${end(range.high)}`);
    for (const name of ["from", "to"]) if (state[name]) kept.set(name, state[name]);
    for (const name of ["sort", "x", "y"]) if (state[name] !== START[name]) kept.set(name, state[name]);
    if (state.columns.join() !== START.columns.join()) kept.set("columns", state.columns.join());
    for (const row of state.runs) kept.append("run", keyOf(row));
    if (state.runs.length && state.baseline !== state.runs[0]) kept.set("baseline", keyOf(state.baseline));
    const text = kept.toString();
    if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }

  // Filters.
  const hasChoice = (each) => each.texts.length <= MANY;
  function textTest(each, wanted) {
    const found = hasChoice(each) ? (text) => text === wanted : (text) => text.toLowerCase().includes(wanted.toLowerCase());
    const codes = each.texts.map(found);
    return (row) => codes[each.values[row]];
  }
  function rangeTest({values}, low, high) {
    const from = Number.isNaN(low) ? -Infinity : low, to = Number.isNaN(high) ? Infinity : high;
    return (row) => values[row] >= from && values[row] <= to;
  }
  const nScope = () => (state.all ? data.n : Math.min(data.n, data.recent));
  const day = (text) => Date.parse(`${text}T00:00:00Z`) / 1000;
  function matching() {
    const tests = Object.entries(state.texts).map(([name, wanted]) => textTest(column[name], wanted));
    for (const [name, {low, high}] of Object.entries(state.ranges)) tests.push(rangeTest(column[name], low, high));
    if (state.from || state.to) tests.push(rangeTest(column.recorded_at, day(state.from), day(state.to) + 86399));
    const rows = [];
    for (let row = 0, n = nScope(); row < n; row++) if (tests.every((test) => test(row))) rows.push(row);
    return rows;
  }
  function sorted(rows) {
    const name = state.sort.replace(/^-/, ""), sign = state.sort === name ? 1 : -1, each = column[name];
    let key = each.values;
    if (each.kind === "text") {
      const places = each.texts.map((_, place) => place).sort((one, other) => order.compare(each.texts[one], each.texts[other]));
      const ranks = [];
      places.forEach((place, rank) => { ranks[place] = each.texts[place] === "" ? NaN : rank; });
      key = each.values.map((place) => ranks[place]);
    }
    const missing = (row) => Number.isNaN(key[row]);
    return rows.sort((one, other) => missing(one) - missing(other) || (missing(one) ? 0 : sign * (key[one] - key[other])) || one - other);
  }

  // Elements.
  function add(parent, tag, text = "", attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  }
  function addOptions(select, options) {
    for (const [value, text] of options) add(select, "option", text, {value});
  }
  function sparkline(line, label) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
    const logs = line.map((value) => Math.log(Math.max(value, 1e-9))), least = Math.min(...logs), span = Math.max(...logs) - least || 1;
    path.setAttribute("d", `M${logs.map((value, place) => `${(70 * place / (logs.length - 1) + 1).toFixed(1)} ${(21 - 18 * (value - least) / span).toFixed(1)}`).join("L")}`);
    for (const [name, value] of Object.entries({class: "pt-spark", width: 72, height: 24, role: "img", "aria-label": label})) svg.setAttribute(name, value);
    svg.append(path);
    return svg;
  }

  function makeFilters() {
    for (const place of box.querySelectorAll("[data-filter]")) {
      const each = column[place.dataset.filter], choices = each.texts.filter((text) => text).sort(order.compare);
      const field = add(place, hasChoice(each) ? "select" : "input", "", {"data-text": each.name, "aria-label": each.label});
      if (hasChoice(each)) addOptions(field, [["", "all"], ...choices.map((text) => [text, text])]);
      else field.placeholder = "contains";
      place.parentElement.hidden = choices.length === 0;
    }
    addOptions(byId("pt-range"), numeric.filter((each) => !isConstant(each)).map((each) => [each.name, each.label]));
    for (const id of ["pt-x", "pt-y"]) addOptions(byId(id), numeric.map((each) => [each.name, each.label]));
    const list = byId("pt-columns").querySelector("div");
    for (const [group, title] of [["run", "Run"], ["measure", "Measures"], ["setting", "Settings"]]) {
      const members = columns.filter((each) => each.group === group && each.name !== "page" && each.name !== "recorded_at");
      if (!members.length) continue;
      const set = add(list, "fieldset");
      add(set, "legend", title);
      for (const each of members) {
        const label = add(set, "label");
        add(label, "input", "", {type: "checkbox", "data-column": each.name});
        label.append(` ${each.label}`);
      }
    }
  }
  function showFilters() {
    for (const field of box.querySelectorAll("[data-text]")) {
      const wanted = state.texts[field.dataset.text] ?? "";
      if (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === wanted)) addOptions(field, [[wanted, wanted]]);
      field.value = wanted;
    }
    for (const field of box.querySelectorAll("[data-date]")) field.value = state[field.dataset.date];
    for (const field of box.querySelectorAll("[data-column]")) field.checked = state.columns.includes(field.dataset.column);
    byId("pt-x").value = state.x;
    byId("pt-y").value = state.y;
    const group = byId("pt-ranges");
    const names = Object.keys(state.ranges);
    if ([...group.children].map((each) => each.dataset.name).join() !== names.join()) {
      group.textContent = "";
      for (const name of names) {
        const set = add(group, "fieldset", "", {"data-name": name}), each = column[name], unit = each.is_percent ? ", %" : "";
        add(set, "legend", each.label + unit);
        for (const [end, word] of [["low", "at least"], ["high", "at most"]]) {
          const label = add(set, "label", `${word} `);
          add(label, "input", "", {type: "number", step: "any", "data-range": name, "data-end": end, "aria-label": `${each.label}${unit} ${word}`});
        }
      }
    }
    for (const field of group.querySelectorAll("input")) {
      const value = state.ranges[field.dataset.range][field.dataset.end], factor = column[field.dataset.range].is_percent ? 100 : 1;
      if (field !== document.activeElement) field.value = Number.isNaN(value) ? "" : Number((factor * value).toPrecision(5));
    }
  }
  function showChips() {
    const chips = byId("pt-chips");
    chips.textContent = "";
    const chip = (text, drop) => add(chips, "button", `${text} ✕`, {type: "button", class: "pt-button", "aria-label": `Remove the filter ${text}`}).addEventListener("click", () => { drop(); update(); });
    for (const [name, value] of Object.entries(state.texts)) chip(`${column[name].label}: ${value}`, () => delete state.texts[name]);
    for (const [name, {low, high}] of Object.entries(state.ranges)) {
      const [from, to] = [low, high].map((end) => numberText(column[name], end));
      const text = Number.isNaN(low) ? (Number.isNaN(high) ? "any" : `≤ ${to}`) : Number.isNaN(high) ? `≥ ${from}` : `${from} to ${to}`;
      chip(`${column[name].label} ${text}`, () => delete state.ranges[name]);
    }
    if (state.from || state.to) chip(`${state.from || "…"} to ${state.to || "…"}`, () => { state.from = state.to = ""; });
  }
  function showCount() {
    const count = (n) => n.toLocaleString("en"), nOfAll = count(data.total), recent = Math.min(data.n, data.recent);
    const scope = state.all ? (data.n < data.total ? `the newest ${count(data.n)} of ${nOfAll}` : `all ${nOfAll}`) : recent < data.total ? `the newest ${count(recent)} of ${nOfAll}` : nOfAll;
    byId("pt-count").textContent = `${count(view.rows.length)} of ${scope} run${data.total === 1 ? "" : "s"} ${view.rows.length === 1 ? "matches" : "match"}.`;
    const button = byId("pt-scope");
    button.hidden = data.n <= data.recent;
    button.setAttribute("aria-pressed", String(state.all));
    button.textContent = state.all ? `Only the newest ${count(recent)}` : `Search ${data.n < data.total ? `the newest ${count(data.n)}` : `all ${count(data.n)}`}`;
  }

  // The table: only the rows in the window are elements, in print all of them.
  const view = {rows: [], first: -1, last: -1, isPrint: false};
  const scroller = byId("pt-box"), table = byId("pt-runs"), body = table.tBodies[0];
  const shownColumns = () => state.columns.map((name) => column[name]);
  function showHead() {
    const head = table.tHead.rows[0], held = document.activeElement?.closest?.("th")?.dataset.name;
    head.textContent = "";
    add(add(head, "th", "", {scope: "col"}), "span", "compare", {class: "pt-hidden"});
    for (const each of shownColumns()) {
      const name = state.sort.replace(/^-/, "");
      const cell = add(head, "th", "", {scope: "col", "data-name": each.name, class: each.kind === "number" ? "pt-float" : ""});
      if (each.name === name) cell.setAttribute("aria-sort", state.sort === name ? "ascending" : "descending");
      const button = add(cell, "button", each.label, {type: "button"});
      button.addEventListener("click", () => {
        const isDown = state.sort === `-${each.name}`, isUp = state.sort === each.name;
        state.sort = isDown || (!isUp && each.kind === "text") ? each.name : `-${each.name}`;
        update();
      });
      if (each.name === held) button.focus();
    }
    table.setAttribute("aria-rowcount", view.rows.length + 1);
  }
  function showRows() {
    const n = view.rows.length, height = scroller.clientHeight || 600;
    const first = view.isPrint ? 0 : Math.max(0, Math.floor(scroller.scrollTop / ROW) - SPARE);
    const last = view.isPrint ? n : Math.min(n, Math.ceil((scroller.scrollTop + height) / ROW) + SPARE);
    if (first === view.first && last === view.last) return;
    Object.assign(view, {first, last});
    const held = document.activeElement?.dataset?.row, made = document.createDocumentFragment();
    const gap = (nRows) => { if (nRows > 0) add(add(made, "tr", "", {"aria-hidden": "true", class: "pt-gap"}), "td", "", {colspan: state.columns.length + 1}).style.height = `${nRows * ROW}px`; };
    gap(first);
    for (let place = first; place < last; place++) made.append(rowElement(view.rows[place], place));
    gap(n - last);
    body.replaceChildren(made);
    if (held) body.querySelector(`[data-row="${held}"]`)?.focus({preventScroll: true});
  }
  function rowElement(row, place) {
    const made = document.createElement("tr"), mark = state.runs.indexOf(row), name = `${textOf("strategy", row)} ${textOf("symbol", row)}, ${timeText(column.recorded_at.values[row])}`;
    made.setAttribute("aria-rowindex", place + 2);
    if (mark >= 0) made.className = "pt-chosen";
    const tick = add(add(made, "td"), "input", "", {type: "checkbox", "data-row": row, "aria-label": `Compare ${name}`});
    tick.checked = mark >= 0;
    if (mark >= 0) add(tick.parentElement, "b", explorer.letter(mark));
    for (const each of shownColumns()) {
      const cell = add(made, "td", "", {class: each.kind === "number" ? "pt-float" : "pt-text"});
      if (each.kind === "growth") {
        if (data.growth[row]) cell.append(sparkline(growthOf(row), `equity grows to ×${plain(each.values[row], 2)}`));
        else cell.textContent = "–";
        continue;
      }
      const text = cellText(each, row), page = each.name === "recorded_at" && textOf("page", row);
      const shown = page ? add(cell, "a", text, {href: page}) : add(cell, "span", text);
      if (each.kind === "text") { shown.dir = "auto"; shown.title = text; }
      if (each.name === "recorded_at" && textOf("status", row) !== "done") add(cell, "span", ` ${textOf("status", row)}`, {class: "pt-status-failed"});
      const error = each.errors?.[row];
      if (error !== undefined && error !== null && !Number.isNaN(each.values[row])) add(cell, "small", ` ±\u00a0${numberText(each, error)}`);
    }
    return made;
  }

  let frame = 0;
  function update() {
    writeAddress();
    view.rows = sorted(matching());
    view.first = -1;
    showCount(); showFilters(); showChips(); showHead(); showRows();
    explorer.showCompare();
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => explorer.drawCharts());
  }
  function setRange(name, low, high) {
    if (Number.isNaN(low) && Number.isNaN(high)) delete state.ranges[name];
    else state.ranges[name] = {low, high};
  }
  function choose(row, isChosen) {
    state.runs = isChosen ? [...state.runs, row] : state.runs.filter((each) => each !== row);
    if (!state.runs.includes(state.baseline)) state.baseline = state.runs[0] ?? -1;
    update();
  }
  function csv() {
    // A text that a spreadsheet would take for a formula gets an apostrophe.
    const quoted = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    const chosen = [column.run_id, ...shownColumns().filter((each) => each !== column.run_id && each.kind !== "growth")];
    const value = (each, row) => {
      if (each.kind === "text") return quoted(each.texts[each.values[row]]);
      if (Number.isNaN(each.values[row])) return "";
      return each.kind === "time" ? new Date(1000 * each.values[row]).toISOString() : String(each.values[row]);
    };
    return [chosen.map((each) => quoted(each.name)).join(), ...view.rows.map((row) => chosen.map((each) => value(each, row)).join())].join("\r\n") + "\r\n";
  }

  const explorer = {column, columns, numeric, state, view, byId, add, textOf, growthOf, numberText, cellText, isConstant, nScope, setRange, update, choose};
  window.peakTrade.explorer = explorer;
  document.addEventListener("DOMContentLoaded", () => {
    box.hidden = false;
    readAddress(); makeFilters(); update();
    byId("pt-filters").addEventListener("submit", (event) => event.preventDefault());
    box.addEventListener("input", ({target}) => {
      const {text, date, range, end, column: name, row} = target.dataset;
      if (text) { if (target.value) state.texts[text] = target.value; else delete state.texts[text]; }
      else if (date) state[date] = target.value;
      else if (range) state.ranges[range][end] = target.value === "" ? NaN : Number(target.value) / (column[range].is_percent ? 100 : 1);
      else if (target.id === "pt-range") { if (target.value) state.ranges[target.value] ??= {low: NaN, high: NaN}; target.value = ""; }
      else if (target.id === "pt-x" || target.id === "pt-y") state[target.id.slice(3)] = target.value;
      else if (name) state.columns = columns.map((each) => each.name).filter((each) => (each === name ? target.checked : state.columns.includes(each)));
      else if (row) return choose(Number(row), target.checked);
      else return;
      scroller.scrollTop = 0;
      update();
    });
    byId("pt-filters").addEventListener("reset", (event) => { event.preventDefault(); Object.assign(state, {texts: {}, ranges: {}, from: "", to: ""}); update(); });
    byId("pt-scope").addEventListener("click", () => { state.all = !state.all; update(); });
    byId("pt-csv").addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csv()], {type: "text/csv"}));
      link.download = "experiments.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    byId("pt-link").addEventListener("click", ({target}) => navigator.clipboard.writeText(location.href).then(() => { target.textContent = "Copied"; }, () => { target.textContent = "The address of the page is the link"; }));
    scroller.addEventListener("scroll", showRows, {passive: true});
    window.addEventListener("resize", () => { view.first = -1; showRows(); explorer.drawCharts(); });
    window.addEventListener("hashchange", () => { readAddress(); update(); });
    window.addEventListener("beforeprint", () => { view.isPrint = true; showRows(); });
    window.addEventListener("afterprint", () => { view.isPrint = false; showRows(); });
    new MutationObserver(() => explorer.drawCharts()).observe(document.documentElement, {attributeFilter: ["data-theme"]});
  });
})();
