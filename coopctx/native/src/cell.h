/* A GRU trunk with a linear head, one step of many rows at a time.
 *
 * The gates are in the order r, z, n, as in torch.nn.GRU. Each row of the batch reads one row of `inputs` (see
 * `fold_input`): the input gates of all that it reads in this step, with b_ih (r, z, n) and b_hh (r, z) folded in:
 *     g   = table[index] + reward * reward_gates + extra                           [3H]
 *     r   = sigmoid(g_r + W_r h)         z = sigmoid(g_z + W_z h)
 *     q   = W_n h + bias_hn              n = tanh(g_n + r q)
 *     h'  = n + z (h - n)                out = head_W swish(h') + head_b,   swish(v) = v sigmoid(v)
 * Since sigmoid(x) = 1 / (1 + 2^(-x log2 e)), everything that goes into a gate is scaled once: by -log2 e for r and z,
 * by twice that for n. */
#pragma once
#include "simd.h"

/* The folded weights in the caller's memory; `coopctx.native.gates`. */
typedef struct {
    long hidden, outputs, inputs; /* H, n_out, K */
    const float *table, *reward_gates, *bias_hn, *weight_hh, *head_weight, *head_bias; /* [K,3H] [3H] [H] [3H,H] [n_out,H] [n_out] */
} Gates;

static const float SCALE = -LOG2E, SCALE_N = -2.f * LOG2E;

/* ---- memory ---- */
typedef struct { char *base, *next; } Arena; /* while base is null, it only counts bytes */
static void *take(Arena *arena, size_t bytes) {
    char *p = arena->next;
    arena->next += (bytes + 63) / 64 * 64;
    return arena->base ? p : NULL;
}

/* Runs TAKE twice: first to count the bytes, then to place what it takes. */
#define WORKSPACE(arena, TAKE)                                                                                          \
    Arena arena = {NULL, NULL};                                                                                         \
    for (int placed = 0; placed < 2; placed++) {                                                                        \
        if (placed) {                                                                                                   \
            if (!(arena.base = aligned_alloc(64, (size_t)arena.next + 64))) return 1;                                    \
            arena.next = arena.base;                                                                                    \
        }                                                                                                               \
        TAKE                                                                                                            \
    }

/* ---- weights ---- */
enum { PAD = 16 }; /* outputs are padded to a multiple of this; the hidden size is one */

typedef struct { /* packed and scaled */
    long hidden, panels, outputs, output_vectors; /* H, H / V, n_out, padded n_out / V */
    const float *table;                           /* not scaled */
    float *reward_gates, *bias_hn, *head_bias;
    elem *recurrent, *head; /* panels of W_hh^T (H deep, 3H columns) and of head_W^T (H deep, n_out columns) */
} Model;

static void place_model(Arena *arena, Model *m, const Gates *gates) {
    const long H = gates->hidden, padded = up(gates->outputs, PAD);
    *m = (Model){H, H / V, gates->outputs, padded / V, gates->table, NULL, NULL, NULL, NULL, NULL};
    m->reward_gates = take(arena, 3 * H * sizeof(float));
    m->bias_hn = take(arena, H * sizeof(float));
    m->head_bias = take(arena, padded * sizeof(float));
    m->recurrent = take(arena, 3 * H * H * sizeof(elem));
    m->head = take(arena, padded * H * sizeof(elem));
}
static void pack_model(Model *m, const Gates *gates) {
    const long H = m->hidden, padded = m->output_vectors * V;
    pack(m->recurrent, gates->weight_hh, H, 2 * H, 1, H, H, 2 * H, SCALE);
    pack(m->recurrent + 2 * H * H, gates->weight_hh + 2 * H * H, H, H, 1, H, H, H, SCALE_N);
    pack(m->head, gates->head_weight, H, m->outputs, 1, H, H, padded, 1.f);
    for (long k = 0; k < 3 * H; k++) m->reward_gates[k] = (k < 2 * H ? SCALE : SCALE_N) * gates->reward_gates[k];
    for (long k = 0; k < H; k++) m->bias_hn[k] = SCALE_N * gates->bias_hn[k];
    memset(m->head_bias, 0, padded * sizeof(float));
    memcpy(m->head_bias, gates->head_bias, m->outputs * sizeof(float));
}
static void take_model(Arena *arena, Model *m, const Gates *gates) {
    place_model(arena, m, gates);
    if (arena->base) pack_model(m, gates);
}

