/* Lanes of a decoder, eight at once, by NEON; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__aarch64__) || defined(__ARM_NEON)
#include <arm_neon.h>
#include <string.h>

#if defined(__aarch64__)
static inline uint16x8_t lower_of(uint16x8_t a, uint16x8_t b) { return vuzp1q_u16(a, b); }

static inline uint16x8_t upper_of(uint16x8_t a, uint16x8_t b) { return vuzp2q_u16(a, b); }

static inline uint16_t sum_of(uint16x8_t x) { return vaddvq_u16(x); }

static inline uint8x16_t table16(uint8x16_t table, uint8x16_t at) { return vqtbl1q_u8(table, at); }

static inline uint8x8_t table8(uint8x16_t table, uint8x8_t at) { return vqtbl1_u8(table, at); }

static inline uint8x16_t table64(uint8x16x4_t table, uint8x16_t at) { return vqtbl4q_u8(table, at); }

static inline uint32x4x2_t turns_of(uint16x8_t a, uint16x8_t b) {
    uint32x4x2_t x = {{vreinterpretq_u32_u16(vzip1q_u16(a, b)), vreinterpretq_u32_u16(vzip2q_u16(a, b))}};
    return x;
}
#else /* of ARMv7, whose tables are 32 bytes at most, for eight bytes */
static inline uint16x8_t lower_of(uint16x8_t a, uint16x8_t b) { return vuzpq_u16(a, b).val[0]; }

static inline uint16x8_t upper_of(uint16x8_t a, uint16x8_t b) { return vuzpq_u16(a, b).val[1]; }

static inline uint16_t sum_of(uint16x8_t x) {
    uint16x4_t sum = vadd_u16(vget_low_u16(x), vget_high_u16(x));
    sum = vpadd_u16(sum, sum);
    return vget_lane_u16(vpadd_u16(sum, sum), 0);
}

static inline uint8x8_t table8(uint8x16_t table, uint8x8_t at) {
    uint8x8x2_t both = {{vget_low_u8(table), vget_high_u8(table)}};
    return vtbl2_u8(both, at);
}

static inline uint8x16_t table16(uint8x16_t table, uint8x16_t at) {
    return vcombine_u8(table8(table, vget_low_u8(at)), table8(table, vget_high_u8(at)));
}

static inline uint8x8_t half_of_table(uint8x16_t a, uint8x16_t b, uint8x16_t c, uint8x16_t d, uint8x8_t at) {
    uint8x8x4_t first = {{vget_low_u8(a), vget_high_u8(a), vget_low_u8(b), vget_high_u8(b)}};
    uint8x8x4_t second = {{vget_low_u8(c), vget_high_u8(c), vget_low_u8(d), vget_high_u8(d)}};
    return vtbx4_u8(vtbl4_u8(first, at), second, vsub_u8(at, vdup_n_u8(32)));
}

static inline uint8x16_t table64(uint8x16x4_t t, uint8x16_t at) {
    return vcombine_u8(half_of_table(t.val[0], t.val[1], t.val[2], t.val[3], vget_low_u8(at)),
                       half_of_table(t.val[0], t.val[1], t.val[2], t.val[3], vget_high_u8(at)));
}

static inline uint32x4x2_t turns_of(uint16x8_t a, uint16x8_t b) {
    uint16x8x2_t both = vzipq_u16(a, b);
    uint32x4x2_t x = {{vreinterpretq_u32_u16(both.val[0]), vreinterpretq_u32_u16(both.val[1])}};
    return x;
}
#endif

typedef struct eight {
    uint32x4_t low, high;
} eight;

static inline eight load(const uint32_t *from) {
    eight x = {vld1q_u32(from), vld1q_u32(from + 4)};
    return x;
}

static inline void store(uint32_t *to, eight x) {
    vst1q_u32(to, x.low);
    vst1q_u32(to + 4, x.high);
}

static inline eight slots_of(eight x) {
    const uint32x4_t part = vdupq_n_u32(RT_SLOTS - 1);
    eight slot = {vandq_u32(x.low, part), vandq_u32(x.high, part)};
    return slot;
}

/* The lower halves of eight numbers, the higher ones, and numbers of both. */
static inline uint16x8_t lower(eight x) { return lower_of(vreinterpretq_u16_u32(x.low), vreinterpretq_u16_u32(x.high)); }

static inline uint16x8_t upper(eight x) { return upper_of(vreinterpretq_u16_u32(x.low), vreinterpretq_u16_u32(x.high)); }

static inline eight joined(uint16x8_t lower, uint16x8_t upper) {
    uint32x4x2_t both = turns_of(lower, upper);
    eight x = {both.val[0], both.val[1]};
    return x;
}

static inline eight widened(uint16x8_t x) {
    eight wide = {vmovl_u16(vget_low_u16(x)), vmovl_u16(vget_high_u16(x))};
    return wide;
}

