/* Batches of recorded sequences: the trunk's outputs, of all rounds or round by round, and the gradient of anything that is
 * computed from the outputs. */
#pragma once
#include "train.h"

/* The input of a token: a row of the table, a reward and an extra vector. Few inputs of a batch differ, so the gates of each
 * different one are computed once. */
typedef struct {
    int32_t index, row; /* row: the row whose extra vector it has, or -1 */
    float reward;
    int32_t next; /* an older input with the same index, or -1 */
} Input;
enum { LOOK_AT = 8 }; /* older inputs of the same index to compare with, no more: rewards could all differ */

typedef struct { /* a block of up to ROWS sequences */
    History x;
    int32_t *n_inputs; /* [1] */
    int32_t *newest;   /* [K]: the newest input of each index, or -1 */
    Input *list;       /* [n_inputs] */
} Sequences;

static void place_sequences(Arena *arena, Sequences *s, const Gates *gates, long rows, long rounds, int saving) {
    place_history(arena, &s->x, gates->hidden, rows, rounds, saving);
    s->n_inputs = take(arena, sizeof *s->n_inputs), s->newest = take(arena, gates->inputs * sizeof *s->newest);
    s->list = take(arena, s->x.tokens * sizeof(Input));
}
static void begin_sequences(Sequences *s, long K) {
    *s->n_inputs = 0;
    memset(s->newest, 255, K * sizeof(int32_t));
    for (long t = 0; t <= s->x.rounds; t++) s->x.first[t] = (int32_t)(t * s->x.rows);
    memset(s->x.straight, 1, s->x.rounds);
}
static int32_t number_of(Sequences *s, long index, float reward, long row) {
    int32_t at = s->newest[index];
    for (long looked = 0; at >= 0 && looked < LOOK_AT; looked++, at = s->list[at].next)
        if (s->list[at].row == row && !memcmp(&s->list[at].reward, &reward, sizeof reward)) return at;
    s->list[*s->n_inputs] = (Input){(int32_t)index, (int32_t)row, reward, s->newest[index]};
    return s->newest[index] = (*s->n_inputs)++;
}
/* Number the inputs of `count` sequences of index and reward [count,T]; rows beyond `count` repeat the last one. */
static void read_sequences(Sequences *s, long K, long count, long T, const int32_t *index, const float *reward, int identified) {
    begin_sequences(s, K);
    for (long i = 0; i < s->x.rows; i++) {
        const long row = i < count ? i : count - 1;
        for (long t = 0; t < T; t++)
            s->x.input[t * s->x.rows + i] = number_of(s, index[row * T + t], reward[row * T + t], identified ? row : -1);
    }
}

typedef struct { /* of a block: its forward pass */
    Model m;
    State states[2];
    elem *swish;
    float *inputs, *out; /* out: [row][padded n_out] */
} Pass;

/* Memory. rows: those whose state is kept. block: those that are stepped at once. inputs: folded inputs that are kept. */
static void place_pass(Arena *arena, Pass *p, const Gates *gates, long rows, long block, long inputs) {
    const long H = gates->hidden;
    place_model(arena, &p->m, gates);
    for (int i = 0; i < 2; i++) take_state(arena, p->states + i, H, rows);
    p->swish = take(arena, block * H * sizeof(elem)), p->out = take(arena, block * p->m.output_vectors * V * sizeof(float));
    p->inputs = take(arena, inputs * 3 * H * sizeof(float));
}
static void take_pass(Arena *arena, Pass *p, const Gates *gates, long rows, long rounds) {
    place_pass(arena, p, gates, rows, rows, rows * rounds);
    if (arena->base) pack_model(&p->m, gates);
}
static void begin_pass(Pass *p, const Sequences *s, const float *extra) {
    const long H = p->m.hidden;
    for (long i = 0; i < *s->n_inputs; i++) {
        const Input *input = s->list + i;
        fold_input(p->inputs + i * 3 * H, &p->m, input->index, input->reward, extra ? extra + input->row * 3 * H : NULL);
    }
    clear_state(p->states, s->x.rows, H);
}
/* The outputs of round t. */
static void forward_round(Pass *p, const Sequences *s, long t) {
    const History *x = &s->x;
    const Step step = {x->rows, p->inputs, x->input + x->first[t], NULL, p->states[t % 2], p->states[(t + 1) % 2], NULL, p->swish,
                       saved_from(x, t)};
    cell(&p->m, &step);
    head(&p->m, x->rows, p->swish, p->out);
}

