/* Decoders of asymmetric numeral systems in lanes: one table for all bytes, or a table by what lies before. */
#include <string.h>

#include "internal.h"

static const uint32_t LOW = 1u << 16; /* a state between two symbols at least */

/* Tables -------------------------------------------------------------------------------------------- */

static uint32_t steepness(uint32_t code) { return (16 + (code & 15)) << (code >> 4); }

static int64_t bend(int32_t code) {
    int32_t size = code < 0 ? -code : code;
    int64_t value = code ? (int64_t)(8 + (size & 7)) << (size >> 3) : 0;
    return code < 0 ? -value : value;
}

static void curve(uint32_t steep, int32_t bent, int32_t limit, uint16_t *counts) {
    uint64_t heights[129] = {1u << 30}, sum = 0;
    int64_t ratio = 65536 - (int64_t)steepness(steep), change = bend(bent);
    int32_t last = limit < 127 ? limit : 127, entries = limit + last + 1;
    for (int32_t i = 1; i <= limit; i++) {
        heights[i] = heights[i - 1] * (uint64_t)ratio >> 16;
        int64_t less = ratio * change; /* rounded down, as Python shifts */
        ratio -= less >= 0 ? less >> 16 : -((-less + 65535) >> 16);
        ratio = ratio < 0 ? 0 : ratio > 65536 ? 65536 : ratio;
    }
    for (int32_t v = -limit; v <= last; v++) sum += heights[v < 0 ? -v : v];
    uint32_t given = 0;
    memset(counts, 0, 256 * sizeof *counts);
    for (int32_t v = -limit; v <= last; v++) {
        uint64_t share = heights[v < 0 ? -v : v] * (uint64_t)(RT_SLOTS - entries) / sum;
        counts[v & 255] = (uint16_t)(share + 1);
        given += counts[v & 255];
    }
    counts[0] = (uint16_t)(counts[0] + RT_SLOTS - given);
}

static int read_written(rt_span *in, uint16_t *counts) {
    rt_bits bits = rt_bits_of(*in);
    int32_t order = (int32_t)rt_take(&bits, 3);
    uint32_t at = 0, sum = 0;
    memset(counts, 0, 256 * sizeof *counts);
    while (at < 256 && !bits.missing) {
        uint32_t count = rt_golomb(&bits, order);
        if (count > RT_SLOTS - sum) return 0;
        counts[(at + 128) & 255] = (uint16_t)count;
        sum += count;
        at += count ? 1 : rt_golomb(&bits, 0) + 1;
    }
    in->at += rt_bits_bytes(&bits);
    return at == 256 && sum == RT_SLOTS && !bits.missing;
}

/* Counts by byte that add up to RT_SLOTS; the span goes on behind the table. */
static int read_counts(rt_span *in, uint16_t *counts) {
    if (rt_left(*in) < 4) return 0;
    const unsigned char *head = in->at;
    if (head[0] == 1) {
        in->at++;
        return read_written(in, counts);
    }
    int32_t bent = head[2] < 128 ? head[2] : head[2] - 256;
    if (head[0] != 0 || head[1] >= 192 || bent < -80 || bent >= 100 || head[3] > 128) return 0;
    curve(head[1], bent, head[3], counts);
    in->at += 4;
    return 1;
}

/* Lanes --------------------------------------------------------------------------------------------- */

static int read_states(rt_span *in, uint32_t lanes, rt_lanes *into) {
    if (rt_left(*in) < 4 * (uint64_t)lanes || rt_left(*in) % 2) return 0;
    into->lanes = lanes;
    for (uint32_t i = 0; i < lanes; i++, in->at += 4)
        if ((into->state[i] = rt_u32(in->at)) < LOW) return 0;
    return 1;
}

static int finished(const rt_lanes *lanes, rt_span in) {
    for (uint32_t i = 0; i < lanes->lanes; i++)
        if (lanes->state[i] != LOW) return 0;
    return in.at == in.end;
}

