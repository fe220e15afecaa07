/* The losses of PPI's self- and world-model on recorded episodes, and their gradients (App. A.3.1).
 *
 * The outputs are A action logits, then [A,O] logits of the next observation given the own action, then [A,O] rewards given
 * the own action and the next observation. V rows are computed at a time, one per lane. */
#pragma once
#include "sequences.h"

/* Negative log-likelihood of class `chosen` under softmax(logits[0..n)), lane by lane: the maximum minus the chosen logit is
 * added to l->sum, and the normaliser is multiplied into l->product, so that one logarithm serves many rows. The logits
 * become their gradients. */
typedef struct { double sum, product; } Likelihood;
INLINE void likelihood(Likelihood *l, vec *logits, long n, ivec chosen, long count) {
    vec top = maximum(logits, n), total = {0}, taken = {0};
    for (long i = 0; i < n; i++) {
        taken += blend(chosen == (int32_t)i, logits[i], (vec){0});
        total += logits[i] = exponential(logits[i] - top);
    }
    for (long i = 0; i < n; i++) logits[i] = logits[i] / total - blend(chosen == (int32_t)i, splat(1.f), (vec){0});
    l->sum += sum_of(top - taken, count);
    for (long i = 0; i < count; i++) l->product *= total[i];
    if (l->product > 1e200) l->sum += log(l->product), l->product = 1.;
}

typedef struct { /* sums over rows, and the weights of the losses' gradients */
    Likelihood of_action, of_observation;
    double squares;
    float w_observation, w_action, w_reward;
} Losses;
/* The losses of `count` rows with outputs `lanes` [n_out], which become their gradients; logits: room for O. */
INLINE void head_losses(Losses *l, long A, long O, long count, const ivec a, const ivec o, const vec reward, vec *lanes,
                        vec *logits) {
    vec error = -reward;
    likelihood(&l->of_action, lanes, A, a, count);
    for (long k = 0; k < O; k++) {
        logits[k] = (vec){0};
        for (long i = 0; i < A; i++) {
            const ivec taken = a == (int32_t)i;
            logits[k] = blend(taken, lanes[A + i * O + k], logits[k]);
            error += blend(taken & (o == (int32_t)k), lanes[A + (A + i) * O + k], (vec){0});
        }
    }
    likelihood(&l->of_observation, logits, O, o, count);
    l->squares += sum_of(error * error, count);
    for (long i = 0; i < A; i++) {
        const ivec taken = a == (int32_t)i;
        lanes[i] *= l->w_action;
        for (long k = 0; k < O; k++) {
            lanes[A + i * O + k] = blend(taken, l->w_observation * logits[k], (vec){0});
            lanes[A + (A + i) * O + k] = blend(taken & (o == (int32_t)k), l->w_reward * error, (vec){0});
        }
    }
}
static double sum_over_rows(const Likelihood *l) { return l->sum + log(l->product); }

typedef struct { /* some episodes: [.,T+1], [.,T], [.,T] */
    long count, A, O, T;
    const uint8_t *observations, *actions;
    const float *rewards;
} Episodes;

typedef struct { /* of a block: its passes forward and backward */
    int32_t *index; /* [ROWS,T] */
    float *reward;
    Pass pass;
    Sequences s;
    Reverse v;
    OutputGradient out;
    Gradient g;
    char *of_gradient; /* where g lies */
    vec *lanes, *logits;
    float *rows; /* [V][padded n_out] */
} Fit;
static void take_fit(Arena *arena, Fit *f, const Gates *gates, long rows, long T) {
    const long H = gates->hidden, n_out = gates->outputs;
    f->index = take(arena, rows * T * sizeof(int32_t)), f->reward = take(arena, rows * T * sizeof(float));
    take_pass(arena, &f->pass, gates, rows, T);
    place_sequences(arena, &f->s, gates, rows, T, 1);
    take_reverse(arena, &f->v, gates, rows);
    place_output_gradient(arena, &f->out, n_out, rows * T);
    f->lanes = take(arena, up(n_out, PAD) * sizeof(vec)), f->logits = take(arena, n_out * sizeof(vec));
    f->rows = take(arena, V * up(n_out, PAD) * sizeof(float));
    f->of_gradient = arena->next; /* placed last: only as many inputs are cleared as there are */
    Arena end = {NULL, arena->next};
    place_gradient(&end, &f->g, H, n_out, rows * T);
    arena->next = end.next;
}
/* Bytes of scratch memory (aligned to 64) that coopctx_prediction_loss needs; the caller keeps it between calls, since
 * fresh pages cost as much as the arithmetic. */