/* Add a block's gradient of its inputs to those of the table, the reward's gates and d_extra ([row][3H] or null). */
static void unfold_inputs(const Sequences *s, const Gradient *g, long H, float *d_table, float *d_reward_gates, float *d_extra) {
    for (long i = 0; i < *s->n_inputs; i++) {
        const Input *input = s->list + i;
        const float *d = g->inputs + i * 3 * H;
        float *entry = d_table + input->index * 3 * H, *extra = d_extra ? d_extra + input->row * 3 * H : NULL;
        for (long k = 0; k < 3 * H; k++) entry[k] += d[k], d_reward_gates[k] += input->reward * d[k];
        for (long k = 0; extra && k < 3 * H; k++) extra[k] += d[k];
    }
}

/* The gradient of the weights in the caller's memory, of the shapes of Gates'; zeroed by the caller. */
typedef struct {
    float *table, *reward_gates, *bias_hn, *weight_hh, *head_weight, *head_bias;
} GateGradients;
static void add_gradient(const GateGradients *to, const Gradient *g, long H, long outputs) {
    for (long k = 0; k < H; k++) to->bias_hn[k] += g->bias_hn[k];
    for (long i = 0; i < 3 * H; i++)
        for (long k = 0; k < H; k++) to->weight_hh[i * H + k] += g->weight_hh[k * 3 * H + i];
    for (long k = 0; k < outputs * H; k++) to->head_weight[k] += g->head_weight[k];
    for (long k = 0; k < outputs; k++) to->head_bias[k] += g->head_bias[k];
}

/* ---- outputs of sequences, and the gradient of anything that is computed from them ---- */
/* Bytes, aligned to 64, of what coopctx_forward saves for coopctx_backward. */
EXPORT size_t coopctx_saved_bytes(const Gates *gates, long B, long T) {
    Arena arena = {NULL, NULL};
    Sequences block;
    for (long start = 0; start < B; start += ROWS) place_sequences(&arena, &block, gates, smaller(ROWS, B - start), T, 1);
    return (size_t)arena.next + 64;
}
/* outputs [B,T,n_out] from index and reward [B,T]; extra [B,3H], or null; `saved` may be null. */
EXPORT int coopctx_forward(const Gates *gates, long B, long T, const float *extra, const int32_t *index, const float *reward,
                           float *outputs, char *saved) {
    const long H = gates->hidden, n_out = gates->outputs, rows = smaller(up(B, MR), ROWS);
    Pass p;
    Sequences s;
    Arena kept = {saved, saved};
    WORKSPACE(arena, take_pass(&arena, &p, gates, rows, T); if (!saved) place_sequences(&arena, &s, gates, rows, T, 0);)
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        if (saved) place_sequences(&kept, &s, gates, count, T, 1);
        else s.x.rows = up(count, MR);
        read_sequences(&s, gates->inputs, count, T, index + start * T, reward + start * T, extra != NULL);
        begin_pass(&p, &s, extra ? extra + start * 3 * H : NULL);
        for (long t = 0; t < T; t++) {
            forward_round(&p, &s, t);
            for (long i = 0; i < count; i++)
                memcpy(outputs + ((start + i) * T + t) * n_out, p.out + i * p.m.output_vectors * V, n_out * sizeof(float));
        }
    }
    free(arena.base);
    return 0;
}
/* ---- the same round by round, while the rows are played ---- */
typedef struct { /* stays in the caller's memory from the first round to the last */
    Pass p;       /* its states are of all rows */
    int32_t *own; /* [ROWS]: 0, 1, 2, ... */
} Walk;
static void place_walk(Arena *arena, Walk *w, const Gates *gates, long B) {
    place_pass(arena, &w->p, gates, up(B, MR), ROWS, ROWS);
    w->own = take(arena, ROWS * sizeof(int32_t));
}
/* Bytes of scratch memory (aligned to 64) that coopctx_advance needs. */
EXPORT size_t coopctx_advance_bytes(const Gates *gates, long B) {
    Arena arena = {NULL, NULL};
    Walk w;
    place_walk(&arena, &w, gates, B);
    return (size_t)arena.next;
}
/* Round t of T for all rows at once: from index and reward [B] it writes the outputs of row i to outputs + i * output_stride.
 * `saved` may be null; otherwise it is what coopctx_forward leaves, after the last round. Round 0 packs the weights into
 * `scratch`, where they stay with the states. */
