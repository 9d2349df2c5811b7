"use strict";
// The gallery: examples are elements only while they are shown, so that there may be thousands.
const store = document.getElementById("examples");
if (store) gallery(JSON.parse(store.textContent));

function gallery({ columns, examples, pixelated }) {
  const PER_PAGE = 12;
  const FILTERS = ["label", "target", "status"];
  const { elements } = document.getElementById("controls");
  const cards = document.getElementById("cards");
  const large = document.getElementById("large");
  let chosen = [];
  let first = 0;
  let enlarged = 0;

  for (const name of FILTERS) {
    const values = [...new Set(examples.map((example) => example[name]))];
    values.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    elements[name].append(...values.map((value) => new Option(value, value)));
    elements[name].closest("label").hidden = values.length < 2;
  }

  function element(name, className, ...children) {
    const made = document.createElement(name);
    made.className = className;
    made.append(...children);
    return made;
  }

  function number(value) {
    return Number(value.toPrecision(3)).toString();
  }

  function words(example) {
    const parts = [`#${example.index}: ${example.label} → ${example.target}`, example.status];
    if (example.distortion !== null) parts.push(`distortion ${number(example.distortion)}`);
    if (example.certified !== null) parts.push(`certified ${number(example.certified)}`);
    if (example.file) parts.push(example.file);
    return parts.join(", ");
  }

  function images(example) {
    const names = columns.slice(-example.images.length); // one, where the original is not there
    const shown = example.images.map((png, index) => {
      const name = names[index];
      const title = name === "difference" ? `${name} × ${number(example.factor)}` : name;
      const image = element("img", "");
      image.src = `data:image/png;base64,${png}`;
      image.alt = `${title} of image ${example.index}`;
      image.decoding = "sync"; // no blank frame between two pages
      const header = Array.from(atob(png.slice(0, 32)), (byte) => byte.charCodeAt(0));
      image.width = 256 * header[18] + header[19]; // so that there is room before it is loaded
      image.height = 256 * header[22] + header[23];
      return element("span", "", title, image);
    });
    return element("span", pixelated ? "images small" : "images", ...shown);
  }

  function card(example, position) {
    const button = element("button", "", images(example), element("span", "words", words(example)));
    button.type = "button";
    button.onclick = () => enlarge(position);
    return element("li", "", button);
  }

  function enlarge(position, focused = "close") {
    enlarged = Math.min(Math.max(position, 0), chosen.length - 1);
    const ways = { "← back": -1, "next →": 1, close: 0 };
    const buttons = Object.entries(ways).map(([name, step]) => {
      const button = element("button", "", name);
      button.type = "button";
      button.disabled = step !== 0 && !chosen[enlarged + step];
      button.onclick = () => (step ? enlarge(enlarged + step, name) : large.close());
      return button;
    });
    const example = chosen[enlarged];
    const bar = element("span", "pager", ...buttons);
    large.replaceChildren(images(example), element("span", "words", words(example)), bar);
    if (!large.open) large.showModal();
    const pressed = buttons.find((button) => button.textContent === focused && !button.disabled);
    (pressed ?? buttons[2]).focus({ preventScroll: true });
  }

  function draw() {
    const end = Math.min(first + PER_PAGE, chosen.length);
    const shown = chosen.slice(first, end);
    cards.replaceChildren(...shown.map((example, index) => card(example, first + index)));
    elements.shown.value = chosen.length ? `${first + 1}–${end} of ${chosen.length}` : "none";
    elements.back.disabled = first === 0;
    elements.on.disabled = end === chosen.length;
  }

  function turn(pages) {
    const target = first + pages * PER_PAGE;
    if (target < 0 || target >= chosen.length) return;
    first = target;
    draw();
  }

  function choose() {
    const wanted = FILTERS.filter((name) => elements[name].value);
    chosen = examples.filter((each) => wanted.every((name) => each[name] === elements[name].value));
    const sign = { index: 0, up: 1, down: -1 }[elements.order.value];
    const size = (each) => (each.distortion === null ? Infinity : each.distortion);
    if (sign) chosen.sort((a, b) => sign * (size(a) - size(b)) || a.index - b.index);
    first = 0;
    draw();
  }

  elements.back.onclick = () => turn(-1);
  elements.on.onclick = () => turn(1);
  for (const name of [...FILTERS, "order"]) elements[name].onchange = choose;
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("select, .wide")) return; // which scroll or choose by arrows
    event.preventDefault();
    if (large.open) enlarge(enlarged + step);
    else turn(step);
  });
  large.onclose = () => {
    first = enlarged - (enlarged % PER_PAGE);
    draw();
    cards.children[enlarged % PER_PAGE].firstElementChild.focus();
  };
  choose();
}
