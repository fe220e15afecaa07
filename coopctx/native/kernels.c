/* A GRU trunk with a linear head on one CPU core: training (forward, backward, and both around the losses of the self- and
 * world-model), single steps, Monte-Carlo rollouts.
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
 * No globals and no threads; every call takes one workspace, freed on return. Functions return 0, 1 without memory, or
 * 2 where they say so. */
#include <math.h>
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
#define UNROLL _Pragma("GCC unroll 16")
#define EXPORT __attribute__((visibility("default")))

#ifdef __AVX512F__
INLINE __mmask16 first(long n) { return n < V ? (__mmask16)((1u << n) - 1) : (__mmask16)0xffff; }
#endif
INLINE vec load(const float *p) { return *(const vec_u *)p; }
INLINE void store(float *p, vec x) { *(vec_u *)p = x; }
/* The first n of V floats; 0 <= n, and V or more are all of them. Zeros are loaded for the others. */
INLINE vec load_some(const float *p, const long n) {
#ifdef __AVX512F__
    return (vec)_mm512_maskz_loadu_ps(first(n), p);
#else
    vec x = {0};
    for (long i = 0; i < V && i < n; i++) x[i] = p[i];
    return x;
#endif
}
INLINE void store_some(float *p, vec x, const long n) {
#ifdef __AVX512F__
    _mm512_mask_storeu_ps(p, first(n), (__m512)x);
#else
    for (long i = 0; i < V && i < n; i++) p[i] = x[i];
#endif
}
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
    const float *table, *reward_gates, *bias_hn;
    float *head_b;
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

static void place_model(Arena *arena, Model *m, long H, long n_out, const float *table, const float *reward_gates,
                        const float *bias_hn) {
    *m = (Model){H, H / V, n_out, up(n_out, PAD) / V, table, reward_gates, bias_hn, NULL, NULL, NULL};
    const long padded = m->output_vectors * V;
    m->recurrent = take(arena, 3 * H * H * sizeof(elem));
    m->head = take(arena, padded * H * sizeof(elem));
    m->head_b = take(arena, padded * sizeof(float));
}
static void pack_model(Model *m, const float *W, const float *head_W, const float *head_b) {
    const long H = m->hidden, padded = m->output_vectors * V;
    pack(m->recurrent, W, H, 3 * H, 1, H, H, 3 * H);
    if (!head_W) return;
    pack(m->head, head_W, H, m->outputs, 1, H, H, padded);
    memset(m->head_b, 0, padded * sizeof(float));
    memcpy(m->head_b, head_b, m->outputs * sizeof(float));
}
static void take_model(Arena *arena, Model *m, long H, long n_out, const float *table, const float *reward_gates,
                       const float *bias_hn, const float *W, const float *head_W, const float *head_b) {
    place_model(arena, m, H, n_out, table, reward_gates, bias_hn);
    if (arena->base) pack_model(m, W, head_W, head_b);
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
                    store_some(outputs + ((start + i) * T + t) * n_out + j * V, load(b.out + (j * b.rows + i) * V),
                               valid(n_out, j * V));
        }
        if (saved) saved += SAVED * m.panels * stride;
    }
    free(arena.base);
    return 0;
}

/* Bytes of scratch memory (aligned to 64) that coopctx_advance needs from a sequence's first round to its last. */
EXPORT size_t coopctx_advance_bytes(long H, long n_out) {
    Arena arena = {NULL, NULL};
    Model m;
    Block b;
    place_model(&arena, &m, H, n_out, NULL, NULL, NULL);
    take_block(&arena, &b, &m, 1);
    return (size_t)arena.next;
}
/* Round t of T for all rows at once, as they are played: from index and reward [B] it advances hidden [B,H] in place and
 * writes the outputs of row i to outputs + i * output_stride. `saved` (coopctx_saved_bytes) may be null; otherwise it
 * receives just what coopctx_forward writes at t, so that coopctx_backward can follow the last round. With `first` the
 * weights are packed into `scratch`, where they stay, and the hidden states begin at 0. */