/* A row of `inputs` [3H]: the scaled gates of a table entry, a reward, and an extra vector (the co-player's identity) or null. */
static void fold_input(float *input, const Model *m, long index, float reward, const float *extra) {
    const long H = m->hidden;
    const float *entry = m->table + index * 3 * H;
    for (long k = 0; k < 3 * H; k++)
        input[k] = (k < 2 * H ? SCALE : SCALE_N) * (entry[k] + (extra ? extra[k] : 0.f)) + reward * m->reward_gates[k];
}

/* ---- the cell ---- */
typedef struct { /* of up to `room` rows */
    long room;
    float *h;      /* [H / V][room][V] */
    elem *operand; /* [row][H]: the same, as left operand of a product */
} State;
static void take_state(Arena *arena, State *s, long H, long rows) {
    s->room = rows + MR; /* more, so that panels do not lie a multiple of the cache's period apart */
    s->h = take(arena, s->room * H * sizeof(float)), s->operand = take(arena, rows * H * sizeof(elem));
}
static State state_from(State s, long row, long H) { return (State){s.room, s.h + row * V, s.operand + row * H}; }
static void clear_state(const State *s, long rows, long H) {
    for (long panel = 0; panel < H / V; panel++) memset(s->h + panel * s->room * V, 0, rows * V * sizeof(float));
    memset(s->operand, 0, rows * H * sizeof(elem));
}

enum { R, Z, N, Q, BEFORE, SAVED }; /* what is saved for backward; BEFORE is the state before the step, Q is scaled */
typedef struct {
    elem *panels;  /* [H / V][token / KSTEP][SAVED][V][KSTEP], aligned to 64 bytes, or null. What is read together lies together. */
    long tokens;   /* for which a panel has room */
} Saved;
INLINE elem *saved_at(const Saved *s, long panel, long token) { return s->panels + (panel * s->tokens + token) * SAVED * V; }

typedef struct { /* a step of `rows` rows, a multiple of MR */
    long rows;
    const float *inputs;     /* [.][3H] */
    const int32_t *input;    /* [rows]: of `inputs` */
    const float *reward;     /* [rows]: rewards to add to the inputs; or null */
    State before, after;     /* before.operand: [rows] */
    const int32_t *parent;   /* [rows]: the row of `before` whose h a row goes on from; null: its own number */
    elem *swish;             /* swish(h') as left operand [row][H], or null */
    Saved saved;             /* from this step's first token on */
} Step;

typedef struct { /* a tile of MR rows and V units between its product and its new state */
    long panel, row;
    vec sum[MR][NR];       /* W h: r, z, n */
    vec r[MR], z[MR], n[MR], q[MR], h[MR], next[MR];
} Tile;