/* Bit i tells whether lane i is set; twice how many are stands above eight bits. */
static inline uint32_t set_of(uint16x8_t lanes) {
    static const uint16_t bits[8] = {0x201, 0x202, 0x204, 0x208, 0x210, 0x220, 0x240, 0x280};
    return sum_of(vandq_u16(lanes, vld1q_u16(bits)));
}

/* For each set of lanes that take a word, the bytes of each lane's own: as for the set without its last lane, which takes
 * the word behind theirs. */
void rt_fill_takes(rt_takes *takes) {
    memset(takes->word[0], 0, sizeof takes->word[0]);
    for (uint32_t lane = 0; lane < 8; lane++)
        for (uint32_t set = 0; set < 1u << lane; set++) {
            unsigned char *own = takes->word[set | 1u << lane];
            uint32_t first = 2 * (uint32_t)__builtin_popcount(set);
            memcpy(own, takes->word[set], sizeof takes->word[set]);
            own[2 * lane] = (unsigned char)first;
            own[2 * lane + 1] = (unsigned char)(first + 1);
        }
}

/* States that are too low, whose upper half is zero, take words in order; eight words can be read. */
static inline eight refilled(eight x, const rt_takes *takes, const unsigned char **at) {
    uint16x8_t low = lower(x), high = upper(x), lacking = vceqq_u16(high, vdupq_n_u16(0));
    uint32_t set = set_of(lacking);
    uint16x8_t words = vreinterpretq_u16_u8(table16(vld1q_u8(*at), vld1q_u8(takes->word[set & 255])));
    *at += set >> 8;
    return joined(vbslq_u16(lacking, words, low), vbslq_u16(lacking, low, high));
}

/* By numbers of slots, which are less than 2^30: two in a register are two offsets by one shift each. */
static inline uint32x4_t looked_up(const uint32_t *slots, uint32x4_t at) {
    const unsigned char *bytes = (const unsigned char *)slots;
    uint64_t first = vgetq_lane_u64(vreinterpretq_u64_u32(at), 0), last = vgetq_lane_u64(vreinterpretq_u64_u32(at), 1);
    uint32x4_t entry = vsetq_lane_u32(slots[(uint32_t)first], vdupq_n_u32(0), 0);
    entry = vld1q_lane_u32((const uint32_t *)(const void *)(bytes + (first >> 30)), entry, 1);
    entry = vld1q_lane_u32(slots + (uint32_t)last, entry, 2);
    return vld1q_lane_u32((const uint32_t *)(const void *)(bytes + (last >> 30)), entry, 3);
}

static inline uint32x4_t advanced(uint32x4_t state, uint32x4_t entry) {
    uint32x4_t less = vandq_u32(vshrq_n_u32(entry, 8), vdupq_n_u32(RT_SLOTS - 1)), whole = vshrq_n_u32(state, RT_LOG_SLOTS);
    return vmlaq_u32(vsraq_n_u32(whole, entry, 20), less, whole);
}

static inline eight taken(const uint32_t *slots, eight x, eight slot, unsigned char *out) {
    eight entry = {looked_up(slots, slot.low), looked_up(slots, slot.high)};
    vst1_u8(out, vmovn_u16(lower(entry)));
    x.low = advanced(x.low, entry.low);
    x.high = advanced(x.high, entry.high);
    return x;
}

static inline const unsigned char *step(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes,
                                        const unsigned char *at, unsigned char *out) {
    for (uint32_t i = 0; i < lanes; i += 8) {
        eight x = load(state + i);
        store(state + i, refilled(taken(slots, x, slots_of(x), out + i), takes, &at));
    }
    return at;
}

uint64_t rt_steps_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                         unsigned char *out, uint64_t count) {
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        at = step(state, lanes, slots, takes, at, out + done);
    in->at = at;
    return done;
}

uint64_t rt_rest_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                        const unsigned char *contexts, unsigned char *out, uint64_t count) {
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 8) {
            eight x = load(state + i);
            eight slot = widened(vsliq_n_u16(lower(x), vmovl_u8(vld1_u8(contexts + done + i)), RT_LOG_SLOTS));
            store(state + i, refilled(taken(slots, x, slot, out + done + i), takes, &at));
        }
    in->at = at;
    return done;
}

typedef struct sixteen {
    int16x8_t low, high;
} sixteen;

static inline sixteen load_shorts(const int16_t *from) {
    sixteen x = {vld1q_s16(from), vld1q_s16(from + 8)};
    return x;
}

/* x + (seen * weight >> by). */
#define WEIGHED(x, seen, weight, by) vsraq_n_s16(x, vmulq_s16(seen, weight), by)

/* Past how many limits each lies. */
static inline int16x8_t sorted(int16x8_t sort, const int16x8_t *limits) {
    uint16x8_t first = vcgtq_s16(sort, limits[0]), second = vcgtq_s16(sort, limits[1]), third = vcgtq_s16(sort, limits[2]);
    return vnegq_s16(vreinterpretq_s16_u16(vaddq_u16(vaddq_u16(first, second), third)));
}

