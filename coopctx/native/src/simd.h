/* Vectors of floats, operands of matrix products, and elementary functions.
 *
 * Matrix products take operands of type `elem`: bfloat16 in pairs along the summed axis (KSTEP = 2) when this is
 * compiled with COOPCTX_BF16=1 for a CPU with AVX512-BF16, float (KSTEP = 1) otherwise. Sums are always float. Two
 * layouts of a matrix with summed axis k:
 *     rows    [row][k]                                                         (left operand only)
 *     panels  [column / V][k / KSTEP][column % V][k % KSTEP], zero-padded      (either operand)
 * A tile of MR rows by up to NR vectors of V columns stays in registers over the whole sum. */
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define WIDE 1
enum { V = 16, MR = 8 };
#define VBYTES 64
#elif defined(__AVX__)
#define WIDE 0
enum { V = 8, MR = 4 };
#define VBYTES 32
#else
#define WIDE 0
enum { V = 4, MR = 4 };
#define VBYTES 16
#endif
enum { NR = 3 }; /* vectors per tile: one for each gate of V units */

typedef float vec __attribute__((vector_size(VBYTES)));
typedef int32_t ivec __attribute__((vector_size(VBYTES)));
typedef uint32_t uvec __attribute__((vector_size(VBYTES)));
typedef float vec_u __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef uint32_t uvec_u __attribute__((vector_size(VBYTES), aligned(4), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define EXPORT __attribute__((visibility("default")))

static long up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
static long smaller(long a, long b) { return a < b ? a : b; }

/* ---- vectors ---- */
INLINE vec load(const float *p) { return *(const vec_u *)p; }
INLINE void store(float *p, vec x) { *(vec_u *)p = x; }
/* The first n >= 0 of V floats; all of them for n >= V. The others are loaded as 0, and not stored. */
#if WIDE
INLINE __mmask16 first_lanes(long n) { return n < V ? (__mmask16)((1u << n) - 1) : (__mmask16)0xffff; }
INLINE vec load_some(const float *p, const long n) { return (vec)_mm512_maskz_loadu_ps(first_lanes(n), p); }
#endif
INLINE void store_some(float *p, vec x, const long n) {
#if WIDE
    _mm512_mask_storeu_ps(p, first_lanes(n), (__m512)x);
#else
    for (long i = 0; i < V && i < n; i++) p[i] = x[i];
#endif
}
/* A store past the caches, so that they keep what is needed sooner. p is aligned to a vector; `settle` follows the last one. */
INLINE void store_away(void *p, vec x) {
#if WIDE
    _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX__)
    _mm256_stream_ps(p, (__m256)x);
#else
    store(p, x);
#endif
}
INLINE void settle(void) {
#ifdef __AVX__
    _mm_sfence();
#endif
}
INLINE void prefetch(const void *p) { __builtin_prefetch(p, 0, 3); }
INLINE vec splat(float x) { return x - (vec){0}; }
INLINE vec blend(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
INLINE vec maximum(const vec *x, long n) {
    vec top = x[0];
    for (long i = 1; i < n; i++) top = blend(x[i] > top, x[i], top);
    return top;
}
INLINE float sum_of(vec x, long count) {
    float sum = 0.f;
    for (long i = 0; i < count; i++) sum += x[i];
    return sum;
}

/* to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < columns. */
INLINE void transpose(float *to, long to_stride, const float *from, long from_stride, const long rows, const long columns) {
#if WIDE
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

/* ---- operands of matrix products ---- */
#if COOPCTX_BF16 && WIDE && defined(__AVX512BF16__)
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
INLINE __m512i interleaved(const vec x[KSTEP]) {
    const uvec low = ((uvec)x[0] + 0x8000u) >> 16, high = (uvec)x[1] + 0x8000u;
    return _mm512_mask_blend_epi16(0xaaaaaaaau, (__m512i)low, (__m512i)high);
}
/* KSTEP rows of one panel; `get_one` reads row k of them. */
INLINE void put(elem *p, const vec x[KSTEP]) { *(uvec_u *)p = (uvec)interleaved(x); }
INLINE void put_away(elem *p, const vec x[KSTEP]) { store_away(p, (vec)interleaved(x)); }
INLINE vec get_one(const elem *p, const int k) { return (vec)(k ? load_elems(p) & 0xffff0000u : load_elems(p) << 16); }
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
INLINE void put_away(elem *p, const vec x[KSTEP]) { store_away(p, x[0]); }
INLINE vec get_one(const elem *p, const int k) { (void)k; return load(p); }
#endif

/* Pack source[k * k_stride + c * column_stride], k < depth, c < columns, times `scale` into panels of padded sizes. */
static void pack(elem *panels, const float *source, long depth, long columns, long k_stride, long column_stride,
                 long padded_depth, long padded_columns, float scale) {
    for (long c = 0; c < padded_columns; c++)
        for (long k = 0; k < padded_depth; k++)
            panels[((c / V) * padded_depth + k / KSTEP * KSTEP) * V + (c % V) * KSTEP + k % KSTEP] =
                to_elem(c < columns && k < depth ? scale * source[k * k_stride + c * column_stride] : 0.f);
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

/* c += a b for `rows` rows and n vectors of columns. Row i of a starts at (i / V) * group_stride + (i % V) * row_stride. */
INLINE void product_n(const int n, long rows, long depth, const elem *a, long group_stride, long row_stride, long k_stride,
                      const elem *b, long vector_stride, float *c, long c_row) {
    for (long i = 0; i < rows; i += MR) {
        vec sum[MR][NR];
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) sum[k][j] = load(c + (i + k) * c_row + j * V);
        multiply(sum, n, a + i / V * group_stride + i % V * row_stride, row_stride, k_stride, b, vector_stride, depth);
        UNROLL for (int k = 0; k < MR; k++)
            UNROLL for (int j = 0; j < n; j++) store(c + (i + k) * c_row + j * V, sum[k][j]);
    }
}
INLINE void product(long rows, long vectors, long depth, const elem *a, long group_stride, long row_stride, long k_stride,
                    const elem *b, long vector_stride, float *c, long c_row) {
    for (; vectors > 0; vectors -= NR, b += NR * vector_stride, c += NR * V) /* columns outermost: b stays in the L1 cache */
        if (vectors >= 3) product_n(3, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row);
        else if (vectors == 2) product_n(2, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row);
        else product_n(1, rows, depth, a, group_stride, row_stride, k_stride, b, vector_stride, c, c_row);
}

/* ---- elementary functions ---- */
/* 2^x: the whole part of x as an exponent times a minimax polynomial on [0, 1] of the rest, with a relative error of
 * 8e-5, 3e-6 or 5e-8 for degree 3, 4 or 5. Saturates at 0 and infinity (without AVX-512: beyond 2^+-100). */
INLINE vec power(vec x, const int degree) {
#if WIDE
    const vec rest = (vec)_mm512_reduce_ps((__m512)x, 1); /* x - floor(x) */
#else
    x = blend(x > 100.f, splat(100.f), blend(x < -100.f, splat(-100.f), x));
    ivec whole = __builtin_convertvector(x, ivec);
    whole += __builtin_convertvector(whole, vec) > x;
    const vec rest = x - __builtin_convertvector(whole, vec);
#endif
    vec p;
    if (degree == 3) {
        p = 7.80233819e-2f * rest + 2.26068766e-1f;
        p = p * rest + 6.95833147e-1f;
        p = p * rest + 9.99925210e-1f;
    } else if (degree == 4) {
        p = 1.35317105e-2f * rest + 5.20161383e-2f;
        p = p * rest + 2.41440144e-1f;
        p = p * rest + 6.93004257e-1f;
        p = p * rest + 1.00000258e0f;
    } else {
        p = 1.87736786e-3f * rest + 8.99208830e-3f;
        p = p * rest + 5.58222005e-2f;
        p = p * rest + 2.40155447e-1f;
        p = p * rest + 6.93152849e-1f;
        p = p * rest + 9.99999952e-1f;
    }
#if WIDE
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)x); /* p 2^floor(x) */
#else
    return (vec)((uvec)p + ((uvec)whole << 23));
#endif
}
#define LOG2E 1.44269504f
INLINE vec exponential(vec x) { return power(x * LOG2E, BF16 ? 4 : 5); }
/* 1 / x; where operands are rounded to bfloat16 anyway, with a relative error of 2^-14 and without a division. */
INLINE vec reciprocal(vec x) {
#if WIDE
    if (BF16) return (vec)_mm512_rcp14_ps((__m512)x);
#endif
    return 1.f / x;
}
/* The logarithm of a positive, finite x. */
INLINE vec logarithm(vec x) {
    const uvec bits = (uvec)x - 0x3f3504f3u; /* sqrt(1/2) */
    const vec exponent = __builtin_convertvector((ivec)bits >> 23, vec);
    const vec f = (vec)((bits & 0x7fffffu) + 0x3f3504f3u) - 1.f; /* sqrt(1/2) - 1 <= f < sqrt(2) - 1 */
    const vec s = f / (2.f + f), s2 = s * s; /* log(1 + f) = 2 artanh(s) */
    return exponent * 0.693147181f + 2.f * s * (1.f + s2 * (1.f / 3 + s2 * (0.2f + s2 * (1.f / 7 + s2 * (1.f / 9)))));
}
/* sigmoid(x) for -1 <= x <= 1, where hidden states are; error 3e-6, or 1e-8 without bfloat16. */
INLINE vec sigmoid_of_state(vec x) {
    const vec s = x * x;
    vec p;
    if (BF16) {
        p = 1.75844793e-3f * s - 2.06784301e-2f;
        p = p * s + 2.49981206e-1f;
    } else {
        p = 1.6720265e-5f * s - 2.07160916e-4f;
        p = p * s + 2.08233948e-3f;
        p = p * s - 2.0833320e-2f;
        p = p * s + 0.25f;
    }
    return x * p + 0.5f;
}
