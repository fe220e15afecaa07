/* Whole episodes between policies that sample without planning: trunks, whose first A of A + 1 outputs are logits, and
 * tabular policies.
 *
 * Random numbers are hashes of a counter: every game of a seat has its own stream, and round t uses number t of it
 * (`uniform`; `coopctx.game.sampling` has the same). The action drawn is the last one whose preceding probabilities sum to
 * at most that number.
 *
 * Games with the same history so far are in the same state, so the trunk takes one step for all of them: they are one row
 * of that round (a node of a tree). Games are divided into pieces of at most PIECE, and share rows within a piece only.
 * The result therefore does not depend on which thread plays a piece, or when. */
#pragma once
#include "train.h"

enum { PIECE = 128 };

/* ---- random numbers ---- */
#define GOLDEN 0x9e3779b97f4a7c15u
/* The finalising hash of SplitMix64 (Steele, Lea, Flood 2014). */
INLINE uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
INLINE uint64_t stream_of_game(uint64_t key, long game) { return mix(key + (uint64_t)(game + 1) * GOLDEN); }
/* Number t of a stream: a multiple of 2^-24 in [0, 1). */
INLINE float uniform(uint64_t stream, long t) { return (float)(int32_t)(mix(stream + (uint64_t)(t + 1) * GOLDEN) >> 40) * 0x1p-24f; }

/* ---- what a learner's update needs of its games ---- */
typedef struct { /* of one piece */
    History x;
    long games, rounds;
    int32_t *roots;   /* [1]: rows of round 0; the input of code c in the tree of root i is number i * O + c */
    int32_t *owner;   /* [games]: a root's first game, whose extra vector its rows read */
    uint8_t *node;    /* [rounds][games]: a game's row in each round */
    float *outputs;   /* [token][A + 1] */
} Record;

static void place_record(Arena *arena, Record *r, long H, long A, long T, long games, int saving) {
    *r = (Record){.games = games, .rounds = T};
    place_history(arena, &r->x, H, games, T, saving);
    r->roots = take(arena, sizeof *r->roots), r->owner = take(arena, games * sizeof(int32_t));
    r->node = take(arena, T * games), r->outputs = take(arena, r->x.tokens * (A + 1) * sizeof(float));
}
/* Bytes of a record, aligned to 64. */
EXPORT size_t coopctx_record_bytes(long H, long A, long T, long games) {
    Arena arena = {NULL, NULL};
    Record r;
    place_record(&arena, &r, H, A, T, games, 1);
    return (size_t)arena.next;
}

/* ---- who plays ---- */
typedef struct { /* one side of a piece */
    long trunk;           /* its number among the gates; -1: tabular */
    long first;           /* the piece's first game, among those of this seat */
    uint64_t key;         /* of the seat's streams */
    const float *extra;   /* a trunk: [.][3H], or null */
    const float *sums;    /* tabular: running sums of the action probabilities [.][O][A - 1] */
    char *record;         /* memory for what is kept (coopctx_record_bytes), or null */
} Side;
typedef struct {
    long begin, games; /* games `begin` to `begin + games - 1` */
    Side sides[2];
} Piece;
typedef struct {
    long A, T, games; /* games: of all pieces */
    const float *payoffs; /* [A,A] */
    uint8_t *observations, *actions; /* [2,games,T+1], [2,games,T] */
    float *rewards;   /* [2,games,T] */
} Log;

typedef struct { /* one side at play */
    const Side *side;
    const Model *m; /* null: tabular */
    Record r;
    float *inputs;      /* [root][code][3H] */
    State states[2];    /* before and after, in turn */
    elem *gathered, *swish;
    float *out;         /* [row][padded A + 1] */
    vec *sums;          /* [row / V][A]: running sums of the weights of the actions */
    int32_t *child, *root; /* [row][A^2]; [2][row]: of this round and the next, in turn, as `states` */
    uint64_t *streams;  /* [game] */
    float *uniforms;    /* [game] */
} Party;

static void take_party(Arena *arena, Party *p, const Gates *gates, long A, long T, long games, int identified) {
    const long H = gates ? gates->hidden : 0, rows = up(games, V);
    p->streams = take(arena, games * sizeof(uint64_t)), p->uniforms = take(arena, games * sizeof(float));
    if (!gates) return;
    p->inputs = take(arena, (identified ? games : 1) * (1 + A * A) * 3 * H * sizeof(float));
    for (int i = 0; i < 2; i++) take_state(arena, p->states + i, H, rows);
    p->gathered = take(arena, rows * H * sizeof(elem)), p->swish = take(arena, rows * H * sizeof(elem));
    p->out = take(arena, rows * up(A + 1, PAD) * sizeof(float)), p->sums = take(arena, rows / V * A * sizeof(vec));
    p->child = take(arena, games * A * A * sizeof(int32_t)), p->root = take(arena, 2 * rows * sizeof(int32_t));
    place_record(arena, &p->r, H, A, T, games, 0);
}

