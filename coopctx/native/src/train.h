/* Gradients of the trunk by back-propagation through all rounds.
 *
 * With D = dL/dh' (from the head and from the next step) and a_* the arguments of the three gates:
 *     da_n = D (1-z)(1-n^2)    da_z = D (h-n) z(1-z)    da_r = da_n q r(1-r)    dq = da_n r
 *     dh   = D z + W^T [da_r, da_z, dq]                 dW = sum over tokens of [da_r, da_z, dq] h^T
 * A token is one step of one row. The tokens of a round are numbered from `first` on, and `parent` says which row of the
 * round before a row goes on from: several games with the same history are one row (see play.h). */
#pragma once
#include "cell.h"

enum {
    ROWS = 64,   /* rows per block of a batch */
    CHUNK = 256, /* tokens per product of weight gradients */
};

typedef struct { /* what rows have read, round by round, and what the cell saved */
    long rows, rounds, tokens; /* the most rows of a round (a multiple of MR), and the most tokens of all rounds */
    int32_t *first;            /* [rounds + 1]: a round's first token; a multiple of MR */
    int32_t *input, *parent;   /* [tokens]: numbers among the inputs, and among the rows of the round before */
    uint8_t *straight;         /* [rounds]: every row's parent is the row of its own number */
    Saved saved;
} History;

static void place_history(Arena *arena, History *x, long H, long rows, long rounds, int saving) {
    *x = (History){.rows = up(rows, MR), .rounds = rounds};
    x->tokens = x->rows * rounds;
    x->first = take(arena, (rounds + 1) * sizeof(int32_t));
    x->input = take(arena, x->tokens * sizeof(int32_t)), x->parent = take(arena, x->tokens * sizeof(int32_t));
    x->straight = take(arena, rounds);
    x->saved.tokens = x->tokens + MR; /* more, so that panels do not lie a multiple of the cache's period apart */
    x->saved.panels = saving ? take(arena, SAVED * H * x->saved.tokens * sizeof(elem)) : NULL;
}
static Saved saved_from(const History *x, long t) {
    return (Saved){x->saved.panels ? saved_at(&x->saved, 0, x->first[t]) : NULL, x->saved.tokens};
}

typedef struct { /* gradient of the outputs: as left operand [token][padded n_out], and as panels over `tokens` */
    long tokens, depth, vectors;
    elem *rows, *panels;
} OutputGradient;

static void place_output_gradient(Arena *arena, OutputGradient *d, long outputs, long tokens) {
    d->tokens = tokens, d->depth = up(outputs, KSTEP), d->vectors = up(outputs, PAD) / V;
    d->rows = take(arena, tokens * d->depth * sizeof(elem));
    d->panels = take(arena, tokens * d->vectors * V * sizeof(elem));
}
/* Set tokens first .. first + KSTEP - 1 from rows of padded floats, which are added to `sum`. */
INLINE void set_output_gradient(const OutputGradient *d, long first, const float *rows, float *sum) {
    const long padded = d->vectors * V;
    for (long e = 0; e < KSTEP; e++)
        for (long j = 0; j < d->depth; j++) d->rows[(first + e) * d->depth + j] = to_elem(rows[e * padded + j]);
    for (long j = 0; j < d->vectors; j++) {
        vec x[KSTEP];
        for (long e = 0; e < KSTEP; e++) x[e] = load(rows + e * padded + j * V), store(sum + j * V, load(sum + j * V) + x[e]);
        put(d->panels + (j * d->tokens + first) * V, x);
    }
}

typedef struct { /* sums over tokens */
    float *inputs;                  /* [.][3H]: of the gates' inputs, unscaled */
    float *bias_hn, *weight_hh;     /* [H], [H][3H]: transposed */
    float *head_weight, *head_bias; /* [n_out padded to PAD][H], [.] */
} Gradient;

