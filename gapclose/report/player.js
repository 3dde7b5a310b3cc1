"use strict";

/* Plays imagined and executed plans of two models side by side on the same task. `data` comes from player.py. */
function openPlayer(root, data) {
  const find = (selector, from = root) => from.querySelector(selector);
  const tasks = find(".task"), ways = find(".way"), time = find(".time"), play = find(".play");
  const single = Object.keys(data.models).length < 2;
  let panels = [...root.querySelectorAll(".panel")];
  if (single) panels.pop().hidden = true;
  let timer = null;

  const option = (value, text) => new Option(text, value);
  ways.append(...Object.entries(data.ways).map(([way, { title }]) => option(way, title)));
  ways.value = data.way;
  for (const panel of panels) {
    const models = find(".model", panel);
    models.append(...Object.entries(data.models).map(([name, { title }]) => option(name, title)));
    models.value = data[panel.dataset.side];
    models.onchange = () => { listTasks(); showTask(); };
    drawWorld(find("svg", panel));
  }
  ways.onchange = () => { listTasks(); showTask(); };
  tasks.onchange = showTask;
  time.oninput = () => { pause(); showTime(); };
  play.onclick = () => (timer ? pause() : start());
  find(".previous").onclick = () => move(-1);
  find(".next").onclick = () => move(1);
  root.onkeydown = handleKey;
  listTasks(data.task);
  showTask();

  /* Returns the plans that a panel shows; undefined if its model was not executed in this way. */
  function shown(panel) {
    return data.models[find(".model", panel).value].ways[ways.value];
  }

  /* Lists the tasks in groups by outcome: those repaired by finetuning first, in each group the farthest miss first. */
  function listTasks(chosen = tasks.value) {
    const [left, right] = [shown(panels[0]), single ? null : shown(panels[1])];
    const words = (success) => (success ? "reached" : "missed");
    const groups = {};
    data.tasks.forEach((number, i) => {
      const ends = [left, right].filter(Boolean).map((plans) => words(plans.success[i]));
      (groups[ends.join(" → ")] ??= []).push(i);
    });
    const rank = ["missed → reached", "missed → missed", "missed", "reached → missed"];
    const order = Object.keys(groups).sort((a, b) => (rank.indexOf(a) + 9) % 9 - (rank.indexOf(b) + 9) % 9);
    const miss = (i) => (left ?? right)?.distance[i] ?? 0;
    tasks.replaceChildren(...order.map((name) => {
      const group = document.createElement("optgroup");
      group.label = `${name} (${groups[name].length})`;
      groups[name].sort((a, b) => miss(b) - miss(a));
      group.append(...groups[name].map((i) => option(i, `task ${data.tasks[i]}: ${name}`)));
      return group;
    }));
    tasks.value = chosen;
  }

  function move(by) {
    const count = tasks.options.length;
    tasks.selectedIndex = (tasks.selectedIndex + by + count) % count;
    showTask();
  }

  function showTask() {
    pause();
    const i = Number(tasks.value);
    time.max = Math.max(1, ...panels.map((panel) => shown(panel)?.steps[i] ?? 0));
    time.value = time.max;
    for (const panel of panels) describe(panel, i);
    showTime();
  }

  function describe(panel, i) {
    const plans = shown(panel), caption = find("figcaption", panel), svg = find("svg", panel);
    const title = data.models[find(".model", panel).value].title;
    find(".title", panel).textContent = title;
    if (!plans) {
      caption.textContent = "Not executed in this way.";
      svg.setAttribute("aria-label", `${title}: not executed in this way`);
      return;
    }
    const outcome = document.createElement("span");
    outcome.className = `outcome ${plans.success[i] ? "reached" : "missed"}`;
    outcome.textContent = plans.success[i] ? "✓ Goal reached." : "✗ Goal missed.";
    const step = plans.separation[i];
    const promise = ` The model promised to end ${formatDistance(plans.promised[i])} from the goal; in fact it ended ${formatDistance(plans.distance[i])} from it. `
      + (step < 0 ? "Imagined and executed stay together." : `Imagined and executed separate at step ${step}.`);
    caption.replaceChildren(outcome, promise);
    svg.setAttribute("aria-label", `${title}, task ${data.tasks[i]}. ${caption.textContent}`);
  }

  /* Formats a distance; that of a diverged model is null. */
  function formatDistance(distance) {
    return distance === null ? "infinitely far" : distance.toFixed(2);
  }

  function showTime() {
    find("output").textContent = `${time.value} of ${time.max}`;
    for (const panel of panels) drawPlans(find("svg", panel), shown(panel), Number(tasks.value), Number(time.value));
  }

  function start() {
    if (time.value === time.max) time.value = 0;
    play.textContent = "❚❚ Pause";
    timer = setInterval(() => {
      time.stepUp();
      showTime();
      if (time.value === time.max) pause();
    }, 110);
    showTime();
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶ Play";
  }

  function handleKey(event) {
    if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const onButton = event.target.matches("button"), onTime = event.target === time;
    const actions = {
      ArrowLeft: !onTime && (() => { pause(); time.stepDown(); showTime(); }),
      ArrowRight: !onTime && (() => { pause(); time.stepUp(); showTime(); }),
      " ": !onButton && (() => play.click()),
      p: () => move(-1),
      n: () => move(1),
    };
    const action = actions[event.key.length > 1 ? event.key : event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /* Draws what does not change with time, and adds empty elements for what does. */
  function drawWorld(svg) {
    svg.setAttribute("viewBox", `0 0 1000 ${data.height}`);
    add(svg, "circle", "radius");
    for (const kind of ["imagined later", "executed later"]) add(svg, "path", `path ${kind}`);
    for (const [x1, y1, x2, y2] of data.outline) setAttributes(add(svg, "line", "outline"), { x1, y1, x2, y2 });
    for (const kind of ["executed", "imagined"]) add(svg, "path", `path ${kind}`);
    for (const kind of ["goal", "imagined", "executed"]) add(svg, "path", `figure ${kind}`);
    add(svg, "path", "star");
    setAttributes(add(svg, "circle", "start"), { r: 13 });
    setAttributes(add(svg, "circle", "separation"), { r: 38 });
    for (const kind of ["imagined", "executed"]) setAttributes(add(svg, "circle", `now ${kind}`), { r: 16 });
  }

  function drawPlans(svg, plans, i, now) {
    const [x, y] = data.goal.slice(2 * i, 2 * i + 2);
    setAttributes(find(".radius", svg), { cx: x, cy: y, r: data.radius ?? (data.figure ? 0 : 30) });
    setAttributes(find(".star", svg), { d: star(x, y, 20) });
    setAttributes(find(".start", svg), { cx: data.start[2 * i], cy: data.start[2 * i + 1] });
    setAttributes(find(".figure.goal", svg), { d: segments(data.figure?.[i]) });
    for (const mark of svg.querySelectorAll(".path, .now, .separation, .figure:not(.goal)")) mark.style.display = plans ? "" : "none";
    if (!plans) return;
    const [states, imagined, last] = [plans.states[i], plans.imagined[i], plans.steps[i]];
    const until = Math.min(now, last);
    const every = data.ways[ways.value].replan ?? Infinity;
    for (const [kind, end] of [["", until], [".later", last]]) {
      setAttributes(find(`.path.executed${kind || ":not(.later)"}`, svg), { d: line(states, 0, end) });
      setAttributes(find(`.path.imagined${kind || ":not(.later)"}`, svg), { d: imaginedPath(states, imagined, end, every) });
    }
    setAttributes(find(".figure.executed", svg), { d: segments(plans.figures?.[i][until]) });
    setAttributes(find(".figure.imagined", svg), { d: segments(plans.imaginedFigures?.[i][until]) });
    setAttributes(find(".now.executed", svg), { cx: states[2 * until], cy: states[2 * until + 1] });
    setAttributes(find(".now.imagined", svg), { cx: imagined[2 * until], cy: imagined[2 * until + 1] });
    const step = plans.separation[i], separation = find(".separation", svg);
    separation.style.display = step >= 0 && step <= until ? "" : "none";
    if (step >= 0) setAttributes(separation, { cx: states[2 * step], cy: states[2 * step + 1] });
  }

  function line(points, from, to) {
    let path = `M${points[2 * from]} ${points[2 * from + 1]}`;
    for (let t = from + 1; t <= to; t++) path += `L${points[2 * t]} ${points[2 * t + 1]}`;
    return path;
  }

  /* The path of a figure, given as a flat list of segments; empty if a simulator has no figures. */
  function segments(ends = []) {
    let path = "";
    for (let k = 0; k < ends.length; k += 4) path += `M${ends[k]} ${ends[k + 1]}L${ends[k + 2]} ${ends[k + 3]}`;
    return path;
  }

  /* The path of the imagined states up to a step; with every new plan it restarts from the real state. */
  function imaginedPath(states, imagined, end, every) {
    let path = "";
    for (let from = 0; from < end; from += every) {
      path += `M${states[2 * from]} ${states[2 * from + 1]}`;
      path += line(imagined, from + 1, Math.min(from + every, end)).replace("M", "L");
    }
    return path;
  }

  function star(x, y, size) {
    const corners = [...Array(10).keys()].map((k) => {
      const [angle, r] = [(k * Math.PI) / 5, k % 2 ? size * 0.42 : size];
      return `${x + r * Math.sin(angle)} ${y - r * Math.cos(angle)}`;
    });
    return `M${corners.join("L")}Z`;
  }

  function add(svg, kind, name) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    element.setAttribute("class", name);
    return svg.appendChild(element);
  }

  function setAttributes(element, attributes) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  }
}
