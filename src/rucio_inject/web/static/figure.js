// Figure 1: how much each RSE holds as time goes by. One hue an RSE; the catalogue solid, the storage dotted.
(() => {
  "use strict";
  const place = document.getElementById("figure");
  if (!place) return;
  const HUES = {
    light: ["#0b5394", "#c2650c", "#1c7f5c", "#8e1f63", "#5b6875", "#4b3f9e", "#1d7fb8", "#8a3b12"],
    dark: ["#6db1f2", "#f0a04b", "#4fc79a", "#e57fbd", "#a7b3bf", "#a79cf5", "#74cdf0", "#d99a76"],
  };
  const UNITS = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]];
  const KEPT = 20000; // points of an RSE in a page that stays open
  const {series, campaign, highlight} = place.dataset;
  const table = document.getElementById("counts");
  const note = document.getElementById("figure-note");
  let curves = new Map();
  let measure = "files";
  let range = "cycle";
  let chart = null;
  let drawing = false;
  let span = null;

  const isDark = () => {
    const theme = document.documentElement.dataset.theme;
    return theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");

  function size(bytes) {
    const [unit, word] = UNITS.find(([unit]) => Math.abs(bytes) >= unit) || UNITS.at(-1);
    return `${(bytes / unit).toFixed(unit === 1 ? 0 : 1)}\u00a0${word}`;
  }

  // From when to when is asked for; what has no end goes on.
  function wantedTime() {
    const {begun, since, until} = place.dataset;
    if (range === "cycle") {
      if (since) return [Number(since), Number(until)];
      return [begun ? Number(begun) - 2 : null, null];
    }
    const end = until ? Number(until) : Date.now() / 1000;
    return [end - Number(range), until ? end : null];
  }

  async function load() {
    const [since, until] = wantedTime();
    const query = new URLSearchParams();
    if (since !== null) query.set("since", since.toFixed(3));
    if (until !== null) query.set("until", until.toFixed(3));
    const answer = await fetch(`${series}?${query}`, {headers: {accept: "application/json"}});
    if (!answer.ok) {
      note.textContent = "the counts cannot be read now";
      return;
    }
    const told = await answer.json();
    span = told.span;
    curves = new Map();
    const order = told.curves.toSorted((a, b) => (b.rse === highlight) - (a.rse === highlight));
    for (const {rse, times, catalogue, storage} of order) curves.set(rse, {times, catalogue, storage});
    build();
  }

  function tables() {
    const drawn = [];
    for (const curve of curves.values()) {
      drawn.push([curve.times, curve.catalogue[measure]], [curve.times, curve.storage[measure]]);
    }
    return drawn.length ? uPlot.join(drawn, drawn.map(() => [1, 1])) : null;
  }

  function axes(unit, word) {
    const look = {stroke: css("--faint"), font: "12px Inter, sans-serif", ticks: {stroke: css("--line"), width: 1}};
    return [
      {...look, grid: {show: false}, values: times, space: 90},
      {
        ...look,
        grid: {stroke: css("--line"), width: 1},
        size: 64,
        label: measure === "files" ? "Files" : `Volume [${word}]`,
        labelFont: "12px Inter, sans-serif",
        labelSize: 18,
        incrs: measure === "files" ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] : undefined,
        values: (_, splits) => splits.map((value) => (measure === "files" ? number(value) : number(Number((value / unit).toPrecision(6))))),
      },
    ];
  }

  // Times as UTC, whatever the browser's own zone is; the day where it changes.
  function times(_, splits, __, ___, step) {
    let before = "";
    return splits.map((at) => {
      const iso = new Date(at * 1000).toISOString();
      const [day, clock] = [iso.slice(5, 10), iso.slice(11, step < 60 ? 19 : 16)];
      const shown = step >= 86400 ? day : day === before ? clock : `${clock}\n${iso.slice(0, 10)}`;
      before = day;
      return shown;
    });
  }

  function lines() {
    const hues = HUES[isDark() ? "dark" : "light"];
    const paths = uPlot.paths.stepped({align: 1});
    const all = [{}];
    [...curves.keys()].forEach((rse, place) => {
      const hue = hues[place % hues.length];
      const width = rse === highlight ? 3 : 1.75;
      all.push({label: `${rse}, catalogue`, stroke: hue, width, paths, points: {show: false}, spanGaps: false});
      all.push({label: `${rse}, storage`, stroke: hue, width: 1.75, dash: [2, 4], paths, points: {show: false}, spanGaps: false});
    });
    return all;
  }

  function build() {
    if (chart) chart.destroy();
    chart = null;
    place.replaceChildren();
    const data = tables();
    place.dataset.points = data ? data[0].length : 0;
    note.textContent = data ? "" : span ? "nothing was counted in this time" : "nothing has been counted yet";
    if (!data) {
      table.hidden = true;
      return;
    }
    const most = Math.max(1, ...data.slice(1).flat().filter((value) => value != null));
    const [unit, word] = UNITS.find(([unit]) => most >= unit) || UNITS.at(-1);
    chart = new uPlot({
      width: place.clientWidth,
      height: Math.max(220, Math.min(340, place.clientWidth * 0.42)),
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      padding: [12, 12, 0, 0],
      legend: {show: false},
      cursor: {drag: {x: true, y: false}, points: {size: 7}},
      scales: {x: {time: true}, y: {range: (_, low, high) => [0, Math.max(1, high * 1.08)]}},
      axes: axes(unit, word),
      series: lines(),
      hooks: {setCursor: [(drawn) => tabulate(drawn.cursor.idx)]},
    }, data, place);
    tabulate(null);
  }

  // The counts at the cursor, or the last ones.
  function tabulate(at) {
    const when = at == null || !chart ? null : chart.data[0][at];
    const hues = HUES[isDark() ? "dark" : "light"];
    const rows = [...curves].map(([rse, curve], order) => {
      let row = curve.times.length - 1;
      if (when !== null) while (row > 0 && curve.times[row] > when) row -= 1;
      const [known, stored] = [curve.catalogue.files[row], curve.storage.files[row]];
      const volume = curve.storage.bytes[row] ?? curve.catalogue.bytes[row];
      const line = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      swatch.setAttribute("class", "swatch");
      swatch.setAttribute("aria-hidden", "true");
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of [["width", 12], ["height", 12], ["rx", 3], ["fill", hues[order % hues.length]]]) mark.setAttribute(name, value);
      swatch.append(mark);
      head.append(swatch, rse);
      line.append(head);
      const parted = known == null || stored == null ? null : stored - known;
      for (const text of [known == null ? "–" : number(known), stored == null ? "–" : number(stored), parted === null ? "–" : parted > 0 ? `+${number(parted)}` : number(parted), volume == null ? "–" : size(volume)]) {
        const cell = document.createElement("td");
        cell.className = "right nowrap";
        cell.textContent = text;
        line.append(cell);
      }
      if (parted) line.children[3].classList.add("warn-text");
      return line;
    });
    table.tBodies[0].replaceChildren(...rows);
    table.hidden = false;
    note.textContent = when === null ? "" : `at ${new Date(when * 1000).toISOString().slice(0, 19)}Z`;
  }

  function draw() {
    drawing = false;
    const data = tables();
    if (!data) return;
    if (!chart || chart.series.length !== 1 + 2 * curves.size) {
      build();
      return;
    }
    place.dataset.points = data[0].length;
    chart.setData(data);
    if (chart.cursor.idx == null) tabulate(null);
  }

  document.addEventListener("counts", ({detail}) => {
    if (place.dataset.until) return; // a cycle of the past
    const known = (value) => (value < 0 ? null : value);
    for (const [of, rse, at, ...counts] of detail) {
      if (of !== campaign) continue;
      if (!curves.has(rse)) curves.set(rse, {times: [], catalogue: {files: [], bytes: []}, storage: {files: [], bytes: []}});
      const {times, catalogue, storage} = curves.get(rse);
      if (times.length && at <= times.at(-1)) continue;
      const columns = [catalogue.files, catalogue.bytes, storage.files, storage.bytes];
      times.push(at);
      columns.forEach((column, which) => column.push(known(counts[which])));
      if (times.length > KEPT) for (const column of [times, ...columns]) column.splice(0, KEPT / 10);
    }
    if (!drawing) {
      drawing = true;
      requestAnimationFrame(draw);
    }
  });
  document.addEventListener("caughtup", load);
  document.documentElement.addEventListener("themechange", () => chart && build());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart && build());
  new ResizeObserver(() => chart && chart.setSize({width: place.clientWidth, height: chart.height})).observe(place);

  function choose(kind, apply) {
    for (const button of document.querySelectorAll(`button[data-${kind}]`)) {
      button.addEventListener("click", () => {
        for (const other of document.querySelectorAll(`button[data-${kind}]`)) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        apply(button.dataset[kind]);
      });
    }
  }
  choose("measure", (chosen) => { measure = chosen; build(); });
  choose("range", (chosen) => { range = chosen; load(); });
  load();
})();
