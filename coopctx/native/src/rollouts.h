/* Monte-Carlo rollouts inside the self- and world-model (Alg. 1).
 *
 * Rollouts that start in the same state and have drawn the same actions and observations so far are in the same state: a
 * node of a tree. The model takes one step per node; a rollout only draws its next node. Games in the same state share a
 * tree, so they are sorted next to each other and put into the same chunk. The nodes of one depth are numbered from 0 in
 * the order in which rollouts reach them, and the trees of a chunk share blocks. */
#pragma once
#include "train.h"

enum { CHUNK_ROLLOUTS = 512 }; /* rollouts of a chunk, about: a chunk is whole games */

typedef struct {
    long count; /* nodes */
    State state;
} Depth;
typedef struct { uint64_t key; long game; } Ordered; /* key: equal for equal states */

typedef struct {
    long games, rollouts, A, O; /* rollouts: per game and first action */
    const Ordered *order;       /* [games]: the chunk's */
    const float *hidden, *extra, *uniforms; /* of all games */
    long shared, steps;
    Depth now, before;
    float *inputs, *out;                      /* of the gates: [1 or game of the chunk][K][3H]; outputs of a block */
    elem *parents, *swish;                    /* left operands of a block */
    long K;
    vec *outlooks;                            /* [node / V][width]; see `outlook` */
    int32_t *at, *child;                      /* [games,A,rollouts]: node; [node][A,O]: node of the next depth or -1 */
    int32_t *origin, *input;                  /* [node]: its parent, and the input that led from there to it */
    int32_t *tree;                            /* [node]: the number of one of the games that are in this tree */
    float *reward, *returns;                  /* [node], [games,A,rollouts] */
} Forest;

static long outlook_width(long A, long O) { return A + 2 * A * O + A + 1; }

/* What rollouts read at a node, V nodes side by side: running sums of the weights of the actions [A] and of the
 * observations given each action [A,O], rewards [A,O], expected reward given each action [A], expected reward. */
INLINE void outlook(vec *of, const float *out, long padded, const long A, const long O) {
    vec *logits = of + A, *rewards = logits + A * O, *expected = rewards + A * O;
    transpose((float *)of, V, out, padded, V, A + 2 * A * O);
    vec top = maximum(of, A), total = {0}, mean = {0};
    for (long a = 0; a < A; a++, logits += O, rewards += O) {
        vec peak = maximum(logits, O), sum = {0}, gain = {0};
        for (long o = 0; o < O; o++) {
            vec weight = exponential(logits[o] - peak);
            gain += weight * rewards[o];
            logits[o] = sum += weight;
        }
        expected[a] = gain / sum;
        vec weight = exponential(of[a] - top);
        mean += weight * expected[a];
        of[a] = total += weight;
    }
    expected[A] = mean / total;
}

