// Filters of the page of runs. They work on the rows of the table, without a server.
(function () {
  var form = document.getElementById("filters");
  var rows = Array.from(document.querySelectorAll("#runs tbody tr"));
  function update() {
    var chosen = {};
    form.querySelectorAll("[data-filter]").forEach(function (field) { chosen[field.dataset.filter] = field.value; });
    var shown = rows.filter(function (row) {
      var data = row.dataset;
      var matches = (!chosen.run_type || data.runType === chosen.run_type)
        && (!chosen.strategy || data.strategy === chosen.strategy)
        && (!chosen.symbol || data.symbol === chosen.symbol) && (!chosen.data || data.data === chosen.data) && (!chosen.status || data.status === chosen.status)
        && (!chosen.from || data.date >= chosen.from) && (!chosen.to || data.date <= chosen.to);
      row.hidden = !matches;
      return matches;
    });
    document.getElementById("n-shown").textContent = shown.length + " of " + rows.length + " runs";
  }
  form.addEventListener("input", update);
  form.addEventListener("reset", function () { setTimeout(update, 0); });
  update();
})();
