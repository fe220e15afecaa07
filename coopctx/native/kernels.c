/* A GRU trunk with a linear head on one CPU core: training (forward, backward), single steps, Monte-Carlo rollouts.
 *
 * Gate order r, z, n as in torch.nn.GRU; index i_t picks a row of `table`, which holds the input gates of everything
 * discrete, with b_ih (r, z, n) and b_hh (r, z) folded in; c is the reward input; x is an optional constant per row:
 *     g   = table[i] + c * reward_gates + x                                        [3H]
 *     r   = sigmoid(g_r + W_r h)         z = sigmoid(g_z + W_z h)
 *     q   = W_n h + bias_hn              n = tanh(g_n + r q)
 *     h'  = n + z (h - n)                out = head_W swish(h') + head_b,   swish(v) = v sigmoid(v)
 * Backward, with D = dL/dh' (from the head and from the next step) and a_* the arguments of the three gates:
 *     da_n = D (1-z)(1-n^2)    da_z = D (h-n) z(1-z)    da_r = da_n q r(1-r)    dq = da_n r
 *     dh   = D z + W^T [da_r, da_z, dq]                 dW = sum over tokens of [da_r, da_z, dq] h^T
 *
 * Matrix products take operands of type `elem`: bfloat16 in pairs along the summed axis (KSTEP = 2) when this file is
 * compiled with COOPCTX_BF16=1 for a CPU with AVX512-BF16, float (KSTEP = 1) otherwise. Sums and the carried hidden
 * state are float. Two layouts of a matrix with summed axis k:
 *     rows    [row][k]                               (left operand only)
 *     panels  [column / V][k / KSTEP][column % V][k % KSTEP], zero-padded      (either operand)
 * A tile of MR rows by up to three vectors of V columns stays in registers over the whole sum. In the forward cell the
 * three vectors are r, z and n of the same V units, so that the gates are computed on the tile before it leaves them.
 * Float buffers that are only ever read by tiles are "tiled": [column / V][row][column % V].
 *
 * No globals and no threads; every call takes one workspace, freed on return. Functions return 0, or 1 without memory. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX512F__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { V = 16, MR = 8 };
#define VBYTES 64
#elif defined(__AVX__)
enum { V = 8, MR = 4 };
#define VBYTES 32
#else
enum { V = 4, MR = 4 };
#define VBYTES 16
#endif
enum {
    NR = 3,      /* vectors per tile */
    ROWS = 64,   /* rows per block */
    CHUNK = 256, /* tokens per product of weight gradients, at least ROWS */
    PAD = 16,    /* outputs are padded to a multiple of this; the hidden size is one */
};