/* Without a branch: a state that is too low takes the next word. There are enough of them. */
static inline uint32_t refilled(uint32_t state, const unsigned char **at) {
    uint32_t low = state < LOW;
    uint32_t more = state << 16 | rt_u16(*at);
    *at += 2 * low;
    return low ? more : state;
}

static inline uint32_t advanced(uint32_t state, uint32_t entry) {
    return ((entry >> 8 & (RT_SLOTS - 1)) + 1) * (state >> RT_LOG_SLOTS) + (entry >> 20);
}

/* Whether lanes are decoded eight at once; what that needs is filled in. */
static int use_eights(uint32_t lanes, rt_takes *takes) {
#if defined(__x86_64__)
    if (lanes % 8 || !rt_cpu_has("avx2")) return 0;
    rt_fill_takes(takes);
    return 1;
#else
    (void)lanes;
    (void)takes;
    return 0;
#endif
}

/* One symbol of each of `lanes` lanes; `stride` is a constant where that is quicker. */
static inline const unsigned char *step(uint32_t *state, uint32_t lanes, const uint32_t *slots, const unsigned char *at,
                                        unsigned char *out, uint64_t stride) {
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t entry = slots[state[i] & (RT_SLOTS - 1)];
        out[i * stride] = (unsigned char)entry;
        state[i] = refilled(advanced(state[i], entry), &at);
    }
    return at;
}

/* The same near the end of the words, one of which may be missing. */
static int careful_step(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, unsigned char *out,
                        uint64_t stride) {
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t entry = slots[state[i] & (RT_SLOTS - 1)];
        out[i * stride] = (unsigned char)entry;
        state[i] = advanced(state[i], entry);
        if (state[i] >= LOW) continue;
        if (rt_left(*in) < 2) return 0;
        state[i] = state[i] << 16 | rt_u16(in->at);
        in->at += 2;
    }
    return 1;
}

static void fill_slots(const uint16_t *counts, uint32_t *slots) {
    for (uint32_t symbol = 0; symbol < 256; symbol++)
        for (uint32_t i = 0; i < counts[symbol]; i++) *slots++ = symbol | (counts[symbol] - 1u) << 8 | i << 20;
}

int rt_decode_rans(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_lanes *lanes = &scratch->lanes;
    if (rt_left(in) < 2 || in.at[0] > 8) return 0;
    uint32_t width = 1u << *in.at++;
    if (!read_counts(&in, scratch->counts) || !read_states(&in, width, lanes)) return 0;
    uint32_t *slots = scratch->as.rans.slots;
    fill_slots(scratch->counts, slots);
    uint64_t done = 0;
#if defined(__x86_64__)
    if (to.stride == 1 && use_eights(width, &scratch->as.rans.takes))
        for (; to.count - done >= width && rt_left(in) >= 2 * (uint64_t)width; done += width)
            in.at = rt_step_eights(lanes->state, width, slots, &scratch->as.rans.takes, in.at, to.out + done);
#endif
    for (; to.count - done >= width && rt_left(in) >= 2 * (uint64_t)width; done += width) {
        if (to.stride == 1) in.at = step(lanes->state, width, slots, in.at, to.out + done, 1);
        else in.at = step(lanes->state, width, slots, in.at, to.out + done * to.stride, to.stride);
    }
    while (done < to.count) {
        uint32_t some = to.count - done < width ? (uint32_t)(to.count - done) : width;
        if (!careful_step(lanes->state, some, slots, &in, to.out + done * to.stride, to.stride)) return 0;
        done += some;
    }
    return finished(lanes, in);
}

/* Planes -------------------------------------------------------------------------------------------- */

typedef struct cut {
    uint64_t planes, inner, places; /* places of a plane */
    const int8_t *weights;          /* of the planes from the second on, or null */
    const unsigned char *limits;
    uint32_t contexts; /* of the planes from the second on */
} cut;

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
    if (rt_left(*in) < 2 * (uint64_t)c->contexts) return 0;
    c->limits = in->at;
    for (uint32_t i = 2; i < c->contexts; i++)
        if (rt_u16(c->limits + 2 * i - 2) <= rt_u16(c->limits + 2 * i - 4)) return 0;
    in->at += 2 * (c->contexts - 1);
    return 1;
}