static inline uint8x16_t classes_of(sixteen logit, sixteen seen, int16x8_t told, int16x8_t weight) {
    uint8x8_t low = vqshrun_n_s16(WEIGHED(vaddq_s16(logit.low, told), seen.low, weight, 7), 2);
    uint8x8_t high = vqshrun_n_s16(WEIGHED(vaddq_s16(logit.high, told), seen.high, weight, 7), 2);
    return vminq_u8(vcombine_u8(low, high), vdupq_n_u8(63));
}

/* Chances by classes, from tables of 64 bytes: that of lower bytes and that of higher ones. */
static void look_up_chances(const uint16_t *chances, const unsigned char *classes, uint16_t *to, uint32_t count) {
    uint8x16x4_t low, high;
    for (int i = 0; i < 4; i++) {
        uint8x16x2_t bytes = vld2q_u8((const unsigned char *)(chances + 16 * i));
        low.val[i] = bytes.val[0];
        high.val[i] = bytes.val[1];
    }
    for (uint32_t i = 0; i < count; i += 16) {
        uint8x16_t number = vld1q_u8(classes + i);
        uint8x16x2_t found = {{table64(low, number), table64(high, number)}};
        vst2q_u8((unsigned char *)(to + i), found);
    }
}

void rt_expect_eights(rt_zeros *zeros, const rt_expected *by, uint32_t count) {
    const int16x8_t usual = vdupq_n_s16(by->mean), told = vdupq_n_s16((int16_t)(by->told + 4 * 32));
    const int16x8_t weight = vdupq_n_s16(by->weight), by_seen = vdupq_n_s16(by->by_seen);
    int16x8_t limits[3];
    int several = by->tables > 1;
    for (uint32_t n = 0; n < 3; n++) limits[n] = vdupq_n_s16(n + 1 < by->tables ? by->limits[n] : INT16_MAX);
    for (uint32_t i = 0; i < count; i += 16) {
        sixteen mean = load_shorts(zeros->means + i);
        sixteen seen = {vshrq_n_s16(vsubq_s16(mean.low, usual), 2), vshrq_n_s16(vsubq_s16(mean.high, usual), 2)};
        vst1q_u8(zeros->classes + i, classes_of(load_shorts(zeros->logits + i), seen, told, weight));
        if (!several) continue;
        sixteen sort = load_shorts(zeros->sorts + i);
        int16x8_t first = sorted(WEIGHED(sort.low, seen.low, by_seen, 2), limits);
        int16x8_t second = sorted(WEIGHED(sort.high, seen.high, by_seen, 2), limits);
        vst1q_u8(zeros->tables + i, vcombine_u8(vmovn_u16(vreinterpretq_u16_s16(first)), vmovn_u16(vreinterpretq_u16_s16(second))));
    }
    look_up_chances(by->chances, zeros->classes, zeros->chances, count); /* all tables at once are too many registers */
}

static inline uint32x4_t flagged(uint32x4_t state, uint32x4_t count, uint32x4_t slot) {
    return vmlaq_u32(slot, count, vshrq_n_u32(state, RT_LOG_SLOTS));
}

static inline eight flag(eight x, uint16x8_t chance, uint32_t *set) {
    uint16x8_t slot = vandq_u16(lower(x), vdupq_n_u16(RT_SLOTS - 1)), is = vcgtq_u16(chance, slot);
    eight count = widened(vbslq_u16(is, chance, vsubq_u16(vdupq_n_u16(RT_SLOTS), chance)));
    eight inside = widened(vsubq_u16(slot, vbicq_u16(chance, is)));
    x.low = flagged(x.low, count.low, inside.low);
    x.high = flagged(x.high, count.high, inside.high);
    *set = set_of(is);
    return x;
}

uint32_t rt_flag_eights(rt_zeros *zeros, uint32_t *state, uint32_t lanes, uint32_t first, uint32_t count, rt_span *in,
                        unsigned char **chosen) {
    const unsigned char *at = in->at, *end = in->end;
    unsigned char *next = *chosen;
    uint32_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0, place = first + done; i < lanes; i += 8, place += 8) {
            uint32_t set;
            eight x = flag(load(state + i), vld1q_u16(zeros->chances + place), &set);
            zeros->sets[place / 8] = (uint16_t)set;
            vst1_u8(next, table8(vld1q_u8(zeros->tables + place), vld1_u8(zeros->which[set & 255])));
            next += set >> 9;
            store(state + i, refilled(x, &zeros->takes, &at));
        }
    in->at = at;
    *chosen = next;
    return done;
}

void rt_expand_eights(rt_zeros *zeros, uint32_t count) {
    const unsigned char *found = zeros->found;
    int8_t *row = zeros->row;
    for (uint32_t i = 0; i < count; i += 8) {
        uint32_t set = zeros->sets[i / 8];
        vst1_u8((unsigned char *)row + i, table8(vld1q_u8(found), vld1_u8(zeros->ranks[set & 255])));
        found += set >> 9;
    }
}
#endif
