/* Decoder of what neighbouring planes do not tell (codegen/weights/planes.py).
 *
 * Some places of all planes come first, then the next ones, so that the planes before lie together in the cache.
 * What is done to a row of them is written in vectors of the compiler's, of which each machine makes its own. */
#include <string.h>

#include "internal.h"

enum { VECTOR = 32 };
typedef int8_t bytes __attribute__((vector_size(VECTOR)));
typedef uint8_t unsigned_bytes __attribute__((vector_size(VECTOR)));
typedef int16_t shorts __attribute__((vector_size(2 * VECTOR)));
typedef uint16_t sizes __attribute__((vector_size(2 * VECTOR)));

typedef struct cut {
    uint64_t planes, inner, places; /* places of a plane */
    const int8_t *weights;          /* of the planes from the second on, or null */
    uint32_t limits[RT_CONTEXTS]; /* of eight times a mean size */
    uint32_t contexts; /* of the planes from the second on */
} cut;

static int read_limits(rt_span *in, cut *c) {
    if (rt_left(*in) < 2 * (uint64_t)c->contexts) return 0;
    for (uint32_t i = 0; i + 1 < c->contexts; i++, in->at += 2) {
        c->limits[i] = rt_u16(in->at);
        if (i && c->limits[i] <= c->limits[i - 1]) return 0;
    }
    return 1;
}

static int read_cut(rt_span *in, rt_place to, cut *c) {
    if (rt_left(*in) < 10) return 0;
    c->planes = rt_u32(in->at);
    c->inner = rt_u32(in->at + 4);
    uint32_t depth = in->at[8];
    c->contexts = in->at[9];
    in->at += 10;
    if (c->planes < 2 || !c->inner || to.count % c->planes || to.count / c->planes % c->inner) return 0;
    if ((depth && depth != RT_DEPTH) || (depth && c->planes > 64)) return 0;
    if (c->contexts < 1 || c->contexts >= RT_CONTEXTS) return 0;
    c->places = to.count / c->planes;
    c->weights = depth ? (const int8_t *)in->at : NULL;
    for (uint64_t plane = 1; depth && plane < c->planes; plane++) {
        uint32_t own = plane < RT_DEPTH ? (uint32_t)plane : RT_DEPTH;
        if (rt_left(*in) < own) return 0;
        in->at += own;
    }
    return read_limits(in, c);
}

static int read_tables(rt_span *in, const cut *c, rt_scratch *scratch) {
    for (uint32_t table = 0; table <= c->contexts; table++) {
        if (!rt_read_counts(in, scratch->counts)) return 0;
        rt_fill_slots(scratch->counts, scratch->as.planes.slots[table]);
    }
    return 1;
}

/* Symbols ------------------------------------------------------------------------------------------- */

static inline uint32_t symbol_of(const rt_planes *planes, uint32_t context, uint32_t *state) {
    uint32_t entry = planes->slots[context][*state & (RT_SLOTS - 1)];
    *state = rt_advanced(*state, entry);
    return entry & 255;
}

/* Near the end of the words, one of which may be missing. */
static int careful(const rt_planes *planes, uint32_t *state, rt_span *in, const unsigned char *contexts, int8_t *out,
                   uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (int8_t)symbol_of(planes, contexts[i], &state[i]);
        if (state[i] >= RT_LOW) continue;
        if (rt_left(*in) < 2) return 0;
        state[i] = state[i] << 16 | rt_u16(in->at);
        in->at += 2;
    }
    return 1;
}

/* A symbol of each of the first `count` lanes. */
static int step(const rt_planes *planes, uint32_t *state, int eights, rt_span *in, const unsigned char *contexts, int8_t *out,
                uint32_t count) {
    uint32_t i = 0;
    if (rt_left(*in) < 2 * (uint64_t)count) return careful(planes, state, in, contexts, out, count);
#if RT_HAS_EIGHTS
    if (eights && (i = count & ~7u))
        rt_rest_eights(state, i, planes->slots[0], &planes->takes, in, contexts, (unsigned char *)out, i);
#else
    (void)eights;
#endif
    const unsigned char *at = in->at;
    for (; i < count; i++) {
        out[i] = (int8_t)symbol_of(planes, contexts[i], &state[i]);
        state[i] = rt_refilled(state[i], &at);
    }
    in->at = at;
    return 1;
}

