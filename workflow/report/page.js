"use strict";
// What can be done beyond reading: sort, filter and export tables, turn structures, switch the
// theme. Without scripts, or without the libraries, all content is still there.
(() => { // names of its own: the libraries share the page

// --- tables (DataTables) ---
function makeTable(table) {
  if (table.dataset.made) return;
  table.dataset.made = "yes";
  const rows = table.tBodies[0].rows.length;
  const long = rows > 12 && !("whole" in table.dataset);
  new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: long,
    pageLength: 12,
    lengthMenu: [12, 50, 200, { label: "all", value: -1 }],
    columnControl: rows > 5 ? ["searchDropdown"] : [],
    layout: {
      topStart: {
        buttons: [{
          extend: "csvHtml5",
          text: "Save as CSV",
          filename: table.id,
          title: null,
          // Plain values under the columns' own names, as in the files.
          exportOptions: {
            orthogonal: "sort",
            format: { header: (text, column, node) => node.closest("th").dataset.name },
          },
        }],
      },
      topEnd: rows > 5 ? { search: { text: "Filter:" } } : null,
      bottomStart: long ? ["info", "pageLength"] : null,
      bottomEnd: long ? "paging" : null,
    },
  });
}
if (window.DataTable) {
  for (const box of document.querySelectorAll("details.data")) {
    const table = box.querySelector("table");
    if (box.open) makeTable(table);
    else box.addEventListener("toggle", () => makeTable(table), { once: true });
  }
}

// --- structures (3Dmol.js): one view for all, as browsers allow few of them at a time ---
const dialog = document.getElementById("viewer");
let viewer = null;
let shown = null;
let byLayer = false;

function colour() {
  const paint = (atom) =>
    byLayer ? shown.layerColours[shown.layers[atom.index] % shown.layerColours.length] : shown.colours[atom.elem];
  viewer.setStyle({}, { stick: { radius: 0.13, colorfunc: paint }, sphere: { scale: 0.3, colorfunc: paint } });
  viewer.render();
}

function look(from) {
  viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
  if (from === "side") viewer.rotate(-80, "x");
  viewer.zoomTo();
  viewer.zoom(1.5);
  viewer.render();
}

function show(button) {
  shown = JSON.parse(document.getElementById(button.dataset.scene).textContent);
  const title = button.closest("article").querySelector("h3").textContent;
  document.getElementById("viewer-title").textContent = title;
  dialog.showModal();
  const place = document.getElementById("scene");
  place.setAttribute("aria-label", `Structure of ${title}, can be turned`);
  viewer ??= $3Dmol.createViewer(place, { antialias: true });
  viewer.setBackgroundColor(getComputedStyle(document.body).getPropertyValue("--paper").trim());
  viewer.removeAllModels();
  viewer.removeAllShapes();
  const bonds = shown.symbols.map(() => []);
  for (const [first, second] of shown.bonds) {
    bonds[first].push(second);
    bonds[second].push(first);
  }
  viewer.addModel().addAtoms(shown.symbols.map((elem, index) => {
    const [x, y, z] = shown.positions[index];
    return { elem, x, y, z, index, serial: index, bonds: bonds[index], bondOrder: bonds[index].map(() => 1) };
  }));
  const corner = shown.cell.map(([x, y, z]) => ({ x, y, z }));
  const ink = getComputedStyle(document.body).getPropertyValue("--muted").trim();
  for (let i = 0; i < 4; i += 1) {
    for (const [start, end] of [[i, (i + 1) % 4], [4 + i, 4 + ((i + 1) % 4)], [i, 4 + i]]) {
      viewer.addCylinder({ start: corner[start], end: corner[end], radius: 0.04, color: ink });
    }
  }
  viewer.resize();
  colour();
  look("side");
}

if (window.$3Dmol) {
  for (const button of document.querySelectorAll("button.turn")) {
    button.hidden = false;
    button.addEventListener("click", () => show(button));
  }
  for (const button of dialog.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => {
      if (button.dataset.view === "colours") {
        byLayer = !byLayer;
        colour();
      } else look(button.dataset.view);
    });
  }
  const turns = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] };
  document.getElementById("scene").addEventListener("keydown", (event) => {
    if (turns[event.key]) viewer.rotate(...turns[event.key]);
    else if (event.key === "+") viewer.zoom(1.15);
    else if (event.key === "-") viewer.zoom(1 / 1.15);
    else return;
    event.preventDefault();
    viewer.render();
  });
}

// --- theme ---
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
const apply = () => root.classList.toggle("dark", isDark()); // the tables' own style asks for it
systemDark.addEventListener("change", apply);
apply();
const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  apply();
});
})();