EXPORT int coopctx_advance(long H, long n_out, long B, long T, long t, int first, const float *table,
                           const float *reward_gates, const float *bias_hn, const float *W, const float *head_W,
                           const float *head_b, const float *extra, const int32_t *index, const float *reward,
                           float *hidden, float *outputs, long output_stride, elem *saved, char *scratch) {
    Model m;
    Block b;
    Arena arena = {scratch, scratch};
    place_model(&arena, &m, H, n_out, table, reward_gates, bias_hn);
    take_block(&arena, &b, &m, 1);
    if (first) {
        pack_model(&m, W, head_W, head_b);
        memset(hidden, 0, B * H * sizeof(float));
    }
    for (long start = 0; start < B; start += ROWS) {
        const long count = smaller(ROWS, B - start);
        const float *states[ROWS];
        b.rows = up(count, MR);
        const long stride = (T + 1) * b.rows * V;
        for (long i = 0; i < count; i++) states[i] = hidden + (start + i) * H;
        set_hidden(&m, &b, states, count);
        set_input(&b, start, count, 0, 1, index, reward, extra, H);
        for (long p = 0; saved && first && p < m.panels; p++)
            memset(saved + (HIDDEN * m.panels + p) * stride, 0, b.rows * V * sizeof(elem));
        cell(&m, &b, saved ? saved + (t + 1) * b.rows * V : NULL, stride);
        head(&m, &b);
        for (long i = 0; i < count; i++) {
            for (long p = 0; p < m.panels; p++) store(hidden + (start + i) * H + p * V, load(b.h + (p * b.rows + i) * V));
            for (long j = 0; j < m.output_vectors; j++)
                store_some(outputs + (start + i) * output_stride + j * V, load(b.out + (j * b.rows + i) * V),
                           valid(n_out, j * V));
        }
        if (saved) saved += SAVED * m.panels * stride;
    }
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
                        for (long e = 0; e < KSTEP && i + e < count; e++)
                            d[e] = load_some(d_outputs + ((start + i + e) * T + t) * n_out + j * V, valid(n_out, j * V));
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

/* to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < columns. */
INLINE void transpose(float *to, long to_stride, const float *from, long from_stride, const long rows, const long columns) {
#ifdef __AVX512F__
    for (long r = 0; r < rows; r += V)
        for (long c = 0; c < columns; c += V) {
            vec x[V];
            UNROLL for (long i = 0; i < V; i++)
                x[i] = r + i < rows ? load_some(from + (r + i) * from_stride + c, columns - c) : (vec){0};
            UNROLL for (int s = 1; s < V; s *= 2) { /* swap the off-diagonal quarters of every square of 2s by 2s */
                const ivec lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, odd = (lane & s) != 0;
                const ivec low = lane + (odd & (V - s)), high = lane + (odd & (V - s)) + s;
                UNROLL for (int i = 0; i < V; i++)
                    if (!(i & s)) {
                        const __m512 a = (__m512)x[i], b = (__m512)x[i + s];
                        x[i] = (vec)_mm512_permutex2var_ps(a, (__m512i)low, b);
                        x[i + s] = (vec)_mm512_permutex2var_ps(a, (__m512i)high, b);
                    }
            }
            UNROLL for (long i = 0; i < V; i++)
                if (c + i < columns) store_some(to + (c + i) * to_stride + r, x[i], rows - r);
        }
#else
    for (long r = 0; r < rows; r++)
        for (long c = 0; c < columns; c++) to[c * to_stride + r] = from[r * from_stride + c];
#endif
}

/* ---- the heads of the self- and world-model: A action logits, then [A,O] logits of the next observation given the own
 * action, then [A,O] rewards. V tokens at a time, one per lane. ---- */
INLINE vec maximum(const vec *x, long n) {
    vec top = x[0];
    for (long i = 1; i < n; i++) top = blend(x[i] > top, x[i], top);
    return top;
}
INLINE ivec load_bytes(const uint8_t *p, long count) {
    ivec x;
    for (long i = 0; i < V; i++) x[i] = p[i < count ? i : count - 1];
    return x;
}
INLINE float sum_of(vec x, long count) {
    float sum = 0.f;
    for (long i = 0; i < count; i++) sum += x[i];
    return sum;
}

/* Negative log-likelihood of class `chosen` under softmax(logits[0..n)), lane by lane: its logit is subtracted from
 * *sum at once, the logarithms are left to the product of all normalisers. The logits become their gradients. */
typedef struct { double sum, product; } Likelihood;
INLINE void likelihood(Likelihood *l, vec *logits, long n, ivec chosen, long count) {
    vec top = maximum(logits, n), total = {0}, taken = {0};
    for (long i = 0; i < n; i++) {
        taken += blend(chosen == (int32_t)i, logits[i], (vec){0});
        total += logits[i] = exponential(logits[i] - top, 1.f);
    }
    for (long i = 0; i < n; i++) logits[i] = logits[i] / total - blend(chosen == (int32_t)i, splat(1.f), (vec){0});
    l->sum += sum_of(top - taken, count);
    for (long i = 0; i < count; i++) l->product *= total[i];
    if (l->product > 1e200) l->sum += log(l->product), l->product = 1.;
}

/* losses [3]: the means over N tokens of the negative log-likelihoods of `observation` (given the action) and `action`,
 * and of the squared error of the reward predicted for both; d_outputs [N,n_out]: the gradient of their sum weighted by
 * `weights` [3]. */
static void head_losses(long N, long A, long O, const float *outputs, const uint8_t *action, const uint8_t *observation,
                        const float *reward, const float *weights, vec *lanes, vec *logits, float *losses,
                        float *d_outputs) {
    const long n_out = A + 2 * A * O;
    Likelihood of_action = {0., 1.}, of_observation = {0., 1.};
    double squares = 0.;
    const float w_observation = weights[0] / (float)N, w_action = weights[1] / (float)N, w_reward = 2.f * weights[2] / (float)N;
    for (long start = 0; start < N; start += V) {
        const long count = smaller(V, N - start);
        const ivec a = load_bytes(action + start, count), o = load_bytes(observation + start, count);
        vec error = {0};
        for (long i = 0; i < count; i++) error[i] = -reward[start + i];
        transpose((float *)lanes, V, outputs + start * n_out, n_out, count, n_out);
        likelihood(&of_action, lanes, A, a, count);
        for (long k = 0; k < O; k++) {
            logits[k] = (vec){0};
            for (long i = 0; i < A; i++) {
                const ivec taken = a == (int32_t)i;
                logits[k] = blend(taken, lanes[A + i * O + k], logits[k]);
                error += blend(taken & (o == (int32_t)k), lanes[A + (A + i) * O + k], (vec){0});
            }
        }
        likelihood(&of_observation, logits, O, o, count);
        squares += sum_of(error * error, count);
        for (long i = 0; i < A; i++) {
            const ivec taken = a == (int32_t)i;
            lanes[i] *= w_action;
            for (long k = 0; k < O; k++) {
                lanes[A + i * O + k] = blend(taken, w_observation * logits[k], (vec){0});
                lanes[A + (A + i) * O + k] = blend(taken & (o == (int32_t)k), w_reward * error, (vec){0});
            }
        }
        transpose(d_outputs + start * n_out, n_out, (const float *)lanes, V, n_out, count);
    }
    losses[0] = (float)((of_observation.sum + log(of_observation.product)) / (double)N);
    losses[1] = (float)((of_action.sum + log(of_action.product)) / (double)N);
    losses[2] = (float)(squares / (double)N);
}

typedef struct { /* what one batch of episodes becomes on the way to its gradients */
    int32_t *index;                                 /* [B,T], the table's rows o (A+1) + previous action */
    float *reward_in, *reward, *outputs, *d_outputs; /* [B,T], [B,T], [B,T,n_out] twice */
    uint8_t *action, *following;                    /* [B,T]; the observation that follows */
    vec *lanes, *logits;
    elem *saved;
} Batch;
static void take_batch(Arena *arena, Batch *batch, long H, long A, long O, long B, long T) {
    const long N = B * T, n_out = A + 2 * A * O;
    batch->index = take(arena, N * sizeof(int32_t));
    batch->reward_in = take(arena, N * sizeof(float)), batch->reward = take(arena, N * sizeof(float));
    batch->outputs = take(arena, N * n_out * sizeof(float)), batch->d_outputs = take(arena, N * n_out * sizeof(float));
    batch->action = take(arena, N), batch->following = take(arena, N);
    batch->lanes = take(arena, n_out * sizeof(vec)), batch->logits = take(arena, O * sizeof(vec));
    batch->saved = take(arena, coopctx_saved_bytes(H, B, T));
}
/* Bytes of scratch memory (aligned to 64) that coopctx_prediction_loss needs; the caller keeps it between calls, since
 * fresh pages cost as much as the arithmetic. */
EXPORT size_t coopctx_prediction_loss_bytes(long H, long A, long O, long B, long T) {
    Arena arena = {NULL, NULL};
    Batch batch;
    take_batch(&arena, &batch, H, A, O, B, T);
    return (size_t)arena.next;
}

/* The losses of `head_losses` on B episodes, those numbered `games` among observations [.,T+1], actions [.,T] and
 * rewards [.,T], and the gradients of their weighted sum: added to zeroed d_table ... d_extra as in coopctx_backward
 * and to zeroed d_head_b [n_out]. Returns 2 if an episode's number is not below `count`, an action not below A or an
 * observation not below O. */
EXPORT int coopctx_prediction_loss(long H, long A, long O, long B, long T, long count, const float *table, const float *reward_gates,
                                   const float *bias_hn, const float *W, const float *head_W, const float *head_b,
                                   const float *extra, const uint8_t *observations, const uint8_t *actions,
                                   const float *rewards, const int64_t *games, const float *weights, char *scratch,
                                   float *losses, float *d_table, float *d_reward_gates, float *d_bias_hn, float *d_W,
                                   float *d_head_W, float *d_extra, float *d_head_b) {
    const long n_out = A + 2 * A * O;
    Arena arena = {scratch, scratch};
    Batch batch;
    take_batch(&arena, &batch, H, A, O, B, T);
    int outside = 0;
    for (long i = 0; i < B; i++) {
        if (games[i] < 0 || games[i] >= count) return 2;
        const uint8_t *observation = observations + games[i] * (T + 1), *action = actions + games[i] * T;
        const float *reward = rewards + games[i] * T;
        memcpy(batch.action + i * T, action, T), memcpy(batch.following + i * T, observation + 1, T);
        memcpy(batch.reward + i * T, reward, T * sizeof(float));
        for (long t = 0; t < T; t++) {
            batch.index[i * T + t] = (int32_t)(observation[t] * (A + 1) + (t ? action[t - 1] : A));
            batch.reward_in[i * T + t] = t ? reward[t - 1] : 0.f;
            outside |= action[t] >= A || observation[t] >= O || observation[t + 1] >= O;
        }
    }
    if (outside) return 2;
    if (coopctx_forward(H, n_out, B, T, table, reward_gates, bias_hn, W, head_W, head_b, extra, batch.index,
                        batch.reward_in, batch.outputs, batch.saved))
        return 1;
    head_losses(B * T, A, O, batch.outputs, batch.action, batch.following, batch.reward, weights, batch.lanes,
                batch.logits, losses, batch.d_outputs);
    for (long i = 0; i < B * T; i++)
        for (long k = 0; k < n_out; k++) d_head_b[k] += batch.d_outputs[i * n_out + k];
    return coopctx_backward(H, n_out, B, T, W, head_W, batch.index, batch.reward_in, batch.saved, batch.d_outputs, d_table,
                            d_reward_gates, d_bias_hn, d_W, d_head_W, d_extra);
}

/* ---- rollouts ----
 * Rollouts from the same state that have drawn the same actions and observations so far are in the same state again: a
 * node of that state's tree. The model takes a step once per node; a rollout only draws where to go. Games in the same
 * state share a tree, so they are put next to each other and into the same chunk. The nodes of one depth are numbered
 * from 0 in the order in which rollouts reach them, and the trees of a chunk share blocks. */
enum { CHUNK_ROLLOUTS = 512 }; /* about; whole games */

typedef struct {
    long count;    /* nodes */
    float *h;      /* blocks of ROWS nodes, each [rows][H] tiled */
    elem *operand; /* [node][H] */
} Depth;
typedef struct { uint64_t key; long game; } Ordered; /* key: equal for equal states */

typedef struct {
    long games, rollouts, A, O; /* rollouts: per game and first action */
    const Ordered *order;       /* [games]: the chunk's */
    const float *hidden, *extra, *uniforms; /* of all games */
    long shared, steps;
    Depth now, before;
    elem *parents;                            /* left operand of a block */
    vec *outlooks;                            /* [node / V][width]; see `outlook` */
    int32_t *at, *child;                      /* [games,A,rollouts]: node; [node][A,O]: node of the next depth or -1 */
    int32_t *origin, *index;                  /* [node]: its parent, and the input that led to it */
    int32_t *game;                            /* [node]: one of the games that are in this tree */
    float *reward, *returns;                  /* [node], [games,A,rollouts] */
} Forest;

static long block_rows(const Depth *d, long start) { return up(smaller(ROWS, d->count - start), V); }
static long outlook_width(long A, long O) { return A + 2 * A * O + A + 1; }

/* What rollouts need to know at a node, V nodes side by side: running sums of the weights of the actions [A] and of the
 * observations given each action [A,O], rewards [A,O], expected reward given each action [A], expected reward. */
INLINE void outlook(vec *of, const float *out, long row_stride, const long A, const long O) {
    vec *logits = of + A, *rewards = logits + A * O, *expected = rewards + A * O;
    for (long j = 0; j * V < A + 2 * A * O; j++) /* outputs come in vectors of V, `row_stride` rows apart */
        transpose((float *)(of + j * V), V, out + j * row_stride * V, V, V, valid(A + 2 * A * O, j * V));
    vec top = maximum(of, A), total = {0}, mean = {0};
    for (long a = 0; a < A; a++, logits += O, rewards += O) {
        vec peak = maximum(logits, O), sum = {0}, gain = {0};
        for (long o = 0; o < O; o++) {
            vec weight = exponential(logits[o] - peak, 1.f);
            gain += weight * rewards[o];
            logits[o] = sum += weight;
        }
        expected[a] = gain / sum;
        vec weight = exponential(of[a] - top, 1.f);
        mean += weight * expected[a];
        of[a] = total += weight;
    }
    expected[A] = mean / total;
}

/* The states of all nodes of the present depth, and their outlooks. */
static void visit(const Model *m, Block *b, Forest *f, const int root) {
    const long H = m->hidden, width = outlook_width(f->A, f->O);
    for (long start = 0; start < f->now.count; start += ROWS) {
        const long count = smaller(ROWS, f->now.count - start);
        const float *states[ROWS];
        b->rows = block_rows(&f->now, start), b->h = f->now.h + start * H;
        b->operand = root ? f->now.operand + start * H : f->parents, b->next = f->now.operand + start * H;
        for (long i = 0; i < b->rows; i++) {
            const long node = start + (i < count ? i : count - 1);
            states[i] = f->hidden + f->game[node] * H;
            b->extra[i] = f->extra ? f->extra + f->game[node] * 3 * H : NULL;
            if (root) continue;
            const long from = f->origin[node], block = from / ROWS * ROWS, rows = block_rows(&f->before, block);
            for (long p = 0; p < m->panels; p++)
                store(b->h + (p * b->rows + i) * V, load(f->before.h + block * H + (p * rows + from - block) * V));
            memcpy(b->operand + i * H, f->before.operand + from * H, H * sizeof(elem));
            b->index[i] = f->index[node], b->reward[i] = f->reward[node];
        }
        if (root) set_hidden(m, b, states, b->rows);
        else cell(m, b, NULL, 0);
        head(m, b);
        for (long i = 0; i < b->rows; i += V) {
            vec *of = f->outlooks + (start + i) / V * width;
            if (f->A == 2 && f->O == 5) outlook(of, b->out + i * V, b->rows, 2, 5); /* the Prisoner's Dilemma */
            else outlook(of, b->out + i * V, b->rows, f->A, f->O);
        }
    }
}

/* Inverse-CDF sample at u from running sums, V floats apart. */
INLINE int32_t draw(const float *sums, const long n, float u) {
    int32_t index = 0;
    u *= sums[(n - 1) * V];
    UNROLL for (long i = 0; i + 1 < n; i++) index += sums[i * V] <= u;
    return index;
}
/* Every rollout gains `factor` times its reward at step s and moves on to a node of the next depth. */
INLINE void descend(Forest *f, long s, float factor, const int expected, const long A, const long O) {
    const long width = outlook_width(A, O), branches = A * O;
    int32_t *at = f->at, count = 0;
    float *returns = f->returns;
    memset(f->child, 255, f->now.count * branches * sizeof(int32_t));
    for (long i = 0; i < f->games; i++)
        for (long own = 0; own < A; own++) {
            const long g = f->order[i].game;
            const float *u = f->uniforms + ((g * f->shared + own % f->shared) * f->rollouts * f->steps + s) * 2;
            for (long k = 0; k < f->rollouts; k++, u += 2 * f->steps) {
                const int32_t node = *at;
                const float *of = (const float *)(f->outlooks + node / V * width) + node % V;
                const int32_t a = s ? draw(of, A, u[0]) : (int32_t)own, o = draw(of + (A + a * O) * V, O, u[1]);
                const float seen = of[(A + (A + a) * O + o) * V];
                *returns++ += factor * (expected ? of[(A + 2 * A * O + (s ? A : a)) * V] : seen);
                int32_t *child = f->child + node * branches + a * O + o;
                const int32_t is_new = *child < 0; /* no branch, which would be mispredicted; the entry may be written in vain */
                *at++ = *child = is_new ? count : *child;
                f->origin[count] = node, f->game[count] = (int32_t)g;
                f->index[count] = o * (int32_t)(A + 1) + a, f->reward[count] = seen;
                count += is_new;
            }
        }
    Depth old = f->before;
    f->before = f->now, f->now = old, f->now.count = count;
}

static int by_key(const void *a, const void *b) {
    const Ordered *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->game > y->game) - (x->game < y->game);
}
/* The games with those in the same state next to each other. */
static void put_in_order(Ordered *order, long G, long H, const float *hidden) {
    for (long g = 0; g < G; g++) {
        order[g] = (Ordered){0, g};
        for (long k = 0; k < H; k++) {
            uint32_t bits;
            memcpy(&bits, hidden + g * H + k, sizeof bits);
            order[g].key = (order[g].key ^ bits) * 0x9e3779b97f4a7c15u;
        }
    }
    qsort(order, G, sizeof *order, by_key);
}
static int same_state(const Forest *f, long H, long a, long b) {
    return !memcmp(f->hidden + a * H, f->hidden + b * H, H * sizeof(float)) &&
           (!f->extra || !memcmp(f->extra + a * 3 * H, f->extra + b * 3 * H, 3 * H * sizeof(float)));
}
/* Every rollout of the chunk to the root of its game's tree. */
static void plant(Forest *f, long H) {
    const long each = f->A * f->rollouts;
    f->now.count = 0;
    for (long i = 0; i < f->games; i++) {
        const long game = f->order[i].game;
        if (!i || !same_state(f, H, game, f->order[i - 1].game)) f->game[f->now.count++] = (int32_t)game;
        for (long k = 0; k < each; k++) f->at[i * each + k] = (int32_t)(f->now.count - 1);
    }
}