/* Each row begins with the first lane. */
static int decode_row(rt_scratch *scratch, rt_span *in, int8_t *row, uint32_t count) {
    rt_planes *planes = &scratch->as.planes;
    rt_lanes *lanes = &scratch->lanes;
    uint32_t begin = 0;
#if RT_HAS_EIGHTS
    if (scratch->eights)
        begin = (uint32_t)rt_rest_eights(lanes->state, lanes->lanes, planes->slots[0], &planes->takes, in, planes->contexts,
                                         (unsigned char *)row, count);
#endif
    if (!scratch->eights)
        begin = (uint32_t)rt_few_steps(lanes->state, lanes->lanes, planes->slots[0], in, planes->contexts, (unsigned char *)row, count);
    for (; begin < count; begin += lanes->lanes) {
        uint32_t some = count - begin < lanes->lanes ? count - begin : lanes->lanes;
        if (!step(planes, lanes->state, scratch->eights, in, planes->contexts + begin, row + begin, some)) return 0;
    }
    return 1;
}

/* Rows, in vectors ---------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline))

INLINE void size_of(const int8_t *from, unsigned_bytes *to) {
    bytes x;
    memcpy(&x, from, sizeof x);
    unsigned_bytes sign = (unsigned_bytes)(x >> 7);
    *to = ((unsigned_bytes)x ^ sign) - sign;
}

/* Contexts of a row by the sizes of the values before: a limit of what sums give, times a share, is one of the sums. */
INLINE void contexts_of(rt_planes *planes, const cut *c, uint64_t plane, uint32_t count) {
    static const uint16_t share[RT_DEPTH + 1] = {0, 64, 32, 21, 16, 13, 11, 9, 8};
    uint32_t part = share[plane < RT_DEPTH ? plane : RT_DEPTH], last = c->contexts - 1;
    sizes limits[RT_CONTEXTS];
    for (uint32_t n = 0; n < last; n++) {
        uint32_t limit = (8 * c->limits[n] + 7) / part;
        limits[n] = (sizes){0} + (uint16_t)(limit < UINT16_MAX ? limit : UINT16_MAX);
    }
    for (uint32_t i = 0; i < count; i += VECTOR) {
        sizes sum;
        memcpy(&sum, planes->sizes + i, sizeof sum);
        shorts context = (shorts){0} + 1;
        for (uint32_t n = 0; n < last; n++) context -= sum > limits[n];
        bytes narrow = __builtin_convertvector(context, bytes);
        memcpy(planes->contexts + i, &narrow, sizeof narrow);
    }
}

/* A row's values of what is left of them and of the rows before it. */
INLINE void add_predicted(int8_t *row, const int8_t *const *past, const int8_t *weights, uint32_t depth, uint32_t count) {
    for (uint32_t i = 0; i < count; i += VECTOR) {
        sizes sum = (sizes){0} + 32; /* of which the highest bit is not looked at */
        unsigned_bytes rest;
        for (uint32_t back = 0; back < depth; back++) {
            bytes x, weight = (bytes){0} + weights[back];
            memcpy(&x, past[back] + i, sizeof x);
            sum += (sizes)__builtin_convertvector(x, shorts) * (sizes)__builtin_convertvector(weight, shorts);
        }
        memcpy(&rest, row + i, sizeof rest);
        rest += __builtin_convertvector(sum >> 6, unsigned_bytes);
        memcpy(row + i, &rest, sizeof rest);
    }
}

/* A row's values, where planes are predicted, then the sums of sizes with them. */
INLINE void values_of(rt_planes *planes, const int8_t *weights, uint64_t plane, uint32_t count) {
    int8_t *row = planes->rows[(uint32_t)plane % (RT_DEPTH + 1)];
    const int8_t *past[RT_DEPTH];
    uint32_t depth = plane < RT_DEPTH ? (uint32_t)plane : RT_DEPTH;
    for (uint32_t back = 0; back < depth; back++) past[back] = planes->rows[(uint32_t)(plane - 1 - back) % (RT_DEPTH + 1)];
    if (weights) add_predicted(row, past, weights, depth, count);
    const int8_t *old = depth == RT_DEPTH ? past[RT_DEPTH - 1] : NULL;
    for (uint32_t i = 0; i < count; i += VECTOR) {
        unsigned_bytes size;
        sizes sum;
        memcpy(&sum, planes->sizes + i, sizeof sum);
        size_of(row + i, &size);
        sum += __builtin_convertvector(size, sizes);
        if (old) {
            size_of(old + i, &size);
            sum -= __builtin_convertvector(size, sizes);
        }
        memcpy(planes->sizes + i, &sum, sizeof sum);
    }
}

