/* Decoder of what is zero and what is not (codegen/weights/zeros.py).
 *
 * Some places, channels of filters, come tap by tap, then the next ones. Of a tap first comes which places are not zero, each by a
 * chance of its own, then their values. What a chance depends on are finished taps alone. */
#include <string.h>

#include "internal.h"

enum { VECTOR = 16, WHOLE = 32, CLASSES = 64, COARSE = 4, SEEN_ONE = 16, MOST_WEIGHT = 31, MOST_MISSING = 127 };
typedef int8_t bytes __attribute__((vector_size(VECTOR)));
typedef int16_t shorts __attribute__((vector_size(2 * VECTOR)));
typedef int8_t wide_bytes __attribute__((vector_size(WHOLE)));
typedef uint8_t wide_unsigned __attribute__((vector_size(WHOLE)));
typedef int16_t wide_shorts __attribute__((vector_size(2 * WHOLE)));

/* In RT_SLOTS parts, by a logit in quarters, from -8 on. */
static const uint16_t CHANCES[CLASSES] = {
    1,    2,    2,    3,    4,    5,    6,    8,    10,   13,   17,   21,   27,   35,   45,   58,   74,   94,   120,  153,  194,  246,
    311,  391,  488,  606,  747,  912,  1102, 1314, 1546, 1793, 2048, 2303, 2550, 2782, 2994, 3184, 3349, 3490, 3608, 3705, 3785, 3850,
    3902, 3943, 3976, 4002, 4022, 4038, 4051, 4061, 4069, 4075, 4079, 4083, 4086, 4088, 4090, 4091, 4092, 4093, 4094, 4094};

/* What a stream says besides what is in the scratch: see Model in chances.py. */
typedef struct model {
    rt_order places, taps;
    uint32_t filters, channels, count; /* places of a filter; taps */
    int16_t start, flat, steep, mean, weight, pace;
    int16_t by_filter, by_channel, by_seen, limits[RT_SORTS];
    uint32_t tables;
} model;

/* Where places or taps are gone through. */
typedef struct walk {
    uint32_t at[RT_AXES];
    uint64_t place;
} walk;

static void advance(const rt_order *order, walk *w) {
    for (uint32_t axis = order->axes; axis-- > 0;) {
        w->place += order->strides[axis];
        if (++w->at[axis] < order->extents[axis]) return;
        w->at[axis] = 0;
        w->place -= order->strides[axis] * order->extents[axis];
    }
}

/* Heads --------------------------------------------------------------------------------------------- */

static int32_t signed_byte(const unsigned char *at) { return *at < 128 ? *at : *at - 256; }

static int read_axes(rt_span *in, uint64_t count, model *m) {
    rt_order order;
    uint32_t number;
    uint64_t extents[4] = {1, 1, 1, 1};
    if (!(in->at = rt_read_order(in->at, in->end, count, &order, &number))) return 0;
    m->places.axes = m->taps.axes = 0;
    for (uint32_t i = 0; i < order.axes; i++) {
        rt_order *own = order.kinds[i] < RT_DOWN ? &m->places : &m->taps;
        own->extents[own->axes] = order.extents[i];
        own->strides[own->axes++] = order.strides[i];
        extents[order.kinds[i]] *= order.extents[i];
    }
    m->filters = (uint32_t)extents[RT_FILTER];
    m->channels = (uint32_t)extents[RT_CHANNEL];
    if (extents[RT_DOWN] * extents[RT_ACROSS] > RT_LONGEST) return 0;
    m->count = (uint32_t)(extents[RT_DOWN] * extents[RT_ACROSS]);
    return 1;
}

static int read_sight(rt_span *in, model *m) {
    m->flat = m->steep = m->mean = m->weight = 0;
    if (m->count == 1) return 1;
    if (rt_left(*in) < 4) return 0;
    m->flat = in->at[0];
    m->steep = in->at[1];
    m->mean = (int16_t)(in->at[2] * SEEN_ONE);
    m->weight = (int16_t)signed_byte(in->at + 3);
    in->at += 4;
    return m->flat < 128 && m->weight >= -MOST_WEIGHT && m->weight <= MOST_WEIGHT;
}