EXPORT size_t coopctx_prediction_loss_bytes(const Gates *gates, long B, long T) {
    Arena arena = {NULL, NULL};
    Fit f;
    take_fit(&arena, &f, gates, smaller(up(B, MR), ROWS), T);
    return (size_t)arena.next;
}
/* The losses of round t of the block's `count` rows, the episodes numbered `games`, and the gradients of their outputs. */
static void losses_of_round(Fit *f, Losses *l, const Episodes *e, const int64_t *games, long count, long t) {
    const long padded = f->pass.m.output_vectors * V, n_out = f->pass.m.outputs;
    for (long i = 0; i < f->s.x.rows; i += V) {
        const long rows = smaller(V, f->s.x.rows - i), known = smaller(V, count - i);
        ivec a = {0}, o = {0};
        vec reward = {0};
        for (long k = 0; k < known; k++) {
            a[k] = e->actions[games[i + k] * e->T + t], o[k] = e->observations[games[i + k] * (e->T + 1) + t + 1];
            reward[k] = e->rewards[games[i + k] * e->T + t];
        }
        transpose((float *)f->lanes, V, f->pass.out + i * padded, padded, rows, n_out);
        if (e->A == 2 && e->O == 5) head_losses(l, 2, 5, known, a, o, reward, f->lanes, f->logits); /* the Prisoner's Dilemma */
        else head_losses(l, e->A, e->O, known, a, o, reward, f->lanes, f->logits);
        memset(f->rows, 0, V * padded * sizeof(float));
        transpose(f->rows, padded, (const float *)f->lanes, V, n_out, known);
        for (long k = 0; k < rows; k += KSTEP) set_output_gradient(&f->out, f->s.x.first[t] + i + k, f->rows + k * padded, f->g.head_bias);
    }
}
/* Losses [3], the means over B T tokens of the negative log-likelihoods of the next observation (given the action) and of
 * the action, and of the squared error of the reward predicted for both, on B of the episodes, those numbered `games`;
 * and the gradients of their sum weighted by `weights` [3], added as by coopctx_backward. Returns 2 if an episode's number
 * is not below their count, an action not below A or an observation not below O. */
EXPORT int coopctx_prediction_loss(const Gates *gates, const Episodes *e, long B, const int64_t *games, const float *extra,
                                   const float *weights, char *scratch, float *losses, const GateGradients *to, float *d_extra) {
    const long H = gates->hidden, n_out = gates->outputs, T = e->T, rows = smaller(up(B, MR), ROWS);
    const float N = (float)(B * T);
    Arena arena = {scratch, scratch};
    Fit f;
    take_fit(&arena, &f, gates, rows, T);
    Losses l = {{0., 1.}, {0., 1.}, 0., weights[0] / N, weights[1] / N, 2.f * weights[2] / N};
    for (long i = 0; i < B; i++)
        if (games[i] < 0 || games[i] >= e->count) return 2;
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        int outside = 0;
        for (long i = 0; i < count; i++) {
            const uint8_t *observation = e->observations + games[start + i] * (T + 1), *action = e->actions + games[start + i] * T;
            const float *reward = e->rewards + games[start + i] * T;
            for (long t = 0; t < T; t++) {
                f.index[i * T + t] = (int32_t)(observation[t] * (e->A + 1) + (t ? action[t - 1] : e->A));
                f.reward[i * T + t] = t ? reward[t - 1] : 0.f;
                outside |= action[t] >= e->A || observation[t] >= e->O || observation[t + 1] >= e->O;
            }
        }
        if (outside) return 2;
        f.s.x.rows = up(count, MR);
        read_sequences(&f.s, gates->inputs, count, T, f.index, f.reward, extra != NULL);
        begin_pass(&f.pass, &f.s, extra ? extra + start * 3 * H : NULL);
        Arena of_gradient = {f.of_gradient, f.of_gradient};
        place_gradient(&of_gradient, &f.g, H, n_out, *f.s.n_inputs);
        for (long t = 0; t < T; t++) {
            forward_round(&f.pass, &f.s, t);
            losses_of_round(&f, &l, e, games + start, count, t);
        }
        backward(&f.v, &f.s.x, &f.out, &f.g);
        add_gradient(to, &f.g, H, n_out);
        unfold_inputs(&f.s, &f.g, H, to->table, to->reward_gates, d_extra ? d_extra + start * 3 * H : NULL);
    }
    const double sums[3] = {sum_over_rows(&l.of_observation), sum_over_rows(&l.of_action), l.squares};
    for (int i = 0; i < 3; i++) losses[i] = (float)(sums[i] / ((double)B * (double)T));
    return 0;
}