static void contexts_plain(rt_planes *planes, const cut *c, uint64_t plane, uint32_t count) {
    contexts_of(planes, c, plane, count);
}

static void values_plain(rt_planes *planes, const int8_t *weights, uint64_t plane, uint32_t count) {
    values_of(planes, weights, plane, count);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void contexts_avx2(rt_planes *planes, const cut *c, uint64_t plane, uint32_t count) {
    contexts_of(planes, c, plane, count);
}

__attribute__((target("avx2"))) static void values_avx2(rt_planes *planes, const int8_t *weights, uint64_t plane,
                                                        uint32_t count) {
    values_of(planes, weights, plane, count);
}
#else
#define contexts_avx2 contexts_plain
#define values_avx2 values_plain
#endif

/* A row to its place among the others' bytes. */
static void deliver(const cut *c, const int8_t *row, uint64_t begin, uint32_t count, uint64_t plane, rt_place to) {
    uint32_t first = (uint32_t)begin, size = (uint32_t)c->inner; /* some processors divide 64 bits in a hundred instructions */
    uint64_t box = first / size, inside = first % size, step = c->planes * c->inner;
    const unsigned char *from = (const unsigned char *)row;
    if (c->inner == 1) {
        rt_spread(to.out + (box * step + plane) * to.stride, step * to.stride, from, count);
        return;
    }
    for (uint32_t i = 0; i < count; box++, inside = 0) {
        uint32_t some = c->inner - inside < count - i ? (uint32_t)(c->inner - inside) : count - i;
        rt_spread(to.out + (box * step + plane * c->inner + inside) * to.stride, to.stride, from + i, some);
        i += some;
    }
}

static int decode_places(rt_scratch *scratch, rt_span *in, const cut *c, uint64_t begin, uint32_t count, rt_place to) {
    rt_planes *planes = &scratch->as.planes;
    const int8_t *weights = c->weights;
    uint32_t whole = (count + VECTOR - 1) / VECTOR * VECTOR;
    memset(planes->sizes, 0, sizeof planes->sizes);
    memset(planes->contexts, 0, sizeof planes->contexts);
    for (uint64_t plane = 0; plane < c->planes; plane++) {
        int8_t *row = planes->rows[(uint32_t)plane % (RT_DEPTH + 1)];
        if (plane) (scratch->eights ? contexts_avx2 : contexts_plain)(planes, c, plane, whole);
        if (!decode_row(scratch, in, row, count)) return 0;
        (scratch->eights ? values_avx2 : values_plain)(planes, plane ? weights : NULL, plane, whole);
        if (weights && plane) weights += plane < RT_DEPTH ? plane : RT_DEPTH;
        deliver(c, row, begin, count, plane, to);
    }
    return 1;
}

int rt_decode_planes(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_planes *planes = &scratch->as.planes;
    cut c;
    if (rt_left(in) < 2 || in.at[0] > 8) return 0;
    uint32_t lanes = 1u << *in.at++;
    if (!read_cut(&in, to, &c) || !read_tables(&in, &c, scratch) || !rt_read_states(&in, lanes, &scratch->lanes)) return 0;
    scratch->eights = rt_use_eights(lanes, &planes->takes);
    memset(planes->rows, 0, sizeof planes->rows);
    for (uint64_t begin = 0; begin < c.places; begin += RT_PLACES) {
        uint32_t some = c.places - begin < RT_PLACES ? (uint32_t)(c.places - begin) : RT_PLACES;
        if (!decode_places(scratch, &in, &c, begin, some, to)) return 0;
    }
    return rt_finished(&scratch->lanes, in);
}