static int read_sorting(rt_span *in, model *m) {
    m->by_filter = m->by_channel = m->by_seen = 0;
    if (m->tables == 1) return 1;
    if (rt_left(*in) < 3 + 2 * (uint64_t)(m->tables - 1)) return 0;
    m->by_filter = (int16_t)signed_byte(in->at);
    m->by_channel = (int16_t)signed_byte(in->at + 1);
    m->by_seen = (int16_t)signed_byte(in->at + 2);
    in->at += 3;
    for (uint32_t i = 0; i + 1 < m->tables; i++, in->at += 2) {
        m->limits[i] = (int16_t)rt_u16(in->at);
        if (i && m->limits[i] <= m->limits[i - 1]) return 0;
    }
    return m->by_seen >= -MOST_WEIGHT && m->by_seen <= MOST_WEIGHT;
}

/* Numbers from 0 on, or, where they are signed, 1 for 1, 2 for -1, 3 for 2. */
static int read_numbers(rt_bits *bits, uint32_t count, uint32_t most, int is_signed, unsigned char *into) {
    int32_t order = (int32_t)rt_take(bits, 3);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = rt_golomb(bits, order);
        if (number > most || bits->missing) return 0;
        int32_t half = (int32_t)(number + 1) / 2;
        into[i] = (unsigned char)(!is_signed ? (int32_t)number : number & 1 ? half : -half);
    }
    return 1;
}

static int read_told(rt_span *in, const model *m, uint32_t there, rt_zeros *z) {
    const uint32_t counts[4] = {m->filters, m->channels, m->count, m->filters};
    const uint32_t longest[4] = {RT_TOLD, RT_TOLD, RT_LONGEST, RT_TOLD};
    unsigned char *into[4] = {(unsigned char *)z->told, (unsigned char *)z->told + RT_TOLD,
                              (unsigned char *)z->told + 2 * RT_TOLD, z->missing};
    rt_bits bits = rt_bits_of(*in);
    memset(z->told, 0, sizeof z->told);
    memset(z->missing, 0, sizeof z->missing);
    for (uint32_t i = 0; i < 4; i++) {
        if (!(there >> i & 1)) continue;
        if (counts[i] > longest[i]) return 0;
        if (!read_numbers(&bits, counts[i], i < 3 ? 2 * MOST_WEIGHT : MOST_MISSING, i < 3, into[i])) return 0;
    }
    in->at += rt_bits_bytes(&bits);
    return 1;
}

