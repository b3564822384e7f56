// A square to draw strokes on, by pointer, touch or keyboard. Strokes are lists of points [x, y] in 0..1, y downwards.
const STEP = 1 / 28; // of the keyboard's cursor
const HELP = "Draw with the mouse, a pen or a finger. By keyboard: arrow keys move the cursor, the space bar puts the " +
  "pen down and lifts it, Delete clears.";

function render({ model, el }) {
  const side = 280;
  const box = document.createElement("div");
  const canvas = document.createElement("canvas");
  const help = document.createElement("p");
  box.className = "labkit-canvas";
  box.style.cssText = "max-width:100%;width:" + side + "px";
  canvas.width = canvas.height = side;
  canvas.tabIndex = 0;
  canvas.style.cssText = "width:100%;aspect-ratio:1;border:1px solid #888;touch-action:none;cursor:crosshair;background:#fff";
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", model.get("label"));
  help.textContent = HELP;
  help.id = "labkit-canvas-" + Math.random().toString(36).slice(2);
  help.style.cssText = "font-size:12px;color:#555;margin:2px 0";
  canvas.setAttribute("aria-describedby", help.id);
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.style.cssText = help.style.cssText;
  box.append(canvas, help, said);
  el.append(box);

  const pen = canvas.getContext("2d");
  let strokes = model.get("strokes").map((line) => line.slice());
  let current = null; // the stroke that is being drawn
  let cursor = [0.5, 0.3];
  let down = false; // the pen of the keyboard
  let focused = false;

  const paint = () => {
    pen.clearRect(0, 0, side, side);
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = 0.075 * side;
    pen.strokeStyle = pen.fillStyle = "#111";
    for (const line of current ? [...strokes, current] : strokes) {
      pen.beginPath();
      line.forEach(([x, y], n) => (n ? pen.lineTo(x * side, y * side) : pen.moveTo(x * side, y * side)));
      if (line.length === 1) pen.lineTo(line[0][0] * side, line[0][1] * side);
      pen.stroke();
    }
    if (focused) {
      pen.lineWidth = 2;
      pen.strokeStyle = down ? "#D55E00" : "#0072B2";
      pen.strokeRect((cursor[0] - STEP / 2) * side, (cursor[1] - STEP / 2) * side, STEP * side, STEP * side);
    }
  };
  const send = () => {
    model.set("strokes", (current ? [...strokes, current] : strokes).map((line) => line.slice()));
    model.save_changes();
  };
  const finish = () => {
    if (current) strokes.push(current);
    current = null;
    send();
    paint();
  };
  const place = (event) => {
    const at = canvas.getBoundingClientRect();
    const clip = (value) => Math.min(1, Math.max(0, Math.round(1000 * value) / 1000));
    return [clip((event.clientX - at.left) / at.width), clip((event.clientY - at.top) / at.height)];
  };

  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    if (current) strokes.push(current); // the keyboard's
    down = false;
    current = [place(event)];
    paint();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!current || down) return;
    current.push(place(event));
    paint();
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { if (!down) finish(); });

  const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in MOVES) {
      cursor = cursor.map((value, n) => Math.min(1, Math.max(0, value + STEP * MOVES[event.key][n])));
      if (down) { current.push(cursor.slice()); send(); }
    } else if (event.key === " ") {
      down = !down;
      if (down) { current = [cursor.slice()]; send(); } else finish();
      said.textContent = down ? "the pen is down" : "the pen is up";
    } else if (event.key === "Delete") {
      strokes = [];
      current = null;
      down = false;
      said.textContent = "cleared";
      send();
    } else return;
    event.preventDefault();
    event.stopPropagation(); // a notebook has meanings of its own for these keys
    paint();
  });
  canvas.addEventListener("focus", () => { focused = true; paint(); });
  canvas.addEventListener("blur", () => { focused = false; if (down) { down = false; finish(); } paint(); });
  const changed = () => {
    if (current) return; // what was sent from here
    strokes = model.get("strokes").map((line) => line.slice());
    paint();
  };
  model.on("change:strokes", changed);
  paint();
  return () => model.off("change:strokes", changed);
}
export default { render };
