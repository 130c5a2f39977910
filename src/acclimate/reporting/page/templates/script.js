"use strict";
const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const data = (within) => JSON.parse($('script[type="application/json"]', within).textContent);
const COLUMNS = {{ columns }};

for (const controls of all(".controls")) controls.hidden = false;

/* where the pointer is, in a picture's own units */
function position(svg, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
}

for (const figure of all(".chart")) {
  const { unit, last, values, box, lines } = data(figure);
  const [left, right, top, bottom] = box;
  const plot = $(".plot", figure), svg = $("svg", plot), cursor = $(".cursor", svg);
  const outputs = all(".legend output", figure), at = outputs.pop();
  const known = [...new Set(lines.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);
  const x = (step) => left + (right - left) * step / last;
  const y = (value) => bottom - (bottom - top) * (value - values[0]) / (values[1] - values[0]);
  const nearest = (points, step) => points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
  let shown = -1;

  function show(index) {
    shown = Math.max(0, Math.min(known.length - 1, index));
    const step = known[shown];
    let path = `M${x(step)} ${top}V${bottom}`;
    lines.forEach((line, number) => {
      const [there, value] = nearest(line.points, step);
      outputs[number].textContent = value.toLocaleString("en", { maximumSignificantDigits: 3 }) + unit;
      path += `M${x(there) - 3} ${y(value)}a3 3 0 1 0 6 0a3 3 0 1 0-6 0`;
    });
    at.textContent = `at step ${step.toLocaleString("en")}`;
    cursor.setAttribute("d", path);
    cursor.setAttribute("visibility", "visible");
  }
  function hide() {
    shown = -1;
    cursor.setAttribute("visibility", "hidden");
    for (const output of [...outputs, at]) output.textContent = "";
  }
  plot.addEventListener("pointermove", (event) => {
    const step = last * (position(svg, event).x - left) / (right - left);
    show(known.indexOf(nearest(known.map((one) => [one]), step)[0]));
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const stride = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: shown < 0 ? known.length - 1 : shown - stride, ArrowRight: shown + stride, Home: 0, End: known.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}

const classes = $("#classes") ? JSON.parse($("#classes").textContent) : [];
for (const figure of all(".map")) {
  const { groups, points } = data(figure);
  const plot = $(".plot", figure), svg = $("svg", plot), ring = $(".ring", svg);
  const detail = $(".detail", figure), cell = $(".cell", detail), words = $("output", detail);
  let shown = null;

  function show(point) {
    const [x, y, group, label, image, seen, sure] = shown = point;
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    ring.setAttribute("visibility", "visible");
    cell.style.setProperty("--x", image % COLUMNS);
    cell.style.setProperty("--y", Math.floor(image / COLUMNS));
    words.textContent = `${groups[group]}: ${label < 0 ? "class unknown" : "class " + classes[label]}`
      + (seen < 0 ? "" : `, seen as ${classes[seen]} (${sure} %)`);
    detail.classList.remove("empty");
  }
  const distance = (a, x, y) => (a[0] - x) ** 2 + (a[1] - y) ** 2;
  const nearest = (some, x, y) => some.reduce((a, b) => (distance(b, x, y) < distance(a, x, y) ? b : a));
  const visible = () => points.filter((point) => !highlighted || String(point[3]) === highlighted);

  plot.addEventListener("pointermove", (event) => {
    const { x, y } = position(svg, event), some = visible();
    if (!some.length) return;
    const point = nearest(some, x, y);
    if (distance(point, x, y) < 400) show(point);
  });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const some = visible();
    if (!step || !some.length) return;
    event.preventDefault();
    if (!shown || !some.includes(shown)) return show(nearest(some, 200, 200));
    const [x, y] = shown, [dx, dy] = step;
    const ahead = some.filter((point) => {
      const along = (point[0] - x) * dx + (point[1] - y) * dy, across = Math.abs((point[0] - x) * dy + (point[1] - y) * dx);
      return along > 0 && across <= along;
    });
    if (ahead.length) show(nearest(ahead, x, y));
  });
}

for (const image of all(".matrix img")) {
  const figure = image.closest(".matrix"), plot = $(".plot", figure), output = $(".detail output", figure);
  const { cases, classes: names } = data(figure), found = new Map(cases.map(([row, column, count]) => [`${row} ${column}`, count]));
  let row = 0, column = -1;

  function show(toRow, toColumn) {
    row = Math.max(0, Math.min(names.length - 1, toRow));
    column = Math.max(0, Math.min(names.length - 1, toColumn));
    const count = found.get(`${row} ${column}`) ?? 0;
    output.textContent = `${names[row]} → ${names[column]}: ${count.toLocaleString("en")}`;
  }
  plot.addEventListener("pointermove", (event) => {
    const box = image.getBoundingClientRect(), size = names.length / box.width;
    show(Math.floor((event.clientY - box.top) * size), Math.floor((event.clientX - box.left) * size));
  });
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    show(row + by[0], column + by[1]);
  });
}

let highlighted = "";
for (const select of all(".highlight")) {
  select.addEventListener("change", () => {
    highlighted = select.value;
    for (const ring of all(".ring")) ring.setAttribute("visibility", "hidden");
    for (const path of all(".map path[data-label]")) {
      path.classList.toggle("faded", highlighted !== "" && path.dataset.label !== highlighted);
    }
  });
}

for (const gallery of all(".gallery")) {
  const PAGE = 12, cards = all(".card", gallery), output = $("output", gallery);
  const only = $("input", gallery), buttons = all("button", gallery);
  let page = 0;

  function show(wanted) {
    const some = only.checked ? cards.filter((card) => card.classList.contains("remarkable")) : cards;
    page = Math.max(0, Math.min(Math.ceil(some.length / PAGE) - 1, wanted));
    const first = page * PAGE, last = Math.min(first + PAGE, some.length);
    const turned = new Set(some.slice(first, last));
    for (const card of cards) card.hidden = !turned.has(card);
    output.textContent = some.length ? `${first + 1}–${last} of ${some.length}` : "none";
    buttons[0].disabled = page === 0;
    buttons[1].disabled = last === some.length;
  }
  for (const button of buttons) button.addEventListener("click", () => show(page + Number(button.dataset.turn)));
  only.addEventListener("change", () => show(0));
  gallery.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: page - 1, ArrowRight: page + 1, Home: 0, End: cards.length }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
  gallery.tabIndex = 0;
  show(0);
}

for (const film of all(".film")) {
  const range = $("input", film), [, ...frames] = all(".row", film);
  function show() {
    frames.forEach((frame, number) => { frame.hidden = number + 1 !== Number(range.value); });
    range.setAttribute("aria-valuetext", $(".name", frames[range.value - 1]).textContent);
  }
  range.addEventListener("input", show);
  show();
}

/* what can be scrolled can be scrolled with the keyboard too */
const reachable = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const one of all(".scroll, .rows")) reachable.observe(one);

/* paper cannot unfold */
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