/* q [G,A]: mean return of R rollouts of S steps after each own action, from hidden [G,H]; uniforms [G,U,R,S,2],
 * U = A, or 1 where all first actions share them. The table's index is o (A+1) + action.
 * *computed: how many steps the model took, at most G A R (S - 1). */
EXPORT int coopctx_rollouts(long H, long G, long R_, long S, long A, long O, long U, float discount, int expected,
                            const float *table, const float *reward_gates, const float *bias_hn, const float *W,
                            const float *head_W, const float *head_b, const float *extra, const float *hidden,
                            const float *uniforms, float *q, long *computed) {
    const long chunk = CHUNK_ROLLOUTS > A * R_ ? CHUNK_ROLLOUTS / (A * R_) : 1;
    const long most = up(chunk * A * R_ + 1, ROWS); /* nodes, and one for an entry written in vain */
    Model m;
    Block b;
    Ordered *order;
    Forest f = {.rollouts = R_, .A = A, .O = O, .hidden = hidden, .extra = extra, .uniforms = uniforms, .shared = U, .steps = S};
    WORKSPACE(arena, take_model(&arena, &m, H, A + 2 * A * O, table, reward_gates, bias_hn, W, head_W, head_b);
              take_block(&arena, &b, &m, 1); f.parents = b.operand; order = take(&arena, G * sizeof *order);
              f.now.h = take(&arena, most * H * sizeof(float)); f.now.operand = take(&arena, most * H * sizeof(elem));
              f.before.h = take(&arena, most * H * sizeof(float)); f.before.operand = take(&arena, most * H * sizeof(elem));
              f.outlooks = take(&arena, most / V * outlook_width(A, O) * sizeof(vec));
              f.at = take(&arena, most * sizeof(int32_t)); f.child = take(&arena, most * A * O * sizeof(int32_t));
              f.origin = take(&arena, most * sizeof(int32_t)); f.index = take(&arena, most * sizeof(int32_t));
              f.game = take(&arena, most * sizeof(int32_t));
              f.reward = take(&arena, most * sizeof(float)); f.returns = take(&arena, most * sizeof(float));)
    *computed = 0;
    put_in_order(order, G, H, hidden);
    for (long first = 0; first < G; first += chunk) {
        f.games = smaller(chunk, G - first), f.order = order + first;
        memset(f.returns, 0, f.games * A * R_ * sizeof(float));
        plant(&f, H);
        float factor = 1.f;
        for (long s = 0; s < S; s++, factor *= discount) {
            visit(&m, &b, &f, s == 0);
            if (s) *computed += f.now.count;
            if (A == 2 && O == 5 && expected) descend(&f, s, factor, 1, 2, 5);
            else descend(&f, s, factor, expected, A, O);
        }
        for (long i = 0; i < f.games * A; i++) {
            float sum = 0.f;
            for (long r = 0; r < R_; r++) sum += f.returns[i * R_ + r] / (float)R_;
            q[f.order[i / A].game * A + i % A] = sum;
        }
    }
    free(arena.base);
    return 0;
}