/* The states of all nodes of the present depth, and their outlooks. */
static void visit(const Model *m, Forest *f, const int root) {
    const long H = m->hidden, width = outlook_width(f->A, f->O), padded = m->output_vectors * V;
    for (long start = 0; start < f->now.count; start += ROWS) {
        const long rows = smaller(ROWS, f->now.count - start), all = up(rows, V);
        const State after = state_from(f->now.state, start, H);
        for (long i = rows; i < all; i++) { /* rows beyond repeat the last one */
            const long last = start + rows - 1, at = start + i;
            f->origin[at] = f->origin[last], f->input[at] = f->input[last], f->reward[at] = f->reward[last];
            f->tree[at] = f->tree[last];
        }
        if (root)
            for (long i = 0; i < all; i++)
                for (long k = 0; k < H; k += V) {
                    const vec h = load(f->hidden + f->order[f->tree[start + i]].game * H + k);
                    store(after.h + (k / V * after.room + i) * V, h);
                    put_row(f->swish + i * H + k, h * sigmoid_of_state(h));
                    put_row(after.operand + i * H + k, h);
                }
        else {
            for (long i = 0; i < all; i++)
                memcpy(f->parents + i * H, f->before.state.operand + f->origin[start + i] * H, H * sizeof(elem));
            const State before = {f->before.state.room, f->before.state.h, f->parents};
            const Step step = {all, f->inputs, f->input + start, f->reward + start, before, after,
                               f->origin + start, f->swish, {NULL, 0}};
            cell(m, &step);
        }
        head(m, all, f->swish, f->out);
        for (long i = 0; i < all; i += V) {
            vec *of = f->outlooks + (start + i) / V * width;
            if (f->A == 2 && f->O == 5) outlook(of, f->out + i * padded, padded, 2, 5); /* the Prisoner's Dilemma */
            else outlook(of, f->out + i * padded, padded, f->A, f->O);
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
            const int32_t entries = f->extra ? (int32_t)(i * f->K) : 0;
            const float *u = f->uniforms + ((g * f->shared + own % f->shared) * f->rollouts * f->steps + s) * 2;
            for (long k = 0; k < f->rollouts; k++, u += 2 * f->steps) {
                const int32_t node = *at;
                const float *of = (const float *)(f->outlooks + node / V * width) + node % V;
                const int32_t a = s ? draw(of, A, u[0]) : (int32_t)own, o = draw(of + (A + a * O) * V, O, u[1]);
                const float seen = of[(A + (A + a) * O + o) * V];
                *returns++ += factor * (expected ? of[(A + 2 * A * O + (s ? A : a)) * V] : seen);
                int32_t *child = f->child + node * branches + a * O + o;
                /* No branch, which would be mispredicted: the entry of a node that is not new is overwritten by the next one. */
                const int32_t is_new = *child < 0;
                *at++ = *child = is_new ? count : *child;
                f->origin[count] = node, f->tree[count] = (int32_t)i;
                f->input[count] = entries + o * (int32_t)(A + 1) + a, f->reward[count] = seen;
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
/* Sort the games so that those in the same state are next to each other. */
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
/* Place every rollout of the chunk at the root of its game's tree. */
static void plant(Forest *f, long H) {
    const long each = f->A * f->rollouts;
    f->now.count = 0;
    for (long i = 0; i < f->games; i++) {
        const long game = f->order[i].game;
        if (!i || !same_state(f, H, game, f->order[i - 1].game)) f->tree[f->now.count++] = (int32_t)i;
        for (long k = 0; k < each; k++) f->at[i * each + k] = (int32_t)(f->now.count - 1);
    }
}

/* The gates' inputs in this chunk: the table, with each game's extra vector (the co-player's identity). */
static void fold_chunk(const Model *m, Forest *f) {
    const long H = m->hidden;
    for (long i = 0; i < (f->extra ? f->games : 1); i++)
        for (long k = 0; k < f->K; k++)
            fold_input(f->inputs + (i * f->K + k) * 3 * H, m, k, 0.f, f->extra ? f->extra + f->order[i].game * 3 * H : NULL);
}

/* q [G,A]: mean return of R rollouts of S steps after each own action, from hidden [G,H]; uniforms [G,U,R,S,2],
 * U = A, or 1 where all first actions share them. The table's index is o (A+1) + action.
 * *computed: how many steps the model took, at most G A R (S - 1). */
EXPORT int coopctx_rollouts(const Gates *gates, long G, long R_, long S, long A, long O, long U, float discount, int expected,
                            const float *extra, const float *hidden, const float *uniforms, float *q, long *computed) {
    const long H = gates->hidden, n_out = gates->outputs, K = gates->inputs;
    const long chunk = CHUNK_ROLLOUTS > A * R_ ? CHUNK_ROLLOUTS / (A * R_) : 1;
    const long most = up(chunk * A * R_ + 1, ROWS); /* nodes, and one entry beyond the last node, see `descend` */
    Model m;
    Ordered *order;
    Forest f = {.rollouts = R_, .A = A, .O = O, .hidden = hidden, .extra = extra, .uniforms = uniforms, .shared = U, .steps = S,
                .K = K};
    WORKSPACE(arena, take_model(&arena, &m, gates); order = take(&arena, G * sizeof *order);
              take_state(&arena, &f.now.state, H, most); take_state(&arena, &f.before.state, H, most);
              f.parents = take(&arena, ROWS * H * sizeof(elem)); f.swish = take(&arena, ROWS * H * sizeof(elem));
              f.out = take(&arena, ROWS * up(n_out, PAD) * sizeof(float));
              f.inputs = take(&arena, (extra ? chunk : 1) * K * 3 * H * sizeof(float));
              f.outlooks = take(&arena, most / V * outlook_width(A, O) * sizeof(vec));
              f.at = take(&arena, most * sizeof(int32_t)); f.child = take(&arena, most * A * O * sizeof(int32_t));
              f.origin = take(&arena, most * sizeof(int32_t)); f.input = take(&arena, most * sizeof(int32_t));
              f.tree = take(&arena, most * sizeof(int32_t));
              f.reward = take(&arena, most * sizeof(float)); f.returns = take(&arena, most * sizeof(float));)
    *computed = 0;
    put_in_order(order, G, H, hidden);
    for (long first = 0; first < G; first += chunk) {
        f.games = smaller(chunk, G - first), f.order = order + first;
        memset(f.returns, 0, f.games * A * R_ * sizeof(float));
        if (!first || extra) fold_chunk(&m, &f);
        plant(&f, H);
        float factor = 1.f;
        for (long s = 0; s < S; s++, factor *= discount) {
            visit(&m, &f, s == 0);
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