/* Repeat a round's last row until its rows are a multiple of MR, and set where the next round begins. */
static void close_round(Party *p, long t, long rows) {
    History *x = &p->r.x;
    const long first = x->first[t], last = first + rows - 1, all = up(rows, MR);
    for (long i = rows; i < all; i++) {
        x->input[first + i] = x->input[last];
        x->parent[first + i] = x->straight[t] ? (int32_t)i : x->parent[last];
        p->root[t % 2 * up(p->r.games, V) + i] = p->root[t % 2 * up(p->r.games, V) + rows - 1];
    }
    x->first[t + 1] = (int32_t)(first + all);
}
/* The rows of round 0: games with the same extra vector (the co-player's identity) share one. */
static void plant_party(Party *p, const Model *m, const Log *log, long games) {
    const Side *s = p->side;
    const long H = m ? m->hidden : 0, A = log->A, O = 1 + A * A;
    for (long g = 0; g < games; g++) p->streams[g] = stream_of_game(s->key, s->first + g);
    if (!(p->m = m)) return;
    const float *extra = s->extra ? s->extra + s->first * 3 * H : NULL;
    if (s->record) {
        Arena arena = {s->record, s->record};
        place_record(&arena, &p->r, H, A, log->T, games, 1);
    } else p->r.games = games;
    long roots = 0;
    for (long g = 0; g < games; g++) {
        if (!g || (extra && memcmp(extra + g * 3 * H, extra + (g - 1) * 3 * H, 3 * H * sizeof(float)))) {
            p->r.owner[roots] = (int32_t)g, p->root[roots] = (int32_t)roots;
            p->r.x.input[roots] = (int32_t)(roots * O), p->r.x.parent[roots] = (int32_t)roots;
            for (long code = 0; code < O; code++) /* an observation determines the previous action and reward */
                fold_input(p->inputs + (roots * O + code) * 3 * H, m, code * (A + 1) + (code ? (code - 1) / A : A),
                           code ? log->payoffs[code - 1] : 0.f, extra ? extra + g * 3 * H : NULL);
            roots++;
        }
        p->r.node[g] = (uint8_t)(roots - 1);
    }
    *p->r.roots = (int32_t)roots;
    p->r.x.first[0] = 0, p->r.x.straight[0] = 1;
    close_round(p, 0, roots);
    clear_state(p->states, p->r.x.first[1], H);
}
/* The rows of round t: one for every row of the round before and observation after it, numbered as games reach them. */
static void branch(Party *p, long t, const uint8_t *observations, const Log *log) {
    History *x = &p->r.x;
    const long games = p->r.games, O = 1 + log->A * log->A, from = x->first[t - 1], to = x->first[t], all = up(games, V);
    const uint8_t *node = p->r.node + (t - 1) * games;
    const int32_t *root = p->root + (t - 1) % 2 * all;
    int32_t *roots = p->root + t % 2 * all;
    uint8_t *next = p->r.node + t * games;
    long rows = 0;
    memset(p->child, 255, (to - from < games ? to - from : games) * (O - 1) * sizeof(int32_t));
    x->straight[t] = 1;
    for (long g = 0; g < games; g++) {
        const long code = observations[g * (log->T + 1) + t];
        int32_t *child = p->child + node[g] * (O - 1) + code - 1;
        if (*child < 0) {
            *child = (int32_t)rows, x->parent[to + rows] = node[g], roots[rows] = root[node[g]];
            x->input[to + rows] = (int32_t)(root[node[g]] * O + code);
            x->straight[t] &= node[g] == rows;
            rows++;
        }
        next[g] = (uint8_t)*child;
    }
    x->straight[t] &= up(rows, MR) == to - from;
    close_round(p, t, rows);
}
/* Running sums of the weights that a softmax gives the actions, V rows side by side. */
static void weigh(Party *p, long rows, long A) {
    const long padded = p->m->output_vectors * V;
    for (long i = 0; i < rows; i += V) {
        vec *sums = p->sums + i / V * A, total = {0};
        transpose((float *)sums, V, p->out + i * padded, padded, smaller(V, rows - i), A);
        const vec top = maximum(sums, A);
        for (long a = 0; a < A; a++) sums[a] = total += exponential(sums[a] - top);
    }
}
/* One side's actions in round t. */
static void act(Party *p, long t, const Log *log, const uint8_t *observations, uint8_t *actions) {
    const long A = log->A, T = log->T, games = p->r.games;
    for (long g = 0; g < games; g++) p->uniforms[g] = uniform(p->streams[g], t);
    if (!p->m) {
        for (long g = 0; g < games; g++) {
            const float *sums = p->side->sums + ((p->side->first + g) * (1 + A * A) + observations[g * (T + 1) + t]) * (A - 1);
            uint8_t drawn = 0;
            for (long a = 0; a + 1 < A; a++) drawn += p->uniforms[g] >= sums[a];
            actions[g * T + t] = drawn;
        }
        return;
    }
    History *x = &p->r.x;
    const long H = p->m->hidden, padded = p->m->output_vectors * V, first = x->first[t], rows = x->first[t + 1] - first;
    State before = p->states[t % 2];
    const int32_t *parent = x->straight[t] ? NULL : x->parent + first;
    for (long i = 0; parent && i < rows; i++) memcpy(p->gathered + i * H, before.operand + parent[i] * H, H * sizeof(elem));
    if (parent) before.operand = p->gathered;
    const Step step = {rows, p->inputs, x->input + first, NULL, before, p->states[(t + 1) % 2], parent, p->swish, saved_from(x, t)};
    cell(p->m, &step);
    head(p->m, rows, p->swish, p->out);
    for (long i = 0; i < rows; i++) memcpy(p->r.outputs + (first + i) * (A + 1), p->out + i * padded, (A + 1) * sizeof(float));
    weigh(p, rows, A);
    const uint8_t *node = p->r.node + t * games;
    for (long g = 0; g < games; g++) {
        const float *sums = (const float *)(p->sums + node[g] / V * A) + node[g] % V, at = p->uniforms[g] * sums[(A - 1) * V];
        uint8_t drawn = 0;
        for (long a = 0; a + 1 < A; a++) drawn += at >= sums[a * V];
        actions[g * T + t] = drawn;
    }
}
static int play_piece(const Piece *piece, const Model *models, const Gates *gates, const Log *log) {
    const long A = log->A, T = log->T, games = piece->games;
    Party parties[2];
    WORKSPACE(arena, for (int i = 0; i < 2; i++) {
        const Side *side = piece->sides + i;
        take_party(&arena, parties + i, side->trunk < 0 ? NULL : gates + side->trunk, A, T, games, side->extra != NULL);
    })
    uint8_t *observations[2], *actions[2];
    float *rewards[2];
    for (long i = 0; i < 2; i++) {
        const long at = i * log->games + piece->begin;
        observations[i] = log->observations + at * (T + 1), actions[i] = log->actions + at * T, rewards[i] = log->rewards + at * T;
        for (long g = 0; g < games; g++) observations[i][g * (T + 1)] = 0;
        parties[i].side = piece->sides + i, parties[i].r.games = games;
        plant_party(parties + i, parties[i].side->trunk < 0 ? NULL : models + parties[i].side->trunk, log, games);
    }
    for (long t = 0; t < T; t++) {
        for (long i = 0; i < 2; i++) {
            if (t && parties[i].m) branch(parties + i, t, observations[i], log);
            act(parties + i, t, log, observations[i], actions[i]);
        }
        for (long g = 0; g < games; g++) {
            const long own = actions[0][g * T + t], other = actions[1][g * T + t];
            observations[0][g * (T + 1) + t + 1] = (uint8_t)(1 + own * A + other);
            observations[1][g * (T + 1) + t + 1] = (uint8_t)(1 + other * A + own);
            rewards[0][g * T + t] = log->payoffs[own * A + other], rewards[1][g * T + t] = log->payoffs[other * A + own];
        }
    }
    free(arena.base);
    return 0;
}
/* Plays pieces until none of the `n` is left; all threads take the number of the next one from *turn. The two sides' gates
 * are among gates[0 .. trunks - 1], each with A + 1 outputs and a table of (1 + A^2) (A + 1) rows. */
EXPORT int coopctx_play(const Log *log, long n, const Piece *pieces, long trunks, const Gates *gates, long *turn) {
    Model *models;
    WORKSPACE(packed, models = take(&packed, trunks * sizeof *models); for (long i = 0; i < trunks; i++) {
        Model m;
        take_model(&packed, &m, gates + i);
        if (packed.base) models[i] = m;
    })
    int status = 0;
    for (long i; !status && (i = __atomic_fetch_add(turn, 1, __ATOMIC_RELAXED)) < n;) status = play_piece(pieces + i, models, gates, log);
    free(packed.base);
    return status;
}