/* ---- whole episodes ----
 * Games between policies that only sample: of trunks, whose first A outputs are logits, and tabular ones. Everybody draws
 * action a where the running sum of the probabilities before a is the last at or below a given uniform number. Softmax is
 * rounded here otherwise than elsewhere, so a draw so close to a running sum that rounding could tip it is left to the
 * caller: coopctx_play then returns in the middle and is called again. */
static const float MARGIN = 1e-5f; /* several times the error of `exponential` where it is largest */

typedef struct { /* who plays games begin .. begin + count - 1 from one side */
    long side, begin, count, hidden; /* hidden 0: tabular */
    const float *uniforms;           /* [T,count] */
    const float *sums;               /* a tabular policy: running sums of the action probabilities [count,O,A-1] */
    const float *table, *reward_gates, *bias_hn, *W, *head_W, *head_b, *extra; /* a trunk with A + 1 outputs */
    float *outputs;                  /* [count,T,A+1] */
    elem *saved;                     /* coopctx_saved_bytes, or null */
} Seat;

typedef struct { /* a trunk on its way through a call's games; stays in the scratch memory */
    Model model;
    Block *blocks; /* of the rows from `first` on; states of their own, shared swish and outputs */
    vec *weights;  /* [A] */
} Trunk;

typedef struct { /* from one side, from some game on; T rounds each */
    uint8_t *observations, *actions;
    float *rewards;
} Log;