static void place_gradient(Arena *arena, Gradient *g, long H, long outputs, long inputs) {
    const char *from = arena->next;
    g->inputs = take(arena, inputs * 3 * H * sizeof(float)), g->bias_hn = take(arena, H * sizeof(float));
    g->weight_hh = take(arena, 3 * H * H * sizeof(float));
    g->head_weight = take(arena, up(outputs, PAD) * H * sizeof(float));
    g->head_bias = take(arena, up(outputs, PAD) * sizeof(float));
    if (arena->base) memset((void *)from, 0, arena->next - from);
}

typedef struct { /* packed weights and buffers */
    long hidden, panels, outputs;
    elem *recurrent, *head; /* panels of W_hh (3H deep, H columns) and of head_W (n_out deep, H columns) */
    float *dh, *spare;      /* [H / V][rows][V]: dL/dh of the present round, and of the one before where rows meet there */
    elem *dgates[2];        /* left operand of a tile: [MR][3H] of da_r, da_z, dq */
    elem *dgates_panels, *swish_panels; /* over the tokens of a chunk, at most `room` */
    long room, rows;
} Reverse;

static void take_reverse(Arena *arena, Reverse *v, const Gates *gates, long rows) {
    const long H = gates->hidden, depth = up(gates->outputs, KSTEP);
    *v = (Reverse){.hidden = H, .panels = H / V, .outputs = gates->outputs};
    v->room = (CHUNK > up(rows, MR) ? CHUNK : up(rows, MR)) + MR; /* no multiple of the cache's period */
    v->recurrent = take(arena, 3 * H * H * sizeof(elem)), v->head = take(arena, depth * H * sizeof(elem));
    v->rows = up(rows, MR) + MR;
    v->dh = take(arena, v->rows * H * sizeof(float)), v->spare = take(arena, v->rows * H * sizeof(float));
    for (int i = 0; i < 2; i++) v->dgates[i] = take(arena, MR * 3 * H * sizeof(elem));
    v->dgates_panels = take(arena, v->room * 3 * H * sizeof(elem)), v->swish_panels = take(arena, v->room * H * sizeof(elem));
    if (!arena->base) return;
    pack(v->recurrent, gates->weight_hh, 3 * H, H, H, 1, 3 * H, H, 1.f);
    pack(v->head, gates->head_weight, gates->outputs, H, H, 1, depth, H, 1.f);
}

typedef struct { /* MR rows of one round */
    long round, row;
    elem *dgates;
} BackTile;
typedef struct {
    const Reverse *v;
    const History *x;
    const OutputGradient *out;
    const Gradient *g;
    float *dh;
    long chunk; /* its first token */
} Back;

/* The elementwise operations on KSTEP rows of a tile and V units, in PARTS that are short enough for the processor to run each
 * one's chain of operations while it multiplies: the gradient from the head, then each row's gates, then the panels. */
enum { PARTS = KSTEP + 2 };
typedef struct { vec from_head[KSTEP], swish[KSTEP], d[3][KSTEP]; } Pair;

