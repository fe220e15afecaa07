/* The gradient of A2C's loss (App. A.3.2) from the records that coopctx_play leaves of a learner's games, piece by piece.
 *
 * With rewards r_t times reward_scale, values V_t and delta_t = r_t + gamma V_{t+1} - V_t, the loss is the mean over games
 * and rounds of -log pi(a_t) A_t + c_v (V_t - target_t)^2 - c_e H(pi), where A_t = sum_k (gamma lambda)^k delta_{t+k} is
 * shifted and scaled game by game, and target_t = V_t + sum_k (gamma lambda_td)^k delta_{t+k}. */
#pragma once
#include "play.h"

typedef struct { /* one piece of a learner's games */
    long first, games;   /* games `first` to `first + games - 1` of the learner's */
    char *record;        /* what coopctx_play has left */
    float *sums;         /* [2][T][games]: A_t before it is shifted and scaled, and target_t - V_t */
    float *gradient;     /* [table, reward_gates, bias_hn, weight_hh, head_weight, head_bias], of the shapes of Gates' */
    double *terms;       /* [3]: sums over games and rounds of the loss's terms: policy, value, entropy */
} Share;
typedef struct {
    long A, T;
    const uint8_t *actions;          /* [.,T] */
    const float *rewards, *payoffs;  /* [.,T], [A,A] */
    float reward_scale, discount, gae, td; /* gae, td: gamma lambda */
    double *moments;                 /* [.,2]: sums over a game's rounds of A_t and of its square */
    const float *shift, *scale;      /* [.]: A_t becomes (A_t - shift) scale */
    float value_weight, entropy_weight; /* both divided by the number of tokens, games times rounds */
    float token_weight; /* 1 / tokens */
    float *d_extra;                  /* [.,3H] or null */
} Loss;

/* Advantages of a piece, and their moments. */
static void advantages(const Gates *gates, const Loss *l, const Share *s) {
    const long T = l->T, A = l->A, games = s->games;
    Record r;
    Arena arena = {s->record, s->record};
    place_record(&arena, &r, gates->hidden, A, T, games, 1);
    for (long g = 0; g < games; g += V) {
        const long count = smaller(V, games - g);
        vec next = {0}, advantage = {0}, ahead = {0};
        double sum[V] = {0}, squares[V] = {0};
        for (long t = T - 1; t >= 0; t--) {
            const float *values = r.outputs + r.x.first[t] * (A + 1) + A;
            vec value = {0}, reward = {0};
            for (long k = 0; k < count; k++) {
                value[k] = values[r.node[t * games + g + k] * (A + 1)];
                reward[k] = l->rewards[(s->first + g + k) * T + t];
            }
            const vec delta = l->reward_scale * reward + l->discount * next - value;
            next = value, advantage = delta + l->gae * advantage, ahead = delta + l->td * ahead;
            store_some(s->sums + t * games + g, advantage, count), store_some(s->sums + (T + t) * games + g, ahead, count);
            for (long k = 0; k < V; k++) sum[k] += (double)advantage[k], squares[k] += (double)advantage[k] * (double)advantage[k];
        }
        for (long k = 0; k < count; k++)
            l->moments[(s->first + g + k) * 2] = sum[k], l->moments[(s->first + g + k) * 2 + 1] = squares[k];
    }
}

typedef struct { /* sums over the games in one row of a round */
    float *actions, *values, *games; /* [A][row]: of A_t by action taken; [row]: of V_t - target_t; [row]: how many */
    long rows;
} Gathered;
static void gather_round(const Gathered *to, const Record *r, const Loss *l, const Share *s, long t, double *terms) {
    const long T = l->T, games = s->games;
    memset(to->actions, 0, (l->A + 2) * to->rows * sizeof(float));
    double squares = 0.;
    for (long g = 0; g < games; g++) {
        const long node = r->node[t * games + g], action = l->actions[(s->first + g) * T + t];
        const float ahead = s->sums[(T + t) * games + g];
        to->actions[action * to->rows + node] += (s->sums[t * games + g] - l->shift[s->first + g]) * l->scale[s->first + g];
        to->values[node] -= ahead, to->games[node] += 1.f;
        squares += (double)ahead * (double)ahead;
    }
    terms[1] += squares;
}
/* The gradient of the outputs of V rows from row i on, and the terms of their loss. lanes: [A + 1], the outputs at first. */
INLINE void loss_of_rows(const Gathered *from, const Loss *l, long i, vec *lanes, vec *weights, double *terms) {
    const long A = l->A;
    const vec top = maximum(lanes, A), games = load(from->games + i);
    vec total = {0}, all = {0}, entropy = {0}, policy = {0};
    for (long a = 0; a < A; a++) total += weights[a] = exponential(lanes[a] - top), all += load(from->actions + a * from->rows + i);
    const vec normaliser = top + logarithm(total), share = 1.f / total;
    for (long a = 0; a < A; a++) {
        lanes[a] -= normaliser, weights[a] *= share;
        entropy -= weights[a] * lanes[a], policy += lanes[a] * load(from->actions + a * from->rows + i);
    }
    for (long a = 0; a < A; a++)
        lanes[a] = l->token_weight * (weights[a] * all - load(from->actions + a * from->rows + i)) +
                   l->entropy_weight * games * weights[a] * (lanes[a] + entropy);
    lanes[A] = 2.f * l->value_weight * load(from->values + i);
    terms[0] -= sum_of(policy, V), terms[2] += sum_of(games * entropy, V);
}