typedef struct { long t, seat, unsure; } Pause; /* whose turn is next; how many of its predecessor's draws are unsure */

static long row_of(const Seat *s, long game) { return game < s->begin ? 0 : smaller(game - s->begin, s->count); }

static void place_trunk(Arena *arena, Trunk *trunk, const Seat *s, long first, long last, long A, long T) {
    Model *m = &trunk->model;
    place_model(arena, m, s->hidden, A + 1, s->table, s->reward_gates, s->bias_hn);
    if (arena->base) pack_model(m, s->W, s->head_W, s->head_b);
    trunk->weights = take(arena, A * sizeof(vec));
    trunk->blocks = take(arena, up(last - first, ROWS) / ROWS * sizeof(Block));
    elem *swish = take(arena, ROWS * m->hidden * sizeof(elem));
    float *out = take(arena, ROWS * m->output_vectors * V * sizeof(float));
    for (long start = first; start < last; start += ROWS) {
        Block b;
        take_block(arena, &b, m, 0);
        if (!arena->base) continue;
        const long count = smaller(ROWS, last - start);
        b.rows = up(count, MR);
        set_hidden(m, &b, NULL, count);
        b.swish = swish, b.out = out;
        for (long i = 0; i < b.rows; i++)
            b.extra[i] = s->extra ? s->extra + (start + (i < count ? i : count - 1)) * 3 * m->hidden : NULL;
        for (long p = 0; s->saved && p < m->panels; p++)
            memset(s->saved + (SAVED * start * m->panels + (HIDDEN * m->panels + p) * b.rows) * (T + 1) * V, 0,
                   b.rows * V * sizeof(elem));
        trunk->blocks[(start - first) / ROWS] = b;
    }
}
static Trunk *place_trunks(Arena *arena, const Seat *seats, long n, long begin, long end, long A, long T) {
    Trunk *trunks = take(arena, n * sizeof *trunks), trunk = {0};
    for (long k = 0; k < n; k++) {
        if (seats[k].hidden) place_trunk(arena, &trunk, seats + k, row_of(seats + k, begin), row_of(seats + k, end), A, T);
        if (arena->base) trunks[k] = trunk;
    }
    return trunks;
}

