"use strict";
// The page around engine.js: one game after another, and what the agent thought.

(() => {
  const spec = JSON.parse(document.getElementById("agent").textContent);
  const isPPI = spec.kind === "ppi", MOVES = ["cooperate", "defect"], LETTERS = ["C", "D"];
  const SITUATIONS = [
    "in the first round", "after both cooperated", "after you cooperated, it defected",
    "after you defected, it cooperated", "after both defected",
  ];
  const find = (id) => document.getElementById(id);
  const asked = new URLSearchParams(location.hash.slice(1)); // #seed=1&rounds=10, so that a game can be repeated
  const random = asked.has("seed") ? Coopctx.seeded(Number(asked.get("seed"))) : Math.random;
  const agent = new Coopctx.Agent(spec, random);
  let game;

  const share = (probability) => `${Math.round(100 * probability)}%`;
  const signed = (value, digits = 1) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  const points = (value) => signed(value, Number.isInteger(value) ? 0 : 1);

  // The game -----------------------------------------------------------------------------------------------------

  function begin() {
    agent.begin();
    game = { rounds: Number(find("rounds").value), log: [], bayes: new Coopctx.Bayes(), situation: 0, totals: [0, 0] };
    document.body.classList.add("playing");
    find("moves").hidden = false;
    find("ending").hidden = true;
    find("told").textContent = "Choose your first move.";
    next();
  }

  /** Before a round: the agent decides, without knowing your move. */
  function next() {
    game.thought = agent.think();
    game.choice = agent.act(game.thought);
    draw();
  }

  function play(move) {
    if (!game.thought) return;
    const { thought, choice, situation } = game, pay = spec.payoffs;
    const earned = [pay[move][choice], pay[choice][move]];
    game.log.push({ move, choice, earned, thought, situation, bayes: game.bayes.predict(situation) });
    game.bayes.observe(situation, move);
    game.totals = game.totals.map((total, i) => total + earned[i]);
    agent.observe(choice, move);
    game.situation = 1 + 2 * move + choice;
    game.thought = null;
    find("told").textContent =
      `Round ${game.log.length}: you ${MOVES[move]}, it ${MOVES[choice]}s. You ${points(earned[0])}, it ${points(earned[1])}.`;
    if (game.log.length < game.rounds) next();
    else end();
  }

  function end() {
    document.body.classList.remove("playing");
    find("moves").hidden = true;
    find("ending").hidden = false;
    const { log, totals } = game, n = log.length;
    const count = (whose) => log.filter((entry) => entry[whose] === 0).length;
    find("outcome").textContent =
      `You cooperated in ${count("move")} of ${n} rounds, the agent in ${count("choice")}. ` +
      `You earned ${signed(totals[0] / n, 2)} a round, it ${signed(totals[1] / n, 2)}; ` +
      `both would have earned ${signed(spec.payoffs[0][0], 2)} by always cooperating and ${signed(spec.payoffs[1][1], 2)} by always defecting.`;
    const mean = (entries, value) => entries.reduce((sum, entry) => sum + value(entry), 0) / entries.length;
    fill("reading", SITUATIONS.map((name, situation) => {
      const met = log.filter((entry) => entry.situation === situation);
      const cells = [name, met.length ? `${met.filter((entry) => entry.move === 0).length} of ${met.length}` : "–"];
      if (isPPI) cells.push(met.length ? share(mean(met, (entry) => entry.thought.move[0])) : "–");
      return [...cells, met.length ? share(mean(met, (entry) => entry.bayes)) : "–"];
    }));
    const surprise = (expected) => mean(log, (entry) => -Math.log(entry.move ? 1 - expected(entry) : expected(entry)));
    const nats = (value) => value.toFixed(2);
    const itself = isPPI ? `the agent ${nats(surprise((entry) => entry.thought.move[0]))}, ` : "";
    find("surprise").textContent =
      `Mean surprise at your moves, in nats (less is better): ${itself}` +
      `exact Bayes ${nats(surprise((entry) => entry.bayes))}, a guess of one half ${nats(Math.log(2))}. ` +
      (isPPI ? "Expected and exact are means over the rounds in that situation." : "This agent has no model of you that could be asked.");
    draw();
    find("ending-title").focus();
  }

  // What is shown --------------------------------------------------------------------------------------------------

  function draw() {
    const { log, totals, rounds, thought } = game;
    find("your-total").textContent = points(totals[0]);
    find("its-total").textContent = points(totals[1]);
    find("round").textContent = Math.min(log.length + 1, rounds);
    find("of").textContent = `of ${rounds}`;
    const before = find("when").value === "before" && thought;
    const shown = before ? thought : log.length ? log[log.length - 1].thought : null;
    const number = before ? log.length + 1 : log.length;
    find("thought-round").textContent = shown ? `before round ${number}` : "";
    showThought(shown, before ? game.bayes.predict(game.situation) : log.length ? log[log.length - 1].bayes : null);
    fill("log", log.map((entry, i) => [
      i + 1, LETTERS[entry.move], LETTERS[entry.choice], points(entry.earned[0]), points(entry.earned[1]),
      ...THOUGHTS.map((thing) => thing.text(entry.thought, entry.bayes)),
    ]));
    drawChart();
  }

  const OF_PPI = [
    { name: "expected you to cooperate", column: "it expected C", text: (t) => share(t.move[0]), bar: (t) => t.move[0], colour: "cooperate" },
    { name: "exact Bayes expected", column: "Bayes expected C", text: (t, bayes) => share(bayes), bar: (t, bayes) => bayes, colour: "bayes" },
    { name: "expected return, Q(C)", column: "Q(C)", text: (t) => signed(t.values[0]) },
    { name: "expected return, Q(D)", column: "Q(D)", text: (t) => signed(t.values[1]) },
    { name: "prior: would cooperate", column: "prior C", text: (t) => share(t.prior[0]), bar: (t) => t.prior[0], colour: "defect" },
    { name: "policy: cooperates", column: "policy C", text: (t) => share(t.policy[0]), bar: (t) => t.policy[0], colour: "defect" },
  ];
  const OF_A2C = [
    { name: "policy: cooperates", column: "policy C", text: (t) => share(t.policy[0]), bar: (t) => t.policy[0], colour: "defect" },
    { name: "value V (rescaled)", column: "V", text: (t) => signed(t.value, 2) },
    { name: "exact Bayes expected", column: "Bayes expected C", text: (t, bayes) => share(bayes), bar: (t, bayes) => bayes, colour: "bayes" },
  ];
  const THOUGHTS = isPPI ? OF_PPI : OF_A2C;

  function showThought(thought, bayes) {
    find("thoughts").replaceChildren(...THOUGHTS.flatMap((thing) => {
      const bar = make("dd", { class: thing.bar ? "bar" : "" });
      if (thing.bar && thought) bar.append(make("span", { style: `width:${100 * thing.bar(thought, bayes)}%;background:var(--${thing.colour})` }));
      return [make("dt", {}, thing.name), bar, make("dd", {}, thought ? thing.text(thought, bayes) : "–")];
    }));
  }

  /** Lines of probabilities over the rounds; below them both players' moves. */
  function drawChart() {
    const { log, rounds } = game, width = Math.max(find("chart").clientWidth, 200), height = 230;
    const left = 44, right = width - 8, top = 8, bottom = 150;
    const x = (i) => left + ((right - left) * (i + 0.5)) / rounds, y = (p) => bottom - (bottom - top) * p;
    const parts = [];
    for (const p of [0, 0.5, 1]) {
      parts.push(draws("line", { x1: left, x2: right, y1: y(p), y2: y(p), stroke: "var(--line)" }));
      parts.push(draws("text", { x: left - 6, y: y(p) + 4, "text-anchor": "end" }, share(p)));
    }
    for (const line of LINES) {
      const along = log.map((entry, i) => `${x(i).toFixed(1)},${y(line.value(entry)).toFixed(1)}`).join(" ");
      parts.push(draws("polyline", { points: along, ...line.style }));
      if (log.length === 1) parts.push(draws("circle", { cx: x(0), cy: y(line.value(log[0])), r: 3, fill: line.style.stroke }));
    }
    const cell = (right - left) / rounds;
    for (const [whose, at] of [["move", bottom + 14], ["choice", bottom + 38]]) {
      parts.push(draws("text", { x: left - 6, y: at + 13, "text-anchor": "end" }, whose === "move" ? "you" : "agent"));
      log.forEach((entry, i) => {
        const colour = entry[whose] ? "var(--defect)" : "var(--cooperate)";
        const [lift, tall] = entry[whose] ? [9, 9] : [0, 18]; // a defection is half as high, for those who see no colours
        parts.push(draws("rect", { x: x(i) - cell / 2 + cell * 0.08, y: at + lift, width: cell * 0.84, height: tall, fill: colour }));
      });
    }
    for (const i of [0, Math.floor(rounds / 2) - 1, rounds - 1]) {
      parts.push(draws("text", { x: x(i), y: height - 6, "text-anchor": "middle" }, String(i + 1)));
    }
    const label = log.length
      ? `Probabilities of cooperating over ${log.length} rounds, and both players' moves; the table below has the numbers.`
      : "Probabilities of cooperating and both players' moves; nothing has been played yet.";
    find("chart").replaceChildren(draws("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": label }, parts));
  }

  const style = (colour, dashes, thickness = 2) => ({ fill: "none", stroke: `var(--${colour})`, "stroke-width": thickness, "stroke-dasharray": dashes, "stroke-linejoin": "round" });
  const LINES = [
    { name: "exact Bayes: you cooperate", value: (entry) => entry.bayes, style: style("bayes", "2 4") },
    ...(isPPI ? [{ name: "agent: you cooperate", value: (entry) => entry.thought.move[0], style: style("cooperate", "none", 2.5) }] : []),
    { name: "agent: I cooperate", value: (entry) => entry.thought.policy[0], style: style("defect", "7 4") },
  ];

  // Building blocks --------------------------------------------------------------------------------------------------

  function make(tag, attributes = {}, content = []) {
    return into(document.createElement(tag), attributes, content);
  }

  function draws(tag, attributes = {}, content = []) {
    return into(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, content);
  }

  function into(element, attributes, content) {
    for (const [name, value] of Object.entries(attributes)) if (value !== "") element.setAttribute(name, value);
    element.append(...[content].flat());
    return element;
  }

  /** Rows of cells into a table's body, the first of each as its heading. */
  function fill(id, rows) {
    const row = ([heading, ...cells]) => make("tr", {}, [make("th", { scope: "row" }, String(heading)), ...cells.map((cell) => make("td", {}, String(cell)))]);
    find(id).tBodies[0].replaceChildren(...rows.map(row));
  }

  // The page once, then the first game --------------------------------------------------------------------------------

  find("who").textContent = spec.label;
  const usual = Math.min(Math.max(Math.round(Number(asked.get("rounds"))) || spec.rounds, 1), 100);
  for (const n of [...new Set([10, 20, 50, 100, usual])].sort((a, b) => a - b)) find("rounds").append(make("option", { value: n }, String(n)));
  find("rounds").value = usual;
  fill("payoffs", MOVES.map((mine, a) => [`you ${mine}`, ...MOVES.map((_, b) => `you ${points(spec.payoffs[a][b])}, it ${points(spec.payoffs[b][a])}`)]));
  const columns = ["round", "you", "agent", "you earn", "it earns", ...THOUGHTS.map((thing) => thing.column)];
  find("log").tHead.rows[0].append(...columns.map((name) => make("th", { scope: "col" }, name)));
  find("key").append(...LINES.map((line) => make("li", {}, [draws("svg", { width: 28, height: 8 }, draws("line", { x1: 0, x2: 28, y1: 4, y2: 4, ...line.style })), line.name])));
  if (!isPPI) document.querySelector(".predicting").remove();
  find("cooperate").addEventListener("click", () => play(0));
  find("defect").addEventListener("click", () => play(1));
  find("again").addEventListener("click", begin);
  find("rounds").addEventListener("change", begin);
  find("when").addEventListener("change", draw);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const letter = { c: 0, d: 1 }[event.key.toLowerCase()], arrow = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    const move = event.target.matches("select") ? letter : letter ?? arrow; // there the arrows choose a setting
    if (move !== undefined) {
      event.preventDefault();
      play(move);
    }
  });
  new ResizeObserver(() => drawChart()).observe(find("chart"));
  begin();
})();