/* The gradient of the loss on one piece, from its advantages. */
static int gradient_of_piece(const Gates *gates, const Loss *l, const Share *s) {
    const long H = gates->hidden, A = l->A, T = l->T, O = 1 + A * A, padded = up(A + 1, PAD), rows = up(s->games, V);
    Record r;
    Arena record = {s->record, s->record};
    place_record(&record, &r, H, A, T, s->games, 1);
    const long inputs = *r.roots * O;
    Reverse v;
    OutputGradient out;
    Gradient g;
    Gathered sums = {.rows = rows};
    vec *lanes, *weights;
    float *floats;
    WORKSPACE(arena, take_reverse(&arena, &v, gates, r.x.rows); place_output_gradient(&arena, &out, A + 1, r.x.tokens);
              place_gradient(&arena, &g, H, A + 1, inputs); sums.actions = take(&arena, (A + 2) * rows * sizeof(float));
              lanes = take(&arena, padded * sizeof(vec)); weights = take(&arena, A * sizeof(vec));
              floats = take(&arena, V * padded * sizeof(float));)
    sums.values = sums.actions + A * rows, sums.games = sums.values + rows;
    memset(s->terms, 0, 3 * sizeof *s->terms);
    memset(lanes, 0, padded * sizeof(vec)); /* lanes beyond the last row enter no sum, but must be finite */
    for (long t = 0; t < T; t++) {
        const long first = r.x.first[t], here = r.x.first[t + 1] - first;
        gather_round(&sums, &r, l, s, t, s->terms);
        for (long i = 0; i < here; i += V) {
            const long count = smaller(V, here - i);
            transpose((float *)lanes, V, r.outputs + (first + i) * (A + 1), A + 1, count, A + 1);
            if (A == 2) {
                Loss two = *l;
                two.A = 2;
                loss_of_rows(&sums, &two, i, lanes, weights, s->terms);
            } else loss_of_rows(&sums, l, i, lanes, weights, s->terms);
            memset(floats, 0, V * padded * sizeof(float));
            transpose(floats, padded, (const float *)lanes, V, A + 1, count);
            for (long k = 0; k < count; k += KSTEP) set_output_gradient(&out, first + i + k, floats + k * padded, g.head_bias);
        }
    }
    backward(&v, &r.x, &out, &g);
    float *at = s->gradient;
    const long K = gates->inputs;
    memset(at, 0, (K * 3 * H + 3 * H + H + 3 * H * H + (A + 1) * H + A + 1) * sizeof(float));
    GateGradients to = {at, at + K * 3 * H, 0, 0, 0, 0};
    to.bias_hn = to.reward_gates + 3 * H, to.weight_hh = to.bias_hn + H, to.head_weight = to.weight_hh + 3 * H * H;
    to.head_bias = to.head_weight + (A + 1) * H;
    add_gradient(&to, &g, H, A + 1);
    for (long root = 0; root < *r.roots; root++) {
        float *extra = l->d_extra ? l->d_extra + (s->first + r.owner[root]) * 3 * H : NULL;
        for (long code = 0; code < O; code++) {
            const float reward = code ? l->payoffs[code - 1] : 0.f, *d = g.inputs + (root * O + code) * 3 * H;
            float *entry = to.table + (code * (A + 1) + (code ? (code - 1) / A : A)) * 3 * H;
            for (long k = 0; k < 3 * H; k++) entry[k] += d[k], to.reward_gates[k] += reward * d[k];
            for (long k = 0; extra && k < 3 * H; k++) extra[k] += d[k];
        }
    }
    free(arena.base);
    return 0;
}

/* The advantages, or the gradient, of pieces until none of the `n` is left; all threads take the number of the next one from
 * *turn. Rows of the table that no game reads get the gradient 0. The caller zeroes d_extra; where games share a row of
 * round 0, the first of them gets the gradient of their extra vector. */
EXPORT int coopctx_actor_critic_advantages(const Gates *gates, const Loss *l, long n, const Share *shares, long *turn) {
    for (long i; (i = __atomic_fetch_add(turn, 1, __ATOMIC_RELAXED)) < n;) advantages(gates, l, shares + i);
    return 0;
}
EXPORT int coopctx_actor_critic_gradient(const Gates *gates, const Loss *l, long n, const Share *shares, long *turn) {
    int status = 0;
    for (long i; !status && (i = __atomic_fetch_add(turn, 1, __ATOMIC_RELAXED)) < n;) status = gradient_of_piece(gates, l, shares + i);
    return status;
}
