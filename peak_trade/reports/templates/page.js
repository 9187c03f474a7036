// Behaviour of every page: the theme, the search, sorted tables, copied text, the switch of the code.
(function () {
  "use strict";
  const root = document.documentElement, THEMES = ["auto", "light", "dark"];
  const system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try { const kept = localStorage.getItem("peak_trade-theme"); return THEMES.includes(kept) ? kept : "auto"; } catch { return "auto"; }
  }
  function isDark() { return chosen() === "dark" || (chosen() === "auto" && system.matches); }
  function applyTheme() {
    root.dataset.theme = isDark() ? "dark" : "light";
    peakTrade.redraw();
    const button = document.querySelector(".pt-theme");
    if (button) button.textContent = "Theme: " + chosen();
  }
  function amount(text) {
    const plain = text.replace(/\u2212/g, "-").replace(/[,\u00a0 ]/g, "").match(/^[-+]?\d*\.?\d+(?:e[-+]?\d+)?/i);
    return plain ? Number(plain[0]) : null;
  }
  function sortBy(table, column, direction) {
    const body = table.tBodies[0], rows = Array.from(body.rows);
    const key = (row) => row.cells[column].textContent.trim();
    const numeric = table.tHead.rows[0].cells[column].matches(".pt-float, .pt-int");
    const compare = (one, other) => numeric ? (amount(one) ?? -Infinity) - (amount(other) ?? -Infinity) : one.localeCompare(other);
    rows.sort((one, other) => direction * compare(key(one), key(other)));
    body.append(...rows);
  }
  function makeSortable(table) {
    for (const [column, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        sortBy(table, column, direction);
      });
    }
  }

  // Chromium breaks a line after the hyphens of a date; a search and a copy keep the hyphens.
  function keepDatesWhole(main) {
    const texts = document.createTreeWalker(main, NodeFilter.SHOW_TEXT, (node) =>
      node.parentElement.closest("pre, script, style, svg, .pt-table, .pt-figure") ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const found = [];
    while (texts.nextNode()) if (/\d{4}-\d\d/.test(texts.currentNode.data)) found.push(texts.currentNode);
    for (const text of found) {
      const parts = text.data.split(/(\b\d{4}-\d\d(?:-\d\d)?\b)/);
      if (parts.length < 3) continue;
      text.replaceWith(...parts.map((part, place) => {
        if (place % 2 === 0) return part;
        const date = document.createElement("time"); // Quarto colours each span in code
        date.className = "pt-date";
        date.textContent = part;
        return date;
      }));
    }
  }

  function reachByKeyboard() {
    for (const block of document.querySelectorAll("pre, table, p:has(> math)")) if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }

  // The search: its texts are loaded when it is opened first, as a script, which a page from a file may load too.
  const library = new URL(".", document.currentScript.src);
  function add(parent, tag, attributes = {}, text = "") {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.textContent = text;
    parent.append(made);
    return made;
  }
  function found(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length || !window.peakTradeSearch) return [];
    const score = ([title, , heading, body]) => {
      let sum = 0;
      for (const word of words) {
        const points = 9 * title.toLowerCase().includes(word) + 4 * heading.toLowerCase().includes(word) + body.toLowerCase().includes(word);
        if (!points) return 0;
        sum += points;
      }
      return sum;
    };
    return window.peakTradeSearch.map((entry) => ({entry, points: score(entry)})).filter(({points}) => points).sort((one, other) => other.points - one.points);
  }
  function makeSearch(corner) {
    const open = add(corner, "button", {type: "button", class: "pt-button", title: "Search (key /)"}, "Search");
    const dialog = add(document.body, "dialog", {class: "pt-search", "aria-label": "Search"});
    const label = add(dialog, "label", {}, "Search pages "), field = add(label, "input", {type: "search"});
    add(dialog, "button", {type: "button", class: "pt-button"}, "Close").addEventListener("click", () => dialog.close());
    const count = add(dialog, "output"), list = add(dialog, "ol");
    const show = () => {
      const all = found(field.value), words = field.value.toLowerCase().split(/\s+/);
      count.textContent = field.value.trim() ? `${all.length} result${all.length === 1 ? "" : "s"}${all.length > 30 ? ", the first 30" : ""}` : "";
      list.textContent = "";
      for (const {entry: [title, href, heading, text]} of all.slice(0, 30)) {
        const item = add(list, "li"), place = Math.max(0, text.toLowerCase().indexOf(words[0]) - 60);
        const link = add(item, "a", {href: new URL(`../../${href}`, library)}, heading ? `${title}: ${heading}` : title);
        if (heading) link.href += `#:~:text=${encodeURIComponent(heading)}`;
        add(item, "small", {}, `${place ? "…" : ""}${text.slice(place, place + 160)}`);
      }
    };
    const start = () => {
      if (!window.peakTradeSearch && !document.querySelector("script[data-search]")) add(document.head, "script", {src: new URL("search.js", library), "data-search": ""}).addEventListener("load", show);
      dialog.showModal();
      field.focus();
    };
    field.addEventListener("input", show);
    open.addEventListener("click", start);
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && !dialog.open && !event.target.closest?.("input, select, textarea")) { event.preventDefault(); start(); }
    });
  }

  root.dataset.theme = isDark() ? "dark" : "light";
  peakTrade.onTheme(isDark);
  system.addEventListener("change", applyTheme);
  window.addEventListener("beforeprint", () => { root.dataset.theme = "light"; peakTrade.print(true); });
  window.addEventListener("afterprint", () => { root.dataset.theme = isDark() ? "dark" : "light"; peakTrade.print(false); });
  document.addEventListener("DOMContentLoaded", () => {
    const theme = document.createElement("button");
    theme.type = "button";
    theme.className = "pt-button pt-theme";
    theme.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(chosen()) + 1) % THEMES.length];
      try { localStorage.setItem("peak_trade-theme", next); } catch { /* A page that is opened from a file may have no storage. */ }
      applyTheme();
    });
    theme.textContent = "Theme: " + chosen();
    const corner = add(document.body, "div", {class: "pt-corner"});
    makeSearch(corner);
    corner.append(theme);
    const sidebar = document.querySelector(".pt-sidebar");
    if (sidebar) sidebar.open = window.matchMedia("(min-width: 1024px)").matches;
    document.querySelectorAll(".pt-table table[data-sort]").forEach(makeSortable);
    for (const image of document.querySelectorAll("figure img:not([alt])")) { // Quarto moves the text below the image.
      image.alt = image.closest("figure").querySelector("figcaption")?.textContent.trim() ?? "";
    }
    document.querySelectorAll("main, #title-block-header").forEach(keepDatesWhole);
    reachByKeyboard();
    window.addEventListener("resize", reachByKeyboard);
    for (const box of document.querySelectorAll(".pt-table")) if (!box.hasAttribute("tabindex")) box.tabIndex = 0;
    document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => {
      navigator.clipboard.writeText(button.dataset.copy).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Select the text instead"; });
    }));
    const code = document.querySelector("[data-code]");
    if (code) {
      document.body.classList.add("pt-report");
      code.addEventListener("click", () => {
        const shown = document.body.classList.toggle("pt-code");
        code.setAttribute("aria-pressed", String(shown));
        code.textContent = shown ? "Hide code" : "Show code";
      });
    }
  });
})();