static int read_head(rt_span *in, uint64_t count, model *m, rt_scratch *scratch, uint32_t *lanes) {
    if (!read_axes(in, count, m) || rt_left(*in) < 3 || in->at[0] > 8) return 0;
    *lanes = 1u << in->at[0];
    uint32_t what = in->at[1];
    m->start = (int16_t)signed_byte(in->at + 2);
    m->pace = (int16_t)((what >> 6) + 1);
    m->tables = (what & 3) + 1;
    in->at += 3;
    if (!read_sight(in, m) || !read_sorting(in, m) || !read_told(in, m, what >> 2 & 15, &scratch->as.zeros)) return 0;
    for (uint32_t table = 0; table < m->tables; table++) {
        if (!rt_read_counts(in, scratch->counts)) return 0;
        rt_fill_slots(scratch->counts, scratch->as.zeros.slots[table]);
    }
    return 1;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Symbols ------------------------------------------------------------------------------------------- */

static inline uint32_t flag_of(uint32_t *state, uint32_t chance) {
    uint32_t slot = *state & (RT_SLOTS - 1), is = slot < chance;
    uint32_t count = is ? chance : RT_SLOTS - chance;
    *state = count * (*state >> RT_LOG_SLOTS) + slot - (is ? 0 : chance);
    return is;
}

static inline unsigned char symbol_of(const uint32_t *slots, uint32_t table, uint32_t *state) {
    uint32_t entry = slots[table * RT_SLOTS + (*state & (RT_SLOTS - 1))];
    *state = rt_advanced(*state, entry);
    return (unsigned char)entry;
}

/* Near the end of the words, one of which may be missing. */
static int careful(uint32_t *state, rt_span *in) {
    if (*state >= RT_LOW) return 1;
    if (rt_left(*in) < 2) return 0;
    *state = *state << 16 | rt_u16(in->at);
    in->at += 2;
    return 1;
}

/* Which of the first lanes' places, from `first` on, are not zero; their tables to `chosen`. */
static int flag_lanes(rt_scratch *scratch, rt_span *in, uint32_t first, uint32_t count, unsigned char **chosen) {
    rt_zeros *z = &scratch->as.zeros;
    uint32_t *state = scratch->lanes.state, i = 0;
    int enough = rt_left(*in) >= 2 * (uint64_t)count;
#if RT_HAS_EIGHTS
    if (enough && scratch->eights && (i = count & ~7u)) rt_flag_eights(z, state, i, first, i, in, chosen);
#endif
    for (uint32_t place = first + i; i < count; i++, place++) {
        uint32_t is = flag_of(&state[i], z->chances[place]);
        z->sets[place / 8] = (uint16_t)(z->sets[place / 8] + (is << place % 8) + (is << 9));
        **chosen = z->tables[place];
        *chosen += is;
        if (enough) state[i] = rt_refilled(state[i], &in->at);
        else if (!careful(&state[i], in)) return 0;
    }
    return 1;
}

/* A symbol of each of the first lanes. */
static int symbol_lanes(rt_scratch *scratch, rt_span *in, uint32_t first, uint32_t count) {
    rt_zeros *z = &scratch->as.zeros;
    uint32_t *state = scratch->lanes.state, i = 0;
    const unsigned char *tables = z->chosen + first;
    unsigned char *out = z->found + first;
    int enough = rt_left(*in) >= 2 * (uint64_t)count;
#if RT_HAS_EIGHTS
    if (enough && scratch->eights && (i = count & ~7u)) rt_rest_eights(state, i, z->slots[0], &z->takes, in, tables, out, i);
#endif
    for (; i < count; i++) {
        out[i] = symbol_of(z->slots[0], tables[i], &state[i]);
        if (enough) state[i] = rt_refilled(state[i], &in->at);
        else if (!careful(&state[i], in)) return 0;
    }
    return 1;
}

static void expand(rt_zeros *z, uint32_t count) {
    const unsigned char *found = z->found;
    int8_t *row = z->row;
    for (uint32_t i = 0; i < count; i++) {
        int is = z->sets[i / 8] >> i % 8 & 1;
        row[i] = (int8_t)(is ? *found : 0);
        found += is;
    }
}

/* What the places of a row hold, but for what is missing of sizes and for turned signs; 0 where the stream is damaged. */
static int decode_row(rt_scratch *scratch, rt_span *in, uint32_t count) {
    rt_zeros *z = &scratch->as.zeros;
    uint32_t lanes = scratch->lanes.lanes, begin = 0;
    unsigned char *chosen = z->chosen;
    memset(z->sets, 0, sizeof z->sets);
#if RT_HAS_EIGHTS
    if (scratch->eights) begin = rt_flag_eights(z, scratch->lanes.state, lanes, 0, count, in, &chosen);
#endif
    for (; begin < count; begin += lanes)
        if (!flag_lanes(scratch, in, begin, least(count - begin, lanes), &chosen)) return 0;
    uint32_t found = (uint32_t)(chosen - z->chosen);
    begin = 0;
#if RT_HAS_EIGHTS
    if (scratch->eights)
        begin = (uint32_t)rt_rest_eights(scratch->lanes.state, lanes, z->slots[0], &z->takes, in, z->chosen, z->found, found);
#endif
    for (; begin < found; begin += lanes)
        if (!symbol_lanes(scratch, in, begin, least(found - begin, lanes))) return 0;
#if RT_HAS_EIGHTS
    if (scratch->eights) rt_expand_eights(z, count);
    else
#endif
        expand(z, count);
    return 1;
}

/* Rows, in vectors ---------------------------------------------------------------------------------- */

#define INLINE static inline __attribute__((always_inline))


/* Classes of chances, and tables, of a tap. */
static void expect(rt_zeros *z, const rt_expected *by, uint32_t count) {
    for (uint32_t i = 0; i < count; i += VECTOR) {
        shorts mean, logit, sort, table = {0};
        memcpy(&mean, z->means + i, sizeof mean);
        memcpy(&logit, z->logits + i, sizeof logit);
        memcpy(&sort, z->sorts + i, sizeof sort);
        shorts seen = (mean - by->mean) >> 2;
        shorts number = ((logit + by->told + (seen * by->weight >> 7)) >> 2) + CLASSES / 2;
        number &= ~(number >> 15);
        shorts over = number > CLASSES - 1;
        number = (number & ~over) | (over & (CLASSES - 1));
        sort += seen * by->by_seen >> 2;
        for (uint32_t n = 0; n + 1 < by->tables; n++) table -= sort > by->limits[n];
        bytes narrow = __builtin_convertvector(table, bytes);
        memcpy(z->tables + i, &narrow, sizeof narrow);
        for (uint32_t k = 0; k < VECTOR; k++) z->chances[i + k] = by->chances[number[k]];
    }
}

/* A row's values with what is missing of them, their signs turned where the taps before were negative. */
INLINE void settled(const rt_zeros *z, int8_t *row, uint32_t i, const wide_shorts *sum, wide_bytes *value) {
    wide_unsigned lack, sign, turn = (wide_unsigned)__builtin_convertvector(*sum >> 15, wide_bytes), own;
    memcpy(value, row + i, sizeof *value);
    memcpy(&lack, z->lacks + i, sizeof lack);
    sign = (wide_unsigned)(*value >> 7);
    own = (wide_unsigned)*value + ((lack & (wide_unsigned)(*value != 0)) ^ sign) - sign; /* -128 may be turned */
    *value = (wide_bytes)((own ^ turn) - turn);
    memcpy(row + i, value, sizeof *value);
}

/* What is known of places by a tap's row. */
INLINE void look(rt_zeros *z, const model *m, uint32_t count) {
    int8_t *row = z->row; /* which no byte that is written there changes */
    for (uint32_t i = 0; i < count; i += WHOLE) {
        wide_bytes narrow;
        wide_shorts mean, sum;
        memcpy(&mean, z->means + i, sizeof mean);
        memcpy(&sum, z->sums + i, sizeof sum);
        settled(z, row, i, &sum, &narrow);
        wide_shorts value = __builtin_convertvector(narrow, wide_shorts), sign = value >> 15;
        wide_shorts seen = ((value ^ sign) - sign) * m->steep >> 4;
        wide_shorts over = seen > 127;
        seen = (seen & ~over) | (over & 127);
        seen = (seen + m->flat) & (value != 0);
        mean += (seen * SEEN_ONE - mean) >> m->pace;
        sum += (value * SEEN_ONE - sum) >> m->pace;
        memcpy(z->means + i, &mean, sizeof mean);
        memcpy(z->sums + i, &sum, sizeof sum);
    }
}

INLINE void settle(rt_zeros *z, uint32_t count) {
    int8_t *row = z->row;
    for (uint32_t i = 0; i < count; i += WHOLE) {
        wide_bytes value;
        wide_shorts sum;
        memcpy(&sum, z->sums + i, sizeof sum);
        settled(z, row, i, &sum, &value);
    }
}

static void look_plain(rt_zeros *z, const model *m, uint32_t count) { look(z, m, count); }
static void settle_plain(rt_zeros *z, uint32_t count) { settle(z, count); }

#if defined(__x86_64__)
#define EIGHT __attribute__((target("avx2")))
EIGHT static void look_eights(rt_zeros *z, const model *m, uint32_t count) { look(z, m, count); }
EIGHT static void settle_eights(rt_zeros *z, uint32_t count) { settle(z, count); }
#else
#define look_eights look_plain
#define settle_eights settle_plain
#endif

#if !RT_HAS_EIGHTS
#define rt_expect_eights expect
#endif

/* Places -------------------------------------------------------------------------------------------- */

/* What channels say of places of a filter: whole vectors, of which what is too much is written again or never read. */
static void tell_channels(rt_zeros *z, const model *m, uint32_t i, uint32_t count, int16_t own, const int8_t *channels) {
    for (uint32_t k = 0; k < count; k += VECTOR) {
        bytes narrow;
        memcpy(&narrow, channels + k, sizeof narrow);
        shorts other = __builtin_convertvector(narrow, shorts), logit = (other + own) * COARSE + m->start;
        shorts sort = other * m->by_channel + (int16_t)(own * m->by_filter);
        memcpy(z->logits + i + k, &logit, sizeof logit);
        memcpy(z->sorts + i + k, &sort, sizeof sort);
    }
}

/* Of places of one filter that lie at equal distances. */
static void begin_run(rt_zeros *z, const model *m, uint32_t run, uint32_t i, uint32_t count, uint32_t filter, uint32_t channel,
                      const walk *w) {
    int16_t own = filter < RT_TOLD ? z->told[filter] : 0;
    memset(z->lacks + i, filter < RT_TOLD ? z->missing[filter] : 0, count);
    uint32_t known = least(RT_TOLD - least(channel, RT_TOLD), count);
    tell_channels(z, m, i, known, own, z->told + RT_TOLD + channel);
    for (uint32_t k = known; k < count; k++) {
        z->logits[i + k] = (int16_t)(m->start + COARSE * own);
        z->sorts[i + k] = (int16_t)(own * m->by_filter);
    }
    z->offsets[run] = (uint32_t)w->place;
    z->lengths[run] = (uint16_t)count;
}

static void begin_places(rt_zeros *z, const model *m, uint64_t first, uint32_t count, walk *w) {
    const rt_order *places = &m->places;
    uint32_t filter = (uint32_t)(first / m->channels), channel = (uint32_t)(first % m->channels);
    uint32_t last = places->axes - 1; /* of no axes: places are one */
    memset(z->sums, 0, sizeof z->sums);
    for (uint32_t i = 0; i < RT_PLACES; i++) z->means[i] = m->mean;
    for (uint32_t i = 0, run = 0, some; i < count; i += some) {
        some = least(count - i, m->channels - channel);
        if (places->axes) some = least(some, places->extents[last] - w->at[last]);
        begin_run(z, m, run++, i, some, filter, channel, w);
        if (places->axes) {
            w->at[last] += some - 1;
            w->place += places->strides[last] * (some - 1);
            advance(places, w);
        }
        if ((channel += some) == m->channels) {
            channel = 0;
            filter++;
        }
    }
}

static void spread(const rt_zeros *z, uint32_t number, uint32_t i, unsigned char *out, uint64_t stride, uint32_t count) {
    if (number == 1) rt_spread(out, stride, (const unsigned char *)z->row + i, count);
    else rt_spread_rows(out, stride, (const unsigned char *)z->rows[0] + i, RT_PLACES, number, count);
}

/* One row, or up to eight whose taps lie side by side from `tap` on, to their places, run by run. */
static void deliver(const rt_zeros *z, const model *m, uint32_t number, uint32_t count, uint64_t tap, rt_place to) {
    uint64_t stride = m->places.axes ? m->places.strides[m->places.axes - 1] * to.stride : 1;
    for (uint32_t i = 0, run = 0; i < count; i += z->lengths[run++])
        spread(z, number, i, to.out + (z->offsets[run] + tap) * to.stride, stride, z->lengths[run]);
}

/* How many of the first taps lie side by side, so that it pays to deliver them together. */
static uint32_t taps_beside(const rt_order *taps, uint32_t count, uint64_t stride) {
#if defined(__x86_64__)
    const uint32_t rest = ~0u;
#else
    const uint32_t rest = ~7u; /* a store of a byte from a vector takes less than rows in turn */
#endif
    uint64_t inner = stride;
    for (uint32_t axis = taps->axes; axis-- > 0; inner *= taps->extents[axis])
        if (stride != 1 || taps->strides[axis] != inner) return 0;
    return count & rest;
}

static rt_expected expected_of(const model *m) {
    rt_expected by = {CHANCES, m->mean, 0, m->weight, m->by_seen, {0}, m->tables, m->flat, m->steep, m->pace};
    memcpy(by.limits, m->limits, sizeof by.limits);
    return by;
}

/* What a tap's row holds, or of eight, once they are there; the walk goes on. */
static void pass_on(const rt_zeros *z, const model *m, uint32_t tap, uint32_t count, walk *taps, rt_place to) {
    uint32_t beside = taps_beside(&m->taps, m->count, to.stride);
    if (tap >= beside) deliver(z, m, 1, count, taps->place, to);
    else if (tap % 8 == 7 || tap + 1 == beside) deliver(z, m, tap % 8 + 1, count, tap - tap % 8, to);
    advance(&m->taps, taps);
}

static void begin_tap(rt_zeros *z, uint32_t tap, rt_expected *by) {
    z->row = z->rows[tap % 8];
    by->told = (int16_t)(COARSE * z->told[2 * RT_TOLD + tap]);
}

static int decode_places(rt_scratch *scratch, rt_span *in, const model *m, uint32_t count, rt_place to) {
    rt_zeros *z = &scratch->as.zeros;
    uint32_t whole = (count + WHOLE - 1) / WHOLE * WHOLE;
    walk taps = {{0}, 0};
    rt_expected by = expected_of(m);
    for (uint32_t tap = 0; tap < m->count; tap++) {
        begin_tap(z, tap, &by);
        (scratch->eights ? rt_expect_eights : expect)(z, &by, whole);
        if (!decode_row(scratch, in, count)) return 0;
        if (tap + 1 == m->count) (scratch->eights ? settle_eights : settle_plain)(z, whole);
        else (scratch->eights ? look_eights : look_plain)(z, m, whole);
        pass_on(z, m, tap, count, &taps, to);
    }
    return 1;
}

#if defined(__x86_64__)
/* Where few words are left, there is room behind them for what a row may read. */
static void make_room(rt_zeros *z, rt_span *in) {
    size_t left = (size_t)rt_left(*in);
    if (left >= sizeof z->tail / 2 || z->in_tail) return;
    memcpy(z->tail, in->at, left);
    memset(z->tail + left, 0, sizeof z->tail - left);
    in->at = z->tail;
    in->end = z->tail + left;
    z->in_tail = 1;
}

static int decode_places_sixteens(rt_scratch *scratch, rt_span *in, const model *m, uint32_t count, rt_place to) {
    rt_zeros *z = &scratch->as.zeros;
    walk taps = {{0}, 0};
    rt_expected by = expected_of(m);
    for (uint32_t tap = 0; tap < m->count; tap++) {
        by.told = (int16_t)(COARSE * z->told[2 * RT_TOLD + tap]);
        make_room(z, in);
        in->at = rt_row_sixteens(z, scratch->lanes.state, scratch->lanes.lanes, &by, tap > 0, count, in->at);
        if (in->at > in->end) return 0;
        if (tap) pass_on(z, m, tap - 1, count, &taps, to);
        z->row = z->rows[tap % 8];
    }
    rt_settle_sixteens(z, count);
    pass_on(z, m, m->count - 1, count, &taps, to);
    return 1;
}
#else
#define decode_places_sixteens decode_places
#endif

/* A set is one without its last place, and that place. */
static void fill_sets(rt_zeros *z) {
    memset(z->which[0], 0, sizeof z->which[0]);
    memset(z->ranks[0], 255, sizeof z->ranks[0]);
    for (uint32_t place = 0; place < 8; place++)
        for (uint32_t set = 0; set < 1u << place; set++) {
            uint32_t own = set | 1u << place, before = (uint32_t)__builtin_popcount(set);
            memcpy(z->which[own], z->which[set], sizeof z->which[own]);
            memcpy(z->ranks[own], z->ranks[set], sizeof z->ranks[own]);
            z->which[own][before] = (unsigned char)place;
            z->ranks[own][place] = (unsigned char)before;
        }
}

int rt_decode_zeros(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_zeros *z = &scratch->as.zeros;
    model m;
    walk w = {{0}, 0};
    uint32_t lanes;
    if (!read_head(&in, to.count, &m, scratch, &lanes) || !rt_read_states(&in, lanes, &scratch->lanes)) return 0;
    scratch->eights = rt_use_eights(lanes, &z->takes);
    memset(z->logits, 0, sizeof z->logits);
    memset(z->sorts, 0, sizeof z->sorts);
    memset(z->tables, 0, sizeof z->tables);
    memset(z->rows, 0, sizeof z->rows);
    int sixteens = scratch->eights && z->takes.sixteens && lanes % 16 == 0;
    if (scratch->eights && !sixteens) fill_sets(z);
    z->in_tail = 0;
    uint64_t places = (uint64_t)m.filters * m.channels;
    for (uint64_t first = 0; first < places; first += RT_PLACES) {
        uint32_t some = places - first < RT_PLACES ? (uint32_t)(places - first) : RT_PLACES;
        begin_places(z, &m, first, some, &w);
        if (!(sixteens ? decode_places_sixteens : decode_places)(scratch, &in, &m, some, to)) return 0;
    }
    return rt_finished(&scratch->lanes, in);
}