/* Draws for `count` rows of a block that begin at row `start`; the numbers of those that are unsure go to `unsure`. */
static long draw_block(const Block *b, vec *weights, long A, const float *uniforms, long count, long start, uint8_t *actions,
                       long T, int32_t *unsure) {
    long left = 0;
    for (long i = 0; i < count; i += V) {
        for (long j = 0; j * V < A; j++)
            transpose((float *)(weights + j * V), V, b->out + (j * b->rows + i) * V, V, smaller(V, b->rows - i),
                      valid(A, j * V));
        const vec top = maximum(weights, A);
        vec total = {0};
        for (long a = 0; a < A; a++) weights[a] = total += exponential(weights[a] - top, 1.f);
        const vec at = load_some(uniforms + i, count - i) * total, margin = MARGIN * total;
        ivec drawn = {0}, sure = ~drawn;
        for (long a = 0; a + 1 < A; a++) {
            const vec beyond = at - weights[a];
            drawn -= beyond >= 0.f, sure &= (beyond > margin) | (beyond < -margin); /* never sure of a nan */
        }
        for (long k = 0; k < V && i + k < count; k++) {
            actions[(i + k) * T] = (uint8_t)drawn[k];
            if (!sure[k]) unsure[left++] = (int32_t)(start + i + k);
        }
    }
    return left;
}
/* Round t of rows first .. last - 1; returns how many draws are unsure. */
static long play_trunk(const Seat *s, Trunk *trunk, long first, long last, long A, long T, long t, const Log *log,
                       int32_t *unsure) {
    const Model *m = &trunk->model;
    long left = 0;
    for (long start = first; start < last; start += ROWS) {
        Block *b = trunk->blocks + (start - first) / ROWS;
        const long count = smaller(ROWS, last - start), stride = (T + 1) * b->rows * V;
        uint8_t *actions = log->actions + start * T + t;
        for (long i = 0; i < b->rows; i++) {
            const long k = i < count ? i : count - 1, row = start + k;
            b->index[i] = (int32_t)(log->observations[row * (T + 1) + t] * (A + 1) + (t ? actions[k * T - 1] : A));
            b->reward[i] = t ? log->rewards[row * T + t - 1] : 0.f;
        }
        cell(m, b, s->saved ? s->saved + SAVED * start * m->hidden * (T + 1) + (t + 1) * b->rows * V : NULL, stride);
        head(m, b);
        for (long i = 0; i < count; i++)
            for (long j = 0; j < m->output_vectors; j++)
                store_some(s->outputs + ((start + i) * T + t) * (A + 1) + j * V, load(b->out + (j * b->rows + i) * V),
                           valid(A + 1, j * V));
        left += draw_block(b, trunk->weights, A, s->uniforms + t * s->count + start, count, start, actions, T, unsure + left);
    }
    return left;
}
static void play_tabular(const Seat *s, long first, long last, long A, long O, long T, long t, const Log *log) {
    for (long row = first; row < last; row++) {
        const float *sums = s->sums + (row * O + log->observations[row * (T + 1) + t]) * (A - 1);
        uint8_t drawn = 0;
        for (long a = 0; a + 1 < A; a++) drawn += s->uniforms[t * s->count + row] >= sums[a];
        log->actions[row * T + t] = drawn;
    }
}