EXPORT int coopctx_advance(const Gates *gates, long B, long T, long t, const float *extra, const int32_t *index,
                           const float *reward, float *outputs, long output_stride, char *saved, char *scratch) {
    const long H = gates->hidden, n_out = gates->outputs;
    Arena arena = {scratch, scratch}, kept = {saved, saved};
    Walk w;
    Pass *p = &w.p;
    Sequences s;
    place_walk(&arena, &w, gates, B);
    if (!t) {
        pack_model(&p->m, gates);
        clear_state(p->states, up(B, MR), H);
        for (int32_t i = 0; i < ROWS; i++) w.own[i] = i;
    }
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start), rows = up(count, MR);
        if (saved) place_sequences(&kept, &s, gates, count, T, 1);
        if (saved && !t) begin_sequences(&s, gates->inputs);
        for (long i = 0; i < rows; i++) {
            const long k = i < count ? i : count - 1, row = start + k;
            fold_input(p->inputs + i * 3 * H, &p->m, index[row], reward[row], extra ? extra + row * 3 * H : NULL);
            if (saved) s.x.input[t * rows + i] = number_of(&s, index[row], reward[row], extra ? k : -1);
        }
        const Step step = {rows, p->inputs, w.own, NULL, state_from(p->states[t % 2], start, H),
                           state_from(p->states[(t + 1) % 2], start, H), NULL, p->swish, saved ? saved_from(&s.x, t) : (Saved){0}};
        cell(&p->m, &step);
        head(&p->m, rows, p->swish, p->out);
        for (long i = 0; i < count; i++)
            memcpy(outputs + (start + i) * output_stride, p->out + i * p->m.output_vectors * V, n_out * sizeof(float));
    }
    return 0;
}

/* Adds to zeroed gradients, of the shapes of Gates' and extra [B,3H] or null, those of sum(outputs * d_outputs). */
EXPORT int coopctx_backward(const Gates *gates, long B, long T, char *saved, const float *d_outputs, const GateGradients *to,
                            float *d_extra) {
    const long H = gates->hidden, n_out = gates->outputs, padded = up(n_out, PAD), rows = smaller(up(B, MR), ROWS);
    Reverse v;
    OutputGradient out;
    Gradient g;
    Sequences s;
    float *buffer;
    char *begin;
    Arena kept = {saved, saved};
    WORKSPACE(arena, take_reverse(&arena, &v, gates, rows); place_output_gradient(&arena, &out, n_out, rows * T);
              buffer = take(&arena, KSTEP * padded * sizeof(float)); begin = arena.next;
              place_gradient(&arena, &g, H, n_out, rows * T);)
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        place_sequences(&kept, &s, gates, count, T, 1);
        Arena again = {begin, begin};
        place_gradient(&again, &g, H, n_out, *s.n_inputs);
        for (long t = 0; t < T; t++)
            for (long i = 0; i < s.x.rows; i += KSTEP) {
                memset(buffer, 0, KSTEP * padded * sizeof(float));
                for (long e = 0; e < KSTEP && i + e < count; e++)
                    memcpy(buffer + e * padded, d_outputs + ((start + i + e) * T + t) * n_out, n_out * sizeof(float));
                set_output_gradient(&out, t * s.x.rows + i, buffer, g.head_bias);
            }
        backward(&v, &s.x, &out, &g);
        add_gradient(to, &g, H, n_out);
        unfold_inputs(&s, &g, H, to->table, to->reward_gates, d_extra ? d_extra + start * 3 * H : NULL);
    }
    free(arena.base);
    return 0;
}