typedef float vec __attribute__((vector_size(VBYTES)));
typedef int32_t ivec __attribute__((vector_size(VBYTES)));
typedef uint32_t uvec __attribute__((vector_size(VBYTES)));
typedef float vec_u __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef uint32_t uvec_u __attribute__((vector_size(VBYTES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#define EXPORT __attribute__((visibility("default")))

INLINE vec load(const float *p) { return *(const vec_u *)p; }
INLINE void store(float *p, vec x) { *(vec_u *)p = x; }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec blend(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* ---- operands of matrix products ---- */
#if COOPCTX_BF16 && defined(__AVX512BF16__)
enum { KSTEP = 2, BF16 = 1 };
typedef uint16_t elem;
typedef uvec evec;
INLINE elem to_elem(float x) { uint32_t u; memcpy(&u, &x, 4); return (elem)((u + 0x8000u) >> 16); }
INLINE evec load_elems(const elem *p) { return *(const uvec_u *)p; }
INLINE evec splat_elems(const elem *p) { int32_t pair; memcpy(&pair, p, 4); return (evec)_mm512_set1_epi32(pair); }
INLINE vec dot(vec sum, evec a, evec b) { return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
INLINE void put_row(elem *p, vec x) { /* V consecutive values of one row */
    _mm256_storeu_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
}
INLINE void put(elem *p, const vec x[KSTEP]) { /* KSTEP rows of one panel */
    *(uvec_u *)p = (((uvec)x[0] + 0x8000u) >> 16) | (((uvec)x[1] + 0x8000u) & 0xffff0000u);
}
INLINE void get(const elem *p, vec x[KSTEP]) {
    uvec pair = load_elems(p);
    x[0] = (vec)(pair << 16), x[1] = (vec)(pair & 0xffff0000u);
}
#else
enum { KSTEP = 1, BF16 = 0 };
typedef float elem;
typedef vec evec;
INLINE elem to_elem(float x) { return x; }
INLINE evec load_elems(const elem *p) { return load(p); }
INLINE evec splat_elems(const elem *p) { return splat(*p); }
INLINE vec dot(vec sum, evec a, evec b) { return sum + a * b; }
INLINE void put_row(elem *p, vec x) { store(p, x); }
INLINE void put(elem *p, const vec x[KSTEP]) { store(p, x[0]); }
INLINE void get(const elem *p, vec x[KSTEP]) { x[0] = load(p); }
#endif

/* Pack source[k * k_stride + column * column_stride], k < depth, column < columns, into panels of padded sizes. */
static void pack(elem *panels, const float *source, long depth, long columns, long k_stride, long column_stride,
                 long padded_depth, long padded_columns) {
    for (long c = 0; c < padded_columns; c++)
        for (long k = 0; k < padded_depth; k++)
            panels[((c / V) * padded_depth + k / KSTEP * KSTEP) * V + (c % V) * KSTEP + k % KSTEP] =
                to_elem(c < columns && k < depth ? source[k * k_stride + c * column_stride] : 0.f);
}

/* sum[i][j] += over k of a[row i] * b[vector j]; strides in elems, depth in steps of KSTEP. */
INLINE void multiply(vec sum[MR][NR], const int n, const elem *a, long row_stride, long k_stride, const elem *b,
                     long vector_stride, long depth) {
    for (; depth > 0; depth--, a += k_stride, b += V * KSTEP) {
        evec right[NR];
        UNROLL for (int j = 0; j < n; j++) right[j] = load_elems(b + j * vector_stride);
        UNROLL for (int i = 0; i < MR; i++) {
            evec left = splat_elems(a + i * row_stride);
            UNROLL for (int j = 0; j < n; j++) sum[i][j] = dot(sum[i][j], left, right[j]);
        }
    }
}

/* sum = the product of MR rows of depth k with three vectors of columns. Not inlined, so that the tile has all registers. */
static __attribute__((noinline)) void multiply_rows(vec sum[MR][NR], const elem *a, long k, const elem *b,
                                                    long vector_stride) {
    vec local[MR][NR] = {{{0}}};
    multiply(local, 3, a, k, KSTEP, b, vector_stride, k / KSTEP);
    memcpy(sum, local, sizeof local);
}

/* c += a b for `rows` rows and n vectors of columns. Row i of a starts at (i / V) * group_stride + (i % V) * row_stride. */
INLINE void product_n(const int n, long rows, long depth, const elem *a, long group_stride, long row_stride, long k_stride,
                      const elem *b, long vector_stride, float *c, long c_row, long c_vector) {
    for (long i = 0; i < rows; i += MR) {
        vec sum[MR][NR];
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) sum[k][j] = load(c + (i + k) * c_row + j * c_vector);
        multiply(sum, n, a + i / V * group_stride + i % V * row_stride, row_stride, k_stride, b, vector_stride, depth);
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) store(c + (i + k) * c_row + j * c_vector, sum[k][j]);
    }
}
INLINE void product(long rows, long vectors, long depth, const elem *a, long group_stride, long row_stride, long k_stride,
                    const elem *b, long vector_stride, float *c, long c_row, long c_vector) {
    for (; vectors > 0; vectors -= NR, b += NR * vector_stride, c += NR * c_vector) /* columns outermost: b stays in L1 */
        if (vectors >= 3)
            product_n(3, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row, c_vector);
        else if (vectors == 2)
            product_n(2, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row, c_vector);
        else
            product_n(1, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row, c_vector);
}
/* c (tiled, `rows` rows) += a (rows, k of them) times b (panels). */
static void product_of_rows(long rows, long vectors, long k, const elem *a, const elem *b, float *c) {
    product(rows, vectors, k / KSTEP, a, V * k, k, KSTEP, b, k * V, c, V, rows * V);
}
/* c [rows][V * vectors] += a^T b, both panels over k tokens out of panels long a_length and b_length. */
static void product_over_tokens(long rows, long vectors, long k, const elem *a, long a_length, const elem *b, long b_length,
                                float *c) {
    product(rows, vectors, k / KSTEP, a, a_length * V, KSTEP, V * KSTEP, b, b_length * V, c, vectors * V, V);
}

/* ---- elementary functions ---- */
/* exp(scale x) for scale x <= 40 (clamped above, so that products of two do not overflow). 2^round(t) times a minimax
 * polynomial of 2^f on [-1/2, 1/2]; relative error 2e-7, or 3e-6 where results are rounded to bfloat16 anyway. */
INLINE vec exponential(vec x, const float scale) {
    const float log2e = 1.44269504f * scale, limit = 57.f, magic = 12582912.f; /* 1.5 * 2^23 rounds to integers */
#ifdef __AVX512F__
    vec t = (vec)_mm512_min_ps((__m512)splat(limit), (__m512)(x * log2e));
    vec whole = (t + magic) - magic, f = t - whole;
#else
    vec t = x * log2e;
    t = blend(t > limit, splat(limit), blend(t < -100.f, splat(-100.f), t));
    vec shifted = t + magic, whole = shifted - magic, f = t - whole;
#endif
#if COOPCTX_BF16
    vec p = 9.5828532e-3f * f + 5.5906426e-2f;
    p = p * f + 2.4024099e-1f;
    p = p * f + 6.9312419e-1f;
    p = p * f + 1.f;
#else
    vec p = 1.3264727e-3f * f + 9.6715128e-3f;
    p = p * f + 5.5507337e-2f;
    p = p * f + 2.4022242e-1f;
    p = p * f + 6.9314698e-1f;
    p = p * f + 1.f;
#endif
#ifdef __AVX512F__
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
    return (vec)((uvec)p + ((uvec)shifted << 23)); /* the low bits of `shifted` are the integer */
#endif
}
INLINE vec sigmoid(vec x) { return 1.f / (1.f + exponential(x, -1.f)); }

/* ---- the cell ---- */
typedef struct { /* packed weights and sizes */
    long hidden, panels, outputs, output_vectors; /* H, H / V, n_out, padded n_out / V */
    const float *table, *reward_gates, *bias_hn, *head_b;
    elem *recurrent, *head; /* panels of W_hh^T (H deep, 3H columns) and of head_W^T (H deep, n_out columns) */
} Model;

/* Input and state of a block of rows (a multiple of MR) at one step. */
typedef struct {
    long rows;
    int32_t index[ROWS];
    float reward[ROWS];
    const float *extra[ROWS]; /* all null, or one [3H] for each row */
    float *h;                 /* [rows][H] tiled, updated in place */
    elem *operand, *next;     /* h as left operand, before and after; swapped by the cell */
    elem *swish;              /* swish(h') as left operand, or null */
    float *out;               /* [rows][n_out] tiled */
} Block;

enum { R, Z, N, Q, HIDDEN, SAVED }; /* what is saved for backward: [what][unit / V][time][row] as panels over tokens */

INLINE void cell_any(const Model *m, Block *b, elem *saved, long saved_stride, const int saving, const int extra) {
    const long H = m->hidden, panels = m->panels;
    for (long p = 0; p < panels; p++) {
        const vec reward_r = load(m->reward_gates + p * V), reward_z = load(m->reward_gates + H + p * V),
                  reward_n = load(m->reward_gates + 2 * H + p * V), bias = load(m->bias_hn + p * V);
        for (long i = 0; i < b->rows; i += MR) {
            vec sum[MR][NR];
            multiply_rows(sum, b->operand + i * H, H, m->recurrent + p * H * V, panels * H * V);
            /* One gate after the other for all rows: a row's chain of dependent operations is long, rows are independent. */
            vec out[SAVED][MR], exp_z[MR];
            for (int k = 0; k < MR; k++) {
                const float *gates = m->table + b->index[i + k] * 3 * H + p * V, *x = extra ? b->extra[i + k] + p * V : NULL;
                const vec reward = splat(b->reward[i + k]);
                vec in_r = load(gates) + reward * reward_r, in_z = load(gates + H) + reward * reward_z;
                if (extra) in_r += load(x), in_z += load(x + H);
                out[R][k] = sigmoid(sum[k][0] + in_r);
                exp_z[k] = 1.f + exponential(sum[k][1] + in_z, -1.f);
            }
            for (int k = 0; k < MR; k++) {
                const float *gates = m->table + b->index[i + k] * 3 * H + p * V, *x = extra ? b->extra[i + k] + p * V : NULL;
                vec in_n = load(gates + 2 * H) + b->reward[i + k] * reward_n;
                if (extra) in_n += load(x + 2 * H);
                out[Q][k] = sum[k][2] + bias;
                /* z = 1 / exp_z and n = (1 - exp_n) / (1 + exp_n) with one division */
                vec exp_n = exponential(in_n + out[R][k] * out[Q][k], -2.f), inverse = 1.f / (exp_z[k] * (1.f + exp_n));
                vec z = (1.f + exp_n) * inverse, n = (1.f - exp_n) * exp_z[k] * inverse;
                float *h = b->h + (p * b->rows + i + k) * V;
                vec next = n + z * (load(h) - n);
                store(h, next);
                put_row(b->next + (i + k) * H + p * V, next);
                out[Z][k] = z, out[N][k] = n, out[HIDDEN][k] = next;
            }
            for (int k = 0; b->swish && k < MR; k++)
                put_row(b->swish + (i + k) * H + p * V, out[HIDDEN][k] * sigmoid(out[HIDDEN][k]));
            for (int s = 0; saving && s < SAVED; s++)
                for (int k = 0; k < MR; k += KSTEP) put(saved + (s * panels + p) * saved_stride + (i + k) * V, &out[s][k]);
        }
    }
    elem *swap = b->operand;
    b->operand = b->next, b->next = swap;
}
static __attribute__((noinline)) void cell(const Model *m, Block *b, elem *saved, long saved_stride) {
    const int extra = b->extra[0] != NULL;
    if (saved && extra) cell_any(m, b, saved, saved_stride, 1, 1);
    else if (saved) cell_any(m, b, saved, saved_stride, 1, 0);
    else if (extra) cell_any(m, b, NULL, 0, 0, 1);
    else cell_any(m, b, NULL, 0, 0, 0);
}
static void head(const Model *m, Block *b) {
    for (long j = 0; j < m->output_vectors; j++)
        for (long i = 0; i < b->rows; i++) store(b->out + (j * b->rows + i) * V, load(m->head_b + j * V));
    product_of_rows(b->rows, m->output_vectors, m->hidden, b->swish, m->head, b->out);
}
/* Load hidden states (null: zeros) as the state of a block; rows beyond `count` repeat the last one. */
static void set_hidden(const Model *m, Block *b, const float *const *hidden, long count) {
    for (long p = 0; p < m->panels; p++)
        for (long i = 0; i < b->rows; i++) {
            vec h = hidden ? load(hidden[i < count ? i : count - 1] + p * V) : (vec){0};
            store(b->h + (p * b->rows + i) * V, h);
            put_row(b->operand + i * m->hidden + p * V, h);
            if (b->swish) put_row(b->swish + i * m->hidden + p * V, h * sigmoid(h));
        }
}

/* ---- memory ---- */
typedef struct { char *base, *next; } Arena; /* with base null it only counts */
static void *take(Arena *arena, size_t bytes) {
    char *p = arena->next;
    arena->next += (bytes + 63) / 64 * 64;
    return arena->base ? p : NULL;
}
static long up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
static long smaller(long a, long b) { return a < b ? a : b; }
/* How many of the V outputs from column c on exist. */
static long valid(long n_out, long c) { return c < n_out ? smaller(V, n_out - c) : 0; }

static void take_model(Arena *arena, Model *m, long H, long n_out, const float *table, const float *reward_gates,
                       const float *bias_hn, const float *W, const float *head_W, const float *head_b) {
    *m = (Model){H, H / V, n_out, up(n_out, PAD) / V, table, reward_gates, bias_hn, NULL, NULL, NULL};
    const long padded = m->output_vectors * V;
    m->recurrent = take(arena, 3 * H * H * sizeof(elem));
    m->head = take(arena, padded * H * sizeof(elem));
    float *bias = take(arena, padded * sizeof(float));
    m->head_b = bias;
    if (!arena->base) return;
    pack(m->recurrent, W, H, 3 * H, 1, H, H, 3 * H);
    if (!head_W) return;
    pack(m->head, head_W, H, n_out, 1, H, H, padded);
    memset(bias, 0, padded * sizeof(float));
    memcpy(bias, head_b, n_out * sizeof(float));
}
static void take_block(Arena *arena, Block *b, const Model *m, int with_head) {
    memset(b, 0, sizeof *b);
    b->h = take(arena, ROWS * m->hidden * sizeof(float));
    b->operand = take(arena, ROWS * m->hidden * sizeof(elem));
    b->next = take(arena, ROWS * m->hidden * sizeof(elem));
    b->swish = with_head ? take(arena, ROWS * m->hidden * sizeof(elem)) : NULL;
    b->out = with_head ? take(arena, ROWS * m->output_vectors * V * sizeof(float)) : NULL;
}
/* Runs TAKE twice: to count the bytes, then to place them. */
#define WORKSPACE(arena, TAKE)                                                                                          \
    Arena arena = {NULL, NULL};                                                                                         \
    for (int placed = 0; placed < 2; placed++) {                                                                        \
        if (placed) {                                                                                                   \
            if (!(arena.base = aligned_alloc(64, (size_t)arena.next + 64))) return 1;                                    \
            arena.next = arena.base;                                                                                    \
        }                                                                                                               \
        TAKE                                                                                                            \
    }

EXPORT int coopctx_bf16(void) { return BF16; }

/* ---- one step: out [G,H] = GRU(hidden [G,H]) ---- */
EXPORT int coopctx_step(long H, long G, const float *table, const float *reward_gates, const float *bias_hn, const float *W,
                        const float *extra, const float *hidden, const int32_t *index, const float *reward, float *out) {
    Model m;
    Block b;
    WORKSPACE(arena, take_model(&arena, &m, H, 0, table, reward_gates, bias_hn, W, NULL, NULL);
              take_block(&arena, &b, &m, 0);)
    for (long start = 0; start < G; start += ROWS) {
        const long count = smaller(ROWS, G - start);
        const float *states[ROWS];
        b.rows = up(count, MR);
        for (long i = 0; i < b.rows; i++) {
            const long row = start + (i < count ? i : count - 1);
            b.index[i] = index[row], b.reward[i] = reward[row], states[i] = hidden + row * H;
            b.extra[i] = extra ? extra + row * 3 * H : NULL;
        }
        set_hidden(&m, &b, states, b.rows);
        cell(&m, &b, NULL, 0);
        for (long i = 0; i < count; i++)
            for (long p = 0; p < m.panels; p++) store(out + (start + i) * H + p * V, load(b.h + (p * b.rows + i) * V));
    }
    free(arena.base);
    return 0;
}

/* ---- training ---- */
/* Saved elems of a block of `rows` rows: [SAVED][H / V] panels over T + 1 times (state 0 first) times rows. */
EXPORT size_t coopctx_saved_bytes(long H, long B, long T) { return sizeof(elem) * SAVED * H * (T + 1) * up(B, MR); }

static void set_input(Block *b, long start, long count, long t, long T, const int32_t *index, const float *reward,
                      const float *extra, long H) {
    for (long i = 0; i < b->rows; i++) {
        const long row = start + (i < count ? i : count - 1);
        b->index[i] = index[row * T + t], b->reward[i] = reward[row * T + t];
        b->extra[i] = extra ? extra + row * 3 * H : NULL;
    }
}

/* outputs [B,T,n_out] from index and reward [B,T]; `saved` (coopctx_saved_bytes) may be null. */
EXPORT int coopctx_forward(long H, long n_out, long B, long T, const float *table, const float *reward_gates,
                           const float *bias_hn, const float *W, const float *head_W, const float *head_b,
                           const float *extra, const int32_t *index, const float *reward, float *outputs, elem *saved) {
    Model m;
    Block b;
    WORKSPACE(arena, take_model(&arena, &m, H, n_out, table, reward_gates, bias_hn, W, head_W, head_b);
              take_block(&arena, &b, &m, 1);)
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        b.rows = up(count, MR);
        const long stride = (T + 1) * b.rows * V;
        set_hidden(&m, &b, NULL, count);
        for (long p = 0; saved && p < m.panels; p++)
            memset(saved + (HIDDEN * m.panels + p) * stride, 0, b.rows * V * sizeof(elem));
        for (long t = 0; t < T; t++) {
            set_input(&b, start, count, t, T, index, reward, extra, H);
            cell(&m, &b, saved ? saved + (t + 1) * b.rows * V : NULL, stride);
            head(&m, &b);
            for (long i = 0; i < count; i++)
                for (long j = 0; j < m.output_vectors; j++)
                    memcpy(outputs + ((start + i) * T + t) * n_out + j * V, b.out + (j * b.rows + i) * V,
                           valid(n_out, j * V) * sizeof(float));
        }
        if (saved) saved += SAVED * m.panels * stride;
    }
    free(arena.base);
    return 0;
}

typedef struct { /* backward's buffers for one block; the panels cover `steps` times of its rows */
    long steps;
    elem *recurrent, *head; /* panels of W_hh (3H deep, H columns) and of head_W (n_out deep, H columns) */
    float *dh, *dswish;     /* [rows][H] tiled */
    elem *dgates, *dout;    /* left operands: [rows][3H] of da_r, da_z, dq; [rows][n_out padded] */
    elem *dgates_panels, *dout_panels, *swish_panels;
} Gradients;

/* Everything elementwise at time t of a chunk starting at t0: D from dh and dswish, then the gates' gradients. */
INLINE void cell_backward(const Model *m, const Block *b, const Gradients *g, const elem *saved, long T, long t, long t0,
                          float *d_table, float *d_reward_gates, float *d_bias_hn, float *const *d_extra) {
    const long H = m->hidden, panels = m->panels, rows = b->rows, stride = (T + 1) * rows * V, length = g->steps * rows * V;
    for (long p = 0; p < panels; p++) {
        const elem *at = saved + p * stride + (t + 1) * rows * V, *before = at + HIDDEN * panels * stride - rows * V;
        elem *panel = g->dgates_panels + p * length + (t - t0) * rows * V;
        vec reward_sum[3] = {{0}}, bias_sum = {0};
        for (long i = 0; i < rows; i += KSTEP) {
            vec x[SAVED][KSTEP], previous[KSTEP], s[KSTEP], d[3][KSTEP];
            UNROLL for (int k = 0; k < SAVED; k++) get(at + k * panels * stride + i * V, x[k]);
            get(before + i * V, previous);
            UNROLL for (int e = 0; e < KSTEP; e++) {
                const long row = i + e, tile = (p * rows + row) * V;
                vec r = x[R][e], z = x[Z][e], n = x[N][e], q = x[Q][e], h = x[HIDDEN][e];
                vec gate = sigmoid(h);
                s[e] = h * gate;
                vec dh = load(g->dh + tile) + load(g->dswish + tile) * (gate + s[e] * (1.f - gate));
                vec keep = dh * z, dn = (dh - keep) * (1.f - n * n), dz = keep * (1.f - z) * (previous[e] - n);
                vec dq = dn * r, dr = dq * q * (1.f - r);
                store(g->dh + tile, keep);
                d[0][e] = dr, d[1][e] = dz, d[2][e] = dq;
                UNROLL for (int k = 0; k < 3; k++) put_row(g->dgates + row * 3 * H + k * H + p * V, d[k][e]);
                vec din[3] = {dr, dz, dn};
                float *entry = d_table + b->index[row] * 3 * H + p * V;
                UNROLL for (int k = 0; k < 3; k++) {
                    store(entry + k * H, load(entry + k * H) + din[k]);
                    reward_sum[k] += b->reward[row] * din[k];
                }
                bias_sum += dq;
                if (d_extra[row])
                    UNROLL for (int k = 0; k < 3; k++)
                        store(d_extra[row] + k * H + p * V, load(d_extra[row] + k * H + p * V) + din[k]);
            }
            UNROLL for (int k = 0; k < 3; k++) put(panel + k * panels * length + i * V, d[k]);
            put(g->swish_panels + p * length + ((t - t0) * rows + i) * V, s);
        }
        UNROLL for (int k = 0; k < 3; k++)
            store(d_reward_gates + k * H + p * V, load(d_reward_gates + k * H + p * V) + reward_sum[k]);
        store(d_bias_hn + p * V, load(d_bias_hn + p * V) + bias_sum);
    }
}

/* Adds to zeroed d_table [K,3H], d_reward_gates [3H], d_bias_hn [H], d_W [H,3H] (transposed), d_head_W [H,n_out padded
 * to a multiple of PAD] (transposed), d_extra [B,3H] or null. d_head_b is the plain sum of d_outputs, left to the caller. */
EXPORT int coopctx_backward(long H, long n_out, long B, long T, const float *W, const float *head_W, const int32_t *index,
                            const float *reward, const elem *saved, const float *d_outputs, float *d_table,
                            float *d_reward_gates, float *d_bias_hn, float *d_W, float *d_head_W, float *d_extra) {
    Model m = {H, H / V, n_out, up(n_out, PAD) / V, NULL, NULL, NULL, NULL, NULL, NULL};
    Block b;
    Gradients g;
    const long padded = m.output_vectors * V;
    memset(&b, 0, sizeof b);
    WORKSPACE(arena, g.recurrent = take(&arena, 3 * H * H * sizeof(elem)); g.head = take(&arena, padded * H * sizeof(elem));
              g.dh = take(&arena, ROWS * H * sizeof(float)); g.dswish = take(&arena, ROWS * H * sizeof(float));
              g.dgates = take(&arena, ROWS * 3 * H * sizeof(elem)); g.dout = take(&arena, ROWS * padded * sizeof(elem));
              g.dgates_panels = take(&arena, CHUNK * 3 * H * sizeof(elem));
              g.dout_panels = take(&arena, CHUNK * padded * sizeof(elem));
              g.swish_panels = take(&arena, CHUNK * H * sizeof(elem));)
    pack(g.recurrent, W, 3 * H, H, H, 1, 3 * H, H);
    pack(g.head, head_W, n_out, H, H, 1, padded, H);
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        b.rows = up(count, MR), g.steps = CHUNK / b.rows;
        const long stride = (T + 1) * b.rows * V, length = g.steps * b.rows;
        float *d_extra_rows[ROWS];
        for (long i = 0; i < b.rows; i++) d_extra_rows[i] = d_extra && i < count ? d_extra + (start + i) * 3 * H : NULL;
        memset(g.dh, 0, ROWS * H * sizeof(float));
        for (long t1 = T, t0; t1 > 0; t1 = t0) {
            t0 = t1 > g.steps ? t1 - g.steps : 0;
            for (long t = t1 - 1; t >= t0; t--) {
                set_input(&b, start, count, t, T, index, reward, NULL, H);
                for (long i = 0; i < b.rows; i += KSTEP) /* rows beyond the batch get no gradient */
                    for (long j = 0; j < m.output_vectors; j++) {
                        vec d[KSTEP] = {{0}};
                        for (long e = 0; e < KSTEP && i + e < count; e++) {
                            const float *from = d_outputs + ((start + i + e) * T + t) * n_out + j * V;
                            memcpy(&d[e], from, valid(n_out, j * V) * sizeof(float));
                        }
                        for (long e = 0; e < KSTEP; e++) put_row(g.dout + (i + e) * padded + j * V, d[e]);
                        put(g.dout_panels + (j * length + (t - t0) * b.rows + i) * V, d);
                    }
                memset(g.dswish, 0, b.rows * H * sizeof(float));
                product_of_rows(b.rows, m.panels, padded, g.dout, g.head, g.dswish);
                cell_backward(&m, &b, &g, saved, T, t, t0, d_table, d_reward_gates, d_bias_hn, d_extra_rows);
                if (t > 0) product_of_rows(b.rows, m.panels, 3 * H, g.dgates, g.recurrent, g.dh);
            }
            const long k = (t1 - t0) * b.rows;
            product_over_tokens(H, 3 * m.panels, k, saved + HIDDEN * m.panels * stride + t0 * b.rows * V, (T + 1) * b.rows,
                                g.dgates_panels, length, d_W);
            product_over_tokens(H, m.output_vectors, k, g.swish_panels, length, g.dout_panels, length, d_head_W);
        }
        saved += SAVED * m.panels * stride;
    }
    free(arena.base);
    return 0;
}

/* ---- rollouts: V of them at a time, one per lane ---- */
/* Inverse-CDF sample of softmax(logits[0..n)) at u: the count of cumulative sums <= u * total among the first n - 1.
 * Also the expectation of values under it, and the value at the sampled index. */
INLINE ivec sample(const vec *logits, const vec *values, long n, vec u, vec *expected, vec *value, vec *weights) {
    vec top = logits[0], total = {0}, mean = {0}, sum = {0};
    for (long i = 1; i < n; i++) top = blend(logits[i] > top, logits[i], top);
    for (long i = 0; i < n; i++) {
        weights[i] = exponential(logits[i] - top, 1.f);
        total += weights[i];
        if (values) mean += weights[i] * values[i];
    }
    u *= total;
    ivec index = {0};
    if (values) *expected = mean / total, *value = values[0];
    for (long i = 0; i + 1 < n; i++) {
        sum += weights[i];
        ivec beyond = sum <= u; /* -1 where the sample lies beyond i */
        index -= beyond;
        if (values) *value = blend(beyond, values[i + 1], *value);
    }
    if (!values) *expected = total;
    return index;
}

/* q [G,A]: mean return of R rollouts of S steps after each own action, from hidden [G,H]; uniforms [G,U,R,S,2],
 * U = A, or 1 where all first actions share them.
 * out = A action logits, then [A,O] logits of the next observation, then [A,O] rewards; index = o (A+1) + action. */
EXPORT int coopctx_rollouts(long H, long G, long R_, long S, long A, long O, long U, float discount, int use_expected,
                            const float *table, const float *reward_gates, const float *bias_hn, const float *W,
                            const float *head_W, const float *head_b, const float *extra, const float *hidden,
                            const float *uniforms, float *q) {
    const long n_out = A + 2 * A * O, total = G * A * R_;
    Model m;
    Block b;
    float *first; /* [G][n_out padded]: the head at each game's hidden state */
    vec *lanes;   /* outputs of V rows, [n_out padded] vectors */
    vec *weights;
    WORKSPACE(arena, take_model(&arena, &m, H, n_out, table, reward_gates, bias_hn, W, head_W, head_b);
              take_block(&arena, &b, &m, 1); lanes = take(&arena, m.output_vectors * V * sizeof(vec));
              weights = take(&arena, (A + O) * sizeof(vec));
              first = take(&arena, G * m.output_vectors * V * sizeof(float));)
    const long padded = m.output_vectors * V;
    const float *states[ROWS];
    for (long start = 0; start < G; start += ROWS) {
        const long count = smaller(ROWS, G - start);
        b.rows = up(count, MR);
        for (long i = 0; i < count; i++) states[i] = hidden + (start + i) * H;
        set_hidden(&m, &b, states, count);
        head(&m, &b);
        for (long i = 0; i < count; i++)
            for (long j = 0; j < m.output_vectors; j++)
                store(first + (start + i) * padded + j * V, load(b.out + (j * b.rows + i) * V));
    }
    memset(q, 0, G * A * sizeof(float));
    for (long start = 0; start < total; start += ROWS) {
        const long count = smaller(ROWS, total - start);
        long game[ROWS], own[ROWS];
        const float *uniform[ROWS];
        float returns[ROWS] = {0};
        b.rows = up(count, V);
        for (long i = 0; i < b.rows; i++) {
            const long row = start + (i < count ? i : count - 1);
            game[i] = row / (A * R_), own[i] = row / R_ % A;
            uniform[i] = uniforms + ((game[i] * U + own[i] % U) * R_ + row % R_) * S * 2;
            states[i] = hidden + game[i] * H, b.extra[i] = extra ? extra + game[i] * 3 * H : NULL;
        }
        elem *swish = b.swish;
        b.swish = NULL; /* the first head is in `first` */
        set_hidden(&m, &b, states, b.rows);
        b.swish = swish;
        float factor = 1.f;
        for (long s = 0; s < S; s++, factor *= discount) {
            if (s) cell(&m, &b, NULL, 0), head(&m, &b);
            for (long i = 0; i < b.rows; i += V) {
                vec u_action, u_observation, ignored;
                ivec action;
                for (long lane = 0; lane < V; lane++) {
                    const float *from = s ? b.out + (i + lane) * V : first + game[i + lane] * padded;
                    const long step = s ? b.rows * V : V;
                    for (long j = 0; j < m.output_vectors; j++)
                        for (long k = 0; k < V; k++) ((float *)lanes)[(j * V + k) * V + lane] = from[j * step + k];
                    u_action[lane] = uniform[i + lane][2 * s], u_observation[lane] = uniform[i + lane][2 * s + 1];
                    action[lane] = (int32_t)own[i + lane];
                }
                vec action_total = splat(1.f);
                if (s) action = sample(lanes, NULL, A, u_action, &action_total, &ignored, weights);
                vec gain = {0}, reward = {0};
                ivec observation = {0};
                for (long a = 0; a < A; a++) {
                    vec expected = {0}, value = {0}, *logits = lanes + A + a * O;
                    ivec chosen = action == (int32_t)a;
                    ivec o = sample(logits, logits + A * O, O, u_observation, &expected, &value, weights + A);
                    observation |= o & chosen;
                    reward = blend(chosen, value, reward);
                    if (use_expected && s) gain += weights[a] * expected;
                    else gain = blend(chosen, use_expected ? expected : value, gain);
                }
                if (use_expected && s) gain /= action_total;
                ivec index = observation * (int32_t)(A + 1) + action;
                memcpy(b.index + i, &index, sizeof index);
                store(b.reward + i, reward);
                store(returns + i, load(returns + i) + factor * gain);
            }
        }
        for (long i = 0; i < count; i++) q[(start + i) / R_] += returns[i] / (float)R_;
    }
    free(arena.base);
    return 0;
}