static int read_tables(rt_span *in, const cut *c, rt_scratch *scratch) {
    rt_planes *planes = &scratch->as.planes;
    for (uint32_t table = 0; table <= c->contexts; table++) {
        if (!read_counts(in, scratch->counts)) return 0;
        uint32_t start = 0;
        for (uint32_t symbol = 0; symbol < 256; symbol++) {
            uint32_t count = scratch->counts[symbol];
            planes->codes[table][symbol] = (count - 1) << RT_LOG_SLOTS | start;
            memset(planes->symbols[table] + start, (int)symbol, count);
            start += count;
        }
    }
    return 1;
}

/* Symbols of places whose contexts are known, to `rest`. */
static int decode_rest(rt_planes *planes, rt_lanes *lanes, int eights, rt_span *in, uint32_t count) {
    for (uint32_t begin = 0; begin < count; begin += lanes->lanes) {
        uint32_t some = count - begin < lanes->lanes ? count - begin : lanes->lanes;
#if defined(__x86_64__)
        if (eights && some == lanes->lanes && rt_left(*in) >= 2 * (uint64_t)some) {
            in->at = rt_rest_eights(planes, lanes->state, some, planes->contexts + begin, in->at, planes->rest + begin);
            continue;
        }
#else
        (void)eights;
#endif
        if (rt_left(*in) < 2 * (uint64_t)some) { /* some of which may need none */
            for (uint32_t i = 0; i < some; i++) {
                uint32_t state = lanes->state[i], context = planes->contexts[begin + i], slot = state & (RT_SLOTS - 1);
                uint32_t symbol = planes->symbols[context][slot], code = planes->codes[context][symbol];
                state = ((code >> RT_LOG_SLOTS) + 1) * (state >> RT_LOG_SLOTS) + slot - (code & (RT_SLOTS - 1));
                planes->rest[begin + i] = (unsigned char)symbol;
                if (state < LOW) {
                    if (rt_left(*in) < 2) return 0;
                    state = state << 16 | rt_u16(in->at);
                    in->at += 2;
                }
                lanes->state[i] = state;
            }
            continue;
        }
        const unsigned char *at = in->at;
        for (uint32_t i = 0; i < some; i++) {
            uint32_t state = lanes->state[i], context = planes->contexts[begin + i], slot = state & (RT_SLOTS - 1);
            uint32_t symbol = planes->symbols[context][slot], code = planes->codes[context][symbol];
            state = ((code >> RT_LOG_SLOTS) + 1) * (state >> RT_LOG_SLOTS) + slot - (code & (RT_SLOTS - 1));
            planes->rest[begin + i] = (unsigned char)symbol;
            lanes->state[i] = refilled(state, &at);
        }
        in->at = at;
    }
    return 1;
}

/* Where the places of a block lie in the first plane. */
static void find_places(rt_planes *planes, const cut *c, uint64_t begin, uint32_t count, uint64_t stride) {
    uint64_t box = begin / c->inner, inside = begin % c->inner;
    planes->run = stride == 1 ? (uint32_t)(c->inner < RT_LANES ? c->inner : RT_LANES) : 1;
    planes->first_run = (uint32_t)(c->inner - inside < planes->run ? c->inner - inside : planes->run);
    for (uint32_t i = 0; i < count; i++) {
        planes->base[i] = (box * c->planes * c->inner + inside) * stride;
        if (++inside == c->inner) {
            inside = 0;
            box++;
        }
    }
}

/* The bytes of a block's places from `from` on. */
static void fetch(const rt_planes *planes, const unsigned char *from, uint32_t count, unsigned char *to) {
    if (planes->run == 1) {
        for (uint32_t i = 0; i < count; i++) to[i] = from[planes->base[i]];
        return;
    }
    uint32_t some = planes->first_run < count ? planes->first_run : count;
    for (uint32_t i = 0; i < count; i += some, some = planes->run < count - i ? planes->run : count - i)
        memcpy(to + i, from + planes->base[i], some);
}

