"use strict";

/* Unpacks the data of the page, starts the player and draws the charts. */
async function openPage() {
  for (const table of document.querySelectorAll("table[data-sortable]")) makeSortable(table);
  if (!("DecompressionStream" in window)) {
    document.getElementById("too-old").hidden = false;
    return;
  }
  if (document.getElementById("player-data")) {
    openPlayer(document.getElementById("player"), JSON.parse(await unpack("player-data")));
  }
  if (!document.getElementById("plotly-data")) return;
  const figures = await unpack("figures-data");
  const script = document.createElement("script");
  script.textContent = await unpack("plotly-data");
  document.head.append(script);
  let changed = false;
  const redraw = () => {
    changed = true;
    drawCharts(figures, true);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  matchMedia("print").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return; // On phones the address bar changes the height while scrolling.
    width = innerWidth;
    redraw();
  });
  do { // Again, if colours or width have changed meanwhile.
    changed = false;
    await drawCharts(figures);
  } while (changed);
}

/* Returns the text of an element, which is gzip in base64. */
async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i); // 30 times as fast as Uint8Array.from.
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/* Draws all charts in the current colours of the style sheet. Unless `atOnce`, the page stays responsive in between. */
async function drawCharts(text, atOnce = false) {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name).trim();
  const figures = JSON.parse(text.replace(/var\((--[a-z]+)\)/g, (_, name) => color(name)));
  const axis = { gridcolor: color("--line"), linecolor: color("--muted"), zerolinecolor: color("--line"), automargin: true };
  const theme = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", colorway: ["--executed", "--imagined", "--goal", "--before"].map(color),
    font: { color: color("--ink"), family: "system-ui, sans-serif", size: 13 }, xaxis: axis, yaxis: axis,
    hoverlabel: { bgcolor: color("--panel"), font: { color: color("--ink") } }, dragmode: false,
  };
  for (const element of document.querySelectorAll(".chart")) {
    const { data, layout } = figures[element.dataset.figure];
    const themed = { ...layout, template: { layout: theme }, width: element.clientWidth };
    Plotly.react(element, data, themed, { displayModeBar: false });
    if (!atOnce) await new Promise((drawn) => setTimeout(drawn));
  }
}

/* A click on a column heading sorts by the column, numbers by value; a second click reverses the order. */
function makeSortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const descending = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const value = (row) => row.cells[column].textContent.trim();
      const compare = (a, b) => {
        const [x, y] = [a, b].map((text) => parseFloat(text.replaceAll(",", "")));
        return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
      };
      body.append(...[...body.rows].sort((a, b) => (descending ? -1 : 1) * compare(value(a), value(b))));
    };
  });
}