INLINE void head_backward(const Back *b, const BackTile *tile, Pair *pair, long k, long panel) {
    const long token = b->x->first[tile->round] + tile->row + k;
    const elem *saved = saved_at(&b->x->saved, panel, token), *head = b->v->head + panel * b->out->depth * V;
    UNROLL for (int e = 0; e < KSTEP; e++) {
        const vec n = get_one(saved + N * V * KSTEP, e), change = get_one(saved + BEFORE * V * KSTEP, e) - n;
        const vec h = n + get_one(saved + Z * V * KSTEP, e) * change, gate = sigmoid_of_state(h), swish = h * gate;
        const elem *dout = b->out->rows + (token + e) * b->out->depth;
        vec sum = {0};
        for (long j = 0; j < b->out->depth; j += KSTEP) sum = dot(sum, splat_elems(dout + j), load_elems(head + j * V));
        pair->from_head[e] = sum * (gate + swish * (1.f - gate)), pair->swish[e] = swish;
    }
}
INLINE void gates_backward(const Back *b, const BackTile *tile, Pair *pair, long k, long panel, const int e) {
    const long H = b->v->hidden, row = tile->row + k + e, token = b->x->first[tile->round] + row;
    const elem *saved = saved_at(&b->x->saved, panel, token - e);
    const vec r = get_one(saved + R * V * KSTEP, e), z = get_one(saved + Z * V * KSTEP, e), n = get_one(saved + N * V * KSTEP, e);
    const vec q = get_one(saved + Q * V * KSTEP, e), change = get_one(saved + BEFORE * V * KSTEP, e) - n;
    float *dh = b->dh + (panel * b->v->rows + row) * V, *sum = b->g->inputs + b->x->input[token] * 3 * H + panel * V;
    const vec D = load(dh) + pair->from_head[e], kept = D * z;
    store(dh, kept);
    const vec dn = (D - kept) * (1.f - n * n), dz = kept * (1.f - z) * change, dq = dn * r;
    const vec dr = dq * q * (1.f / SCALE_N - 1.f / SCALE_N * r); /* q is scaled */
    const vec of_gate[3] = {dr, dz, dq}, of_input[3] = {dr, dz, dn};
    UNROLL for (int i = 0; i < 3; i++) {
        put_row(tile->dgates + (k + e) * 3 * H + i * H + panel * V, of_gate[i]);
        store(sum + i * H, load(sum + i * H) + of_input[i]);
        pair->d[i][e] = of_gate[i];
    }
}
INLINE void panels_backward(const Back *b, const BackTile *tile, const Pair *pair, long k, long panel) {
    const long panels = b->v->panels, length = b->v->room, token = b->x->first[tile->round] + tile->row + k;
    const long rows = b->x->first[tile->round + 1] - b->x->first[tile->round];
    UNROLL for (int i = 0; i < 3; i++)
        put(b->v->dgates_panels + ((panel + i * panels) * length + token - b->chunk) * V, pair->d[i]);
    put(b->v->swish_panels + (panel * length + token - b->chunk) * V, pair->swish);
    float *bias = b->g->bias_hn + panel * V;
    vec sum = load(bias);
    UNROLL for (int e = 0; e < KSTEP; e++) sum += pair->d[2][e];
    store(bias, sum);
    const elem *saved = saved_at(&b->x->saved, panel, token - rows); /* the same rows, a round earlier */
    UNROLL for (int i = 0; i < SAVED; i++) prefetch(saved + i * V * KSTEP);
}
INLINE void part_backward(const Back *b, const BackTile *tile, Pair *pair, long k, long panel, long part) {
    if (!part) head_backward(b, tile, pair, k, panel);
    else if (part == 1) gates_backward(b, tile, pair, k, panel, 0);
    else if (part < PARTS - 1) gates_backward(b, tile, pair, k, panel, KSTEP - 1);
    else panels_backward(b, tile, pair, k, panel);
}
static void tile_backward(const Back *b, const BackTile *tile) {
    Pair pair;
    for (long panel = 0; panel < b->v->panels; panel++)
        for (long k = 0; k < MR; k += KSTEP)
            for (long part = 0; part < PARTS; part++) part_backward(b, tile, &pair, k, panel, part);
}
/* dh of the tile's rows += W^T [da_r, da_z, dq], n vectors of columns at a time; meanwhile the next tile's gates.
 * known: as for `cell_any`. */