/* Bytes of scratch memory (aligned to 64) that coopctx_play needs for these games. */
EXPORT size_t coopctx_play_bytes(long A, long T, long begin, long end, long n, const Seat *seats) {
    Arena arena = {NULL, NULL};
    place_trunks(&arena, seats, n, begin, end, A, T);
    return (size_t)arena.next;
}
/* Games begin .. end - 1 of `games`, T rounds of a symmetric game with payoffs [A,A] and O = 1 + A^2 observations, whose
 * `seats` cover both sides. A range may begin or end inside a trunk's rows only at multiples of ROWS of them.
 * Out: observations [2,games,T+1], actions [2,games,T], rewards [2,games,T], the seats' outputs and saved.
 * Start with *pause = 0. Returns 3 where the draws of the rows `unsure` of the seat before pause->seat are to be written
 * into `actions`, at round pause->t, before the next call. */
EXPORT int coopctx_play(long A, long T, long games, long begin, long end, long n, const Seat *seats, const float *payoffs,
                        char *scratch, Pause *pause, int32_t *unsure, uint8_t *observations, uint8_t *actions,
                        float *rewards) {
    const long O = 1 + A * A;
    Trunk *trunks = (Trunk *)scratch;
    if (!pause->t && !pause->seat) {
        Arena arena = {scratch, scratch};
        place_trunks(&arena, seats, n, begin, end, A, T);
        for (long g = begin; g < end; g++) observations[g * (T + 1)] = observations[(games + g) * (T + 1)] = 0;
    }
    for (; pause->t < T; pause->t++, pause->seat = 0) {
        const long t = pause->t;
        while (pause->seat < n) {
            const long k = pause->seat++;
            const Seat *s = seats + k;
            const long game = s->side * games + s->begin, first = row_of(s, begin), last = row_of(s, end);
            const Log log = {observations + game * (T + 1), actions + game * T, rewards + game * T};
            if (!s->hidden) play_tabular(s, first, last, A, O, T, t, &log);
            else if ((pause->unsure = play_trunk(s, trunks + k, first, last, A, T, t, &log, unsure))) return 3;
        }
        for (long g = begin; g < end; g++) {
            const long own = actions[g * T + t], other = actions[(games + g) * T + t];
            observations[g * (T + 1) + t + 1] = (uint8_t)(1 + own * A + other);
            observations[(games + g) * (T + 1) + t + 1] = (uint8_t)(1 + other * A + own);
            rewards[g * T + t] = payoffs[own * A + other], rewards[(games + g) * T + t] = payoffs[other * A + own];
        }
    }
    return 0;
}
