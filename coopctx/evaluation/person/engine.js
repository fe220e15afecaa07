"use strict";
// A trained agent in plain JavaScript: the trunk (coopctx/agents/trunk.py), PPI's planner and its improvement step
// (coopctx/agents/ppi/planner.py, Alg. 1), A2C's policy, and the exact Bayesian prediction beside them. No page in here.
// Weights are the float32 of weights.safetensors; arithmetic is float64. Action 0 cooperates, action 1 defects.

const Coopctx = (() => {
  const COOPERATE = 0;

  /** Float64Array from base64 of little-endian float32. */
  function decode(base64) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  /** Probabilities from the logits at out[begin ... begin + n - 1], in place. */
  function softmax(out, begin, n) {
    let largest = -Infinity, sum = 0;
    for (let i = begin; i < begin + n; i++) largest = Math.max(largest, out[i]);
    for (let i = begin; i < begin + n; i++) sum += out[i] = Math.exp(out[i] - largest);
    for (let i = begin; i < begin + n; i++) out[i] /= sum;
  }

  /** GRU with folded input layers, and its heads. weights: base64 by parameter name, as in weights.safetensors. */
  class Trunk {
    constructor(weights, nActions) {
      const w = Object.fromEntries(Object.entries(weights).map(([name, text]) => [name, decode(text)]));
      this.A = nActions;
      this.O = 1 + nActions * nActions;
      this.H = w["gru.bias_hh_l0"].length / 3;
      this.E = w["reward.bias"].length;
      this.recurrent = w["gru.weight_hh_l0"]; // [3 H, H]: reset, keep, candidate
      this.candidateBias = w["gru.bias_hh_l0"].slice(2 * this.H);
      this.headWeight = w["head.weight"]; // [outputs, H]
      this.headBias = w["head.bias"];
      this.outputs = this.headBias.length;
      this.fold(w);
      this.product = new Float64Array(3 * this.H);
      this.swish = new Float64Array(this.H);
    }

    /** table: input gates of (observation, previous action), [O (A + 1), 3 H]; action A stands for none. */
    fold(w) {
      const { A, O, E, H } = this;
      const gates = (embedded) =>
        Float64Array.from({ length: 3 * H }, (_, g) => {
          let sum = 0;
          for (let e = 0; e < E; e++) sum += w["gru.weight_ih_l0"][g * E + e] * embedded[e];
          return sum;
        });
      this.table = [];
      for (let o = 0; o < O; o++) {
        for (let a = 0; a <= A; a++) {
          const embedded = Float64Array.from({ length: E }, (_, e) =>
            w["observation.weight"][e * O + o] + w["observation.bias"][e] + w["action.bias"][e] + w["reward.bias"][e] +
            (a < A ? w["action.weight"][e * A + a] : 0));
          this.table.push(gates(embedded).map((sum, g) =>
            sum + w["gru.bias_ih_l0"][g] + (g < 2 * H ? w["gru.bias_hh_l0"][g] : 0)));
        }
      }
      this.rewardGates = gates(w["reward.weight"]);
    }

    /** The next hidden state, after observation, previous own action and previous own reward; written to `next`. */
    step(hidden, observation, previous, reward, next = new Float64Array(this.H)) {
      const { H, recurrent, product, rewardGates, candidateBias } = this;
      const input = this.table[observation * (this.A + 1) + previous];
      for (let g = 0, at = 0; g < 3 * H; g++) {
        let sum = 0;
        for (let i = 0; i < H; i++) sum += recurrent[at++] * hidden[i];
        product[g] = sum;
      }
      for (let i = 0; i < H; i++) {
        const reset = sigmoid(input[i] + reward * rewardGates[i] + product[i]);
        const keep = sigmoid(input[H + i] + reward * rewardGates[H + i] + product[H + i]);
        const candidate = Math.tanh(
          input[2 * H + i] + reward * rewardGates[2 * H + i] + reset * (product[2 * H + i] + candidateBias[i]));
        next[i] = candidate + keep * (hidden[i] - candidate);
      }
      return next;
    }

    /** Raw head outputs, [outputs]. */
    head(hidden, out = new Float64Array(this.outputs)) {
      const { H, swish, headWeight } = this;
      for (let i = 0; i < H; i++) swish[i] = hidden[i] * sigmoid(hidden[i]);
      for (let k = 0, at = 0; k < this.outputs; k++) {
        let sum = this.headBias[k];
        for (let i = 0; i < H; i++) sum += headWeight[at++] * swish[i];
        out[k] = sum;
      }
      return out;
    }

    /** PPI's predictions, in one array: p(a) [A], then p(o | a) [A, O], then the mean reward given a and o [A, O]. */
    predict(hidden, out = new Float64Array(this.outputs)) {
      this.head(hidden, out);
      softmax(out, 0, this.A);
      for (let a = 0; a < this.A; a++) softmax(out, this.A + a * this.O, this.O);
      return out;
    }
  }

  /** An outcome drawn from p[begin ... begin + n - 1] by inverting the cumulative sum at `uniform`. */
  function choose(p, begin, n, uniform) {
    let cumulative = 0, outcome = 0;
    for (let i = 0; i < n - 1; i++) {
      cumulative += p[begin + i];
      if (uniform >= cumulative) outcome++;
    }
    return outcome;
  }

  /** Uniform numbers [1, rollouts, horizon, 2]: for every simulated round and use, one in each of `rollouts` equal strata. */
  function stratifiedUniforms(rollouts, horizon, random) {
    const uniforms = new Float64Array(rollouts * horizon * 2);
    const strata = Array.from({ length: rollouts }, (_, i) => i);
    for (let draw = 0; draw < horizon * 2; draw++) {
      for (let i = rollouts - 1; i > 0; i--) {
        const j = Math.floor(random() * (i + 1));
        [strata[i], strata[j]] = [strata[j], strata[i]];
      }
      for (let r = 0; r < rollouts; r++) uniforms[r * horizon * 2 + draw] = (strata[r] + random()) / rollouts;
    }
    return uniforms;
  }

  /** The random numbers of one decision: shared by the first actions with the estimator "expected", one set each without. */
  function drawUniforms(planner, nActions, random) {
    if (planner.estimator === "expected") return stratifiedUniforms(planner.rollouts, planner.horizon, random);
    return Float64Array.from({ length: nActions * planner.rollouts * planner.horizon * 2 }, random);
  }

  /** Q(x, a), [A]: mean return of rollouts inside the model, as coopctx.agents.ppi.planner.returns computes it. */
  function actionValues(trunk, planner, hidden, uniforms) {
    const { A, O } = trunk, { rollouts, horizon, discount } = planner;
    const expected = planner.estimator === "expected", each = rollouts * horizon * 2;
    const predicted = new Float64Array(trunk.outputs), values = new Float64Array(A);
    let state = new Float64Array(trunk.H), next = new Float64Array(trunk.H);
    for (let first = 0; first < A; first++) {
      let total = 0;
      for (let rollout = 0; rollout < rollouts; rollout++) {
        state.set(hidden);
        let at = (expected ? 0 : first * each) + rollout * horizon * 2;
        for (let t = 0; t < horizon; t++, at += 2) {
          trunk.predict(state, predicted);
          const action = t === 0 ? first : choose(predicted, 0, A, uniforms[at]);
          const observation = choose(predicted, A + action * O, O, uniforms[at + 1]);
          const reward = predicted[A + A * O + action * O + observation];
          let gain = reward;
          if (expected) {
            gain = 0;
            for (let a = 0; a < A; a++) {
              const probability = t === 0 ? Number(a === first) : predicted[a];
              for (let o = 0; o < O; o++) gain += probability * predicted[A + a * O + o] * predicted[A + A * O + a * O + o];
            }
          }
          total += discount ** t * gain;
          if (t < horizon - 1) {
            trunk.step(state, observation, action, reward, next);
            [state, next] = [next, state];
          }
        }
      }
      values[first] = total / rollouts;
    }
    return values;
  }

  /** pi(a | x), proportional to p(a | x) exp(beta Q(x, a)). */
  function improve(prior, values, inverseTemperature) {
    const policy = Float64Array.from(prior, (p, a) => Math.log(p) + inverseTemperature * values[a]);
    softmax(policy, 0, policy.length);
    return policy;
  }

  /** How probable the co-player's actions are, [A], from p(o | a) and the agent's policy; codes are 1 + own * A + other. */
  function predictedMove(trunk, predicted, policy) {
    const { A, O } = trunk, move = new Float64Array(A);
    for (let a = 0; a < A; a++) {
      const some = 1 - predicted[A + a * O]; // code 0, the start, cannot follow a round
      for (let o = 1; o < O; o++) move[(o - 1) % A] += policy[a] * predicted[A + a * O + o] / some;
    }
    return move;
  }

  /** An agent at the table. spec: kind, payoffs, planner (PPI) and weights; random: gives uniform numbers in [0, 1). */
  class Agent {
    constructor(spec, random = Math.random) {
      this.kind = spec.kind;
      this.payoffs = spec.payoffs;
      this.planner = spec.planner;
      this.random = random;
      this.trunk = new Trunk(spec.weights, spec.payoffs.length);
      this.begin();
    }

    begin() {
      this.hidden = new Float64Array(this.trunk.H);
      this.see(0, this.trunk.A, 0);
    }

    see(observation, previous, reward) {
      this.hidden = this.trunk.step(this.hidden, observation, previous, reward);
    }

    /** After a round: both actions, the agent's own first. */
    observe(own, other) {
      this.see(1 + own * this.trunk.A + other, own, this.payoffs[own][other]);
    }

    /** What it holds before the round: policy [A]; PPI also prior [A], values [A] and move [A]; A2C value. */
    think(uniforms = this.planner && drawUniforms(this.planner, this.trunk.A, this.random)) {
      const { trunk, planner, hidden } = this;
      if (this.kind === "a2c") {
        const outputs = trunk.head(hidden);
        softmax(outputs, 0, trunk.A);
        return { policy: outputs.slice(0, trunk.A), value: outputs[trunk.A] };
      }
      const predicted = trunk.predict(hidden), prior = predicted.slice(0, trunk.A);
      const values = actionValues(trunk, planner, hidden, uniforms);
      const policy = improve(prior, values, planner.inverseTemperature);
      return { prior, values, policy, move: predictedMove(trunk, predicted, policy) };
    }

    act(thought) {
      return choose(thought.policy, 0, this.trunk.A, this.random());
    }
  }

  /** Exact Bayes for a memory-one co-player whose five probabilities were drawn from U(0, 1): Laplace's rule per situation.
      Situations are the co-player's own observation codes: 0 start, then CC, CD, DC, DD with its own action first. */
  class Bayes {
    constructor() {
      this.cooperated = [0, 0, 0, 0, 0];
      this.seen = [0, 0, 0, 0, 0];
    }

    predict(situation) {
      return (this.cooperated[situation] + 1) / (this.seen[situation] + 2);
    }

    observe(situation, action) {
      this.seen[situation]++;
      this.cooperated[situation] += Number(action === COOPERATE);
    }
  }

  /** Uniform numbers in [0, 1) from a seed (mulberry32). */
  function seeded(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let x = Math.imul(state ^ (state >>> 15), state | 1);
      x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
      return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  return { Agent, Bayes, Trunk, actionValues, choose, improve, seeded, stratifiedUniforms };
})();