INLINE vec input_gate(const Model *m, const Step *s, const Tile *t, long k, long gate, const int rewarded) {
    const long H = m->hidden, row = t->row + k, unit = gate * H + t->panel * V;
    const vec known = load(s->inputs + s->input[row] * 3 * H + unit);
    return rewarded ? known + s->reward[row] * load(m->reward_gates + unit) : known;
}
/* The gates in three parts, so that the processor works on several rows' chains of operations while it multiplies. */
INLINE void gates_rz(const Model *m, const Step *s, Tile *t, long k, const int rewarded) {
    const int degree = BF16 ? 3 : 5;
    t->r[k] = reciprocal(1.f + power(t->sum[k][0] + input_gate(m, s, t, k, 0, rewarded), degree));
    t->z[k] = reciprocal(1.f + power(t->sum[k][1] + input_gate(m, s, t, k, 1, rewarded), degree));
}
INLINE void gate_n(const Model *m, const Step *s, Tile *t, long k, const int rewarded) {
    const long row = t->row + k;
    const vec q = t->sum[k][2] + load(m->bias_hn + t->panel * V);
    const vec e = power(input_gate(m, s, t, k, 2, rewarded) + t->r[k] * q, BF16 ? 3 : 5);
    const vec n = BF16 ? 2.f * reciprocal(1.f + e) - 1.f : 2.f / (1.f + e) - 1.f;
    const vec h = load(s->before.h + (t->panel * s->before.room + (s->parent ? s->parent[row] : row)) * V);
    t->q[k] = q, t->n[k] = n, t->h[k] = h;
    t->next[k] = n + t->z[k] * (h - n);
}
INLINE void emit(const Model *m, const Step *s, const Tile *t, long k, const int saving) {
    const long H = m->hidden;
    UNROLL for (int j = 0; j < KSTEP; j++) {
        const long i = k + j, at = (t->row + i) * H + t->panel * V;
        store(s->after.h + (t->panel * s->after.room + t->row + i) * V, t->next[i]);
        put_row(s->after.operand + at, t->next[i]);
        if (s->swish) put_row(s->swish + at, t->next[i] * sigmoid_of_state(t->next[i]));
    }
    if (!saving) return;
    const long stride = V * KSTEP;
    elem *to = saved_at(&s->saved, t->panel, t->row + k);
    put_away(to + R * stride, t->r + k), put_away(to + Z * stride, t->z + k), put_away(to + N * stride, t->n + k);
    put_away(to + Q * stride, t->q + k), put_away(to + BEFORE * stride, t->h + k);
}
/* tile->sum = W h; meanwhile the tile before goes through the gates, a third of `group` of its rows at a time. */
INLINE void multiply_tile(const Model *m, const Step *s, Tile *tile, Tile *previous, const int saving, const int rewarded,
                          const int overlap, const int group) {
    const long H = m->hidden, stride = m->panels * H * V;
    const elem *a = s->before.operand + tile->row * H, *b = m->recurrent + tile->panel * H * V;
    vec sum[MR][NR] = {{{0}}};
    for (long k = 0, part = 0, done = 0; k < MR; part++) { /* one loop, so that all sums stay in registers */
        const long depth = (k * 3 + (part + 1) * group) * (H / KSTEP) / (3 * MR) - done;
        multiply(sum, 3, a, H, KSTEP, b, stride, depth);
        a += depth * KSTEP, b += depth * KSTEP * V, done += depth;
        if (part == 0) {
            if (overlap) UNROLL for (int i = 0; i < group; i++) gates_rz(m, s, previous, k + i, rewarded);
        } else if (part == 1) {
            if (overlap) UNROLL for (int i = 0; i < group; i++) gate_n(m, s, previous, k + i, rewarded);
        } else {
            if (overlap) UNROLL for (int i = 0; i < group; i += KSTEP) emit(m, s, previous, k + i, saving);
            part = -1, k += group;
        }
    }
    UNROLL for (int k = 0; k < MR; k++)
        UNROLL for (int j = 0; j < NR; j++) tile->sum[k][j] = sum[k][j];
}
/* known: the hidden size, so that the compiler knows all distances in memory, or 0. */
INLINE void cell_any(const Model *model, const Step *step, const int saving, const int rewarded, const long known) {
    Model m = *model; /* copies, which no store can change */
    const Step s = *step;
    if (known) m.hidden = known, m.panels = known / V;
    const int group = known == 64 && MR == 8 ? 2 * KSTEP : KSTEP; /* measured: parts of about five steps of the product are fastest */
    Tile tiles[2], *tile = tiles, *previous = tiles + 1;
    tile->panel = tile->row = 0;
    multiply_tile(&m, &s, tile, previous, saving, rewarded, 0, group);
    for (long n = 1; n < m.panels * (s.rows / MR); n++) {
        Tile *swap = tile;
        tile = previous, previous = swap;
        tile->row = previous->row + MR, tile->panel = previous->panel;
        if (tile->row == s.rows) tile->row = 0, tile->panel++;
        multiply_tile(&m, &s, tile, previous, saving, rewarded, 1, group);
    }
    for (long k = 0; k < MR; k++) gates_rz(&m, &s, tile, k, rewarded);
    for (long k = 0; k < MR; k++) gate_n(&m, &s, tile, k, rewarded);
    for (long k = 0; k < MR; k += KSTEP) emit(&m, &s, tile, k, saving);
    if (saving) settle();
}
INLINE void cell_of(const Model *m, const Step *s, const long known) {
    if (s->saved.panels) cell_any(m, s, 1, 0, known);
    else if (s->reward) cell_any(m, s, 0, 1, known);
    else cell_any(m, s, 0, 0, known);
}
static __attribute__((noinline)) void cell(const Model *m, const Step *s) {
    if (m->hidden == 64) cell_of(m, s, 64); /* the presets' sizes */
    else if (m->hidden == 128) cell_of(m, s, 128);
    else cell_of(m, s, 0);
}
/* out [row][padded n_out] of the states whose swish is given. */
static void head(const Model *m, long rows, const elem *swish, float *out) {
    const long H = m->hidden, padded = m->output_vectors * V;
    for (long i = 0; i < rows; i++) memcpy(out + i * padded, m->head_bias, padded * sizeof(float));
    product(rows, m->output_vectors, H / KSTEP, swish, V * H, H, KSTEP, m->head, H * V, out, padded);
}