INLINE void product_backward(const Back *at, const BackTile *this, const BackTile *following, const int n, const int overlap,
                             const long known) {
    Reverse v = *at->v; /* copies, which no store can change */
    if (known) v.hidden = known, v.panels = known / V;
    const History x = *at->x;
    const OutputGradient out = *at->out;
    const Gradient g = *at->g;
    const Back b = {&v, &x, &out, &g, at->dh, at->chunk};
    const BackTile tile = *this, next = *following;
    const long H = v.hidden, depth = 3 * H / KSTEP, parts = MR * n / KSTEP * PARTS;
    Pair pair;
    for (long panel = 0; panel < v.panels; panel += n) {
        vec sum[MR][NR];
        float *dh = b.dh + (panel * v.rows + tile.row) * V;
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) sum[k][j] = load(dh + (j * v.rows + k) * V);
        const elem *left = tile.dgates, *right = v.recurrent + panel * 3 * H * V;
        for (long i = 0, k = 0, part = 0, own = panel, done = 0; i < parts; i++) {
            const long share = (i + 1) * depth / parts - done;
            multiply(sum, n, left, 3 * H, KSTEP, right, 3 * H * V, share);
            left += share * KSTEP, right += share * KSTEP * V, done += share;
            if (overlap) part_backward(&b, &next, &pair, k, own, part);
            if (++part == PARTS) part = 0, k += KSTEP;
            if (k == MR) k = 0, own++;
        }
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) store(dh + (j * v.rows + k) * V, sum[k][j]);
    }
}
INLINE void step_backward_of(const Back *b, const BackTile *tile, const BackTile *next, const int n, const long known) {
    if (next) product_backward(b, tile, next, n, 1, known);
    else product_backward(b, tile, tile, n, 0, known);
}
static __attribute__((noinline)) void step_backward(const Back *b, const BackTile *tile, const BackTile *next) {
    const long H = b->v->hidden;
    if (H == 64) step_backward_of(b, tile, next, 2, 64); /* the presets' sizes */
    else if (H == 128) step_backward_of(b, tile, next, 2, 128);
    else if (b->v->panels % 2) step_backward_of(b, tile, next, 1, 0);
    else step_backward_of(b, tile, next, 2, 0);
}
/* The sums over the tokens of the chunk that begins at token `from`. */
static void products_over_chunk(const Back *b, long from, long tokens) {
    const long H = b->v->hidden, panels = b->v->panels;
    product(H, 3 * panels, tokens / KSTEP, saved_at(&b->x->saved, 0, from) + BEFORE * V * KSTEP, b->x->saved.tokens * SAVED * V,
            KSTEP, SAVED * V * KSTEP, b->v->dgates_panels, b->v->room * V, b->g->weight_hh, 3 * H);
    product(up(b->v->outputs, MR), panels, tokens / KSTEP, b->out->panels + from * V, b->out->tokens * V, KSTEP, V * KSTEP,
            b->v->swish_panels, b->v->room * V, b->g->head_weight, H);
}
/* Adds to `g` the gradients of a history whose outputs have the gradient `out`. */
static void backward(Reverse *v, const History *x, const OutputGradient *out, const Gradient *g) {
    const long H = v->hidden;
    Back b = {v, x, out, g, v->dh, 0};
    BackTile tile = {0, 0, v->dgates[0]}, next = {0, 0, v->dgates[1]};
    memset(v->dh, 0, v->rows * H * sizeof(float));
    for (long t1 = x->rounds, t0; t1 > 0; t1 = t0) {
        for (t0 = t1 - 1; t0 > 0 && x->first[t1] - x->first[t0 - 1] <= v->room - MR;) t0--;
        b.chunk = x->first[t0];
        int prepared = 0; /* the gradients of the first tile's gates are computed already */
        for (long t = t1 - 1; t >= t0; t--) {
            const long rows = x->first[t + 1] - x->first[t];
            if (!prepared) tile.round = t, tile.row = 0, tile_backward(&b, &tile);
            const int onward = t > t0 && x->straight[t] && rows > MR; /* the first tile of the round before can be prepared here */
            for (long row = 0; row < rows; row += MR) {
                const int last = row + MR == rows, any = !last || onward;
                next.round = last ? t - 1 : t, next.row = last ? 0 : row + MR;
                if (t > 0) step_backward(&b, &tile, any ? &next : NULL);
                else if (any) tile_backward(&b, &next);
                if (any) {
                    const BackTile swap = tile;
                    tile = next, next = swap;
                }
            }
            prepared = onward;
            if (t > 0 && !x->straight[t]) {
                float *before = b.dh == v->dh ? v->spare : v->dh;
                memset(before, 0, v->rows * H * sizeof(float));
                for (long panel = 0; panel < v->panels; panel++)
                    for (long i = 0; i < rows; i++) {
                        float *sum = before + (panel * v->rows + x->parent[x->first[t] + i]) * V;
                        store(sum, load(sum) + load(b.dh + (panel * v->rows + i) * V));
                    }
                b.dh = before;
            }
        }
        products_over_chunk(&b, x->first[t0], x->first[t1] - x->first[t0]);
    }
}