static void deliver(const rt_planes *planes, unsigned char *out, uint32_t count, const unsigned char *from) {
    if (planes->run == 1) {
        for (uint32_t i = 0; i < count; i++) out[planes->base[i]] = from[i];
        return;
    }
    uint32_t some = planes->first_run < count ? planes->first_run : count;
    for (uint32_t i = 0; i < count; i += some, some = planes->run < count - i ? planes->run : count - i)
        memcpy(out + planes->base[i], from + i, some);
}

/* The values before a block's, the nearest plane's first; from their size the contexts, and what they predict:
 * whole numbers of which 14 bits matter. */
static void look_back(rt_planes *planes, const cut *c, const int8_t *weights, rt_place to, uint64_t plane, uint32_t count) {
    static const uint16_t share[RT_DEPTH + 1] = {0, 64, 32, 21, 16, 13, 11, 9, 8};
    uint32_t depth = plane < RT_DEPTH ? (uint32_t)plane : RT_DEPTH;
    uint16_t *sums = planes->sums, *sizes = planes->sizes;
    for (uint32_t i = 0; i < count; i++) sums[i] = 32, sizes[i] = 0;
    for (uint32_t back = 0; back < depth; back++) {
        fetch(planes, to.out + (plane - 1 - back) * c->inner * to.stride, count, (unsigned char *)planes->past);
        const int8_t *past = planes->past;
        for (uint32_t i = 0; i < count; i++) sizes[i] = (uint16_t)(sizes[i] + (past[i] < 0 ? -past[i] : past[i]));
        int16_t weight = weights ? weights[back] : 0;
        for (uint32_t i = 0; weights && i < count; i++) sums[i] = (uint16_t)(sums[i] + (uint16_t)(int16_t)(weight * past[i]));
    }
    memset(planes->contexts, 1, sizeof planes->contexts);
    for (uint32_t i = 0; i < count; i++) sizes[i] = (uint16_t)((uint16_t)(sizes[i] * share[depth]) >> 3);
    for (uint32_t n = 0; n + 1 < c->contexts; n++) {
        uint16_t limit = (uint16_t)rt_u16(c->limits + 2 * n);
        for (uint32_t i = 0; i < count; i++) planes->contexts[i] = (unsigned char)(planes->contexts[i] + (sizes[i] > limit));
    }
}

/* Adds what is predicted to the rest of a block, and puts it in its place. */
static void put(rt_planes *planes, const cut *c, int predicted, rt_place to, uint64_t plane, uint32_t count) {
    unsigned char *rest = planes->rest;
    for (uint32_t i = 0; predicted && i < count; i++) rest[i] = (unsigned char)(rest[i] + (planes->sums[i] >> 6));
    deliver(planes, to.out + plane * c->inner * to.stride, count, rest);
}

int rt_decode_planes(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_planes *planes = &scratch->as.planes;
    cut c;
    if (rt_left(in) < 2 || in.at[0] > 8) return 0;
    uint32_t lanes = 1u << *in.at++;
    if (!read_cut(&in, to, &c) || !read_tables(&in, &c, scratch) || !read_states(&in, lanes, &scratch->lanes)) return 0;
    const int8_t *weights = c.weights;
    scratch->eights = use_eights(lanes, &planes->takes);
    for (uint64_t plane = 0; plane < c.planes; plane++) {
        for (uint64_t begin = 0; begin < c.places; begin += RT_LANES) {
            uint32_t some = c.places - begin < RT_LANES ? (uint32_t)(c.places - begin) : RT_LANES;
            find_places(planes, &c, begin, some, to.stride);
            if (plane) look_back(planes, &c, weights, to, plane, some);
            else memset(planes->contexts, 0, sizeof planes->contexts);
            if (!decode_rest(planes, &scratch->lanes, scratch->eights, &in, some)) return 0;
            put(planes, &c, plane && weights, to, plane, some);
        }
        if (weights && plane) weights += plane < RT_DEPTH ? plane : RT_DEPTH;
    }
    return finished(&scratch->lanes, in);
}
