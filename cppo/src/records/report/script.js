// The value under the pointer. Without this script a report loses nothing else.
for (const svg of document.querySelectorAll("svg[data-points]")) {
  const points = svg.dataset.points.split(";").map((text) => {
    const [step, x, y, ...value] = text.split(",");
    return { step, x: Number(x), y: Number(y), value: value.join(",") };
  });
  const create = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    svg.append(element);
    return element;
  };
  const box = svg.viewBox.baseVal;
  const rule = create("line", { class: "rule", y1: 8, y2: box.height - 22, visibility: "hidden" });
  const label = create("text", { class: "reading", y: 16, visibility: "hidden" });
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * box.width;
    const near = points.reduce((best, point) => (Math.abs(point.x - x) < Math.abs(best.x - x) ? point : best));
    rule.setAttribute("x1", near.x);
    rule.setAttribute("x2", near.x);
    label.textContent = `step ${near.step}: ${near.value}`;
    label.setAttribute("x", near.x > box.width / 2 ? near.x - 5 : near.x + 5);
    label.setAttribute("text-anchor", near.x > box.width / 2 ? "end" : "start");
    for (const element of [rule, label]) element.setAttribute("visibility", "visible");
  });
  svg.addEventListener("pointerleave", () => {
    for (const element of [rule, label]) element.setAttribute("visibility", "hidden");
  });
}
