/* Lanes of a decoder, eight at once, on AArch64; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__aarch64__)
#include <arm_neon.h>

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

/* Bit i tells whether lane i is set; twice how many are stands above eight bits. */
static inline uint32_t set_of(uint32x4_t low, uint32x4_t high) {
    static const uint16_t bits[8] = {0x201, 0x202, 0x204, 0x208, 0x210, 0x220, 0x240, 0x280};
    uint16x8_t both = vuzp1q_u16(vreinterpretq_u16_u32(low), vreinterpretq_u16_u32(high));
    return vaddvq_u16(vandq_u16(both, vld1q_u16(bits)));
}

/* For each set of lanes that take a word, where each finds its own, in bytes. */
void rt_fill_takes(rt_takes *takes) {
    for (uint32_t set = 0; set < 256; set++)
        for (uint32_t lane = 0, word = 0; lane < 8; lane++) takes->word[set][lane] = (unsigned char)(set >> lane & 1 ? 2 * word++ : 0);
}

/* States that are too low take words in order; eight words can be read. */
static inline eight refilled(eight x, const rt_takes *takes, const unsigned char **at) {
    const uint32x4_t limit = vdupq_n_u32(RT_LOW);
    uint32x4_t low = vcltq_u32(x.low, limit), high = vcltq_u32(x.high, limit);
    uint32_t set = set_of(low, high);
    uint8x8_t which = vld1_u8(takes->word[set & 255]);
    uint8x16_t twice = vcombine_u8(vzip1_u8(which, which), vzip2_u8(which, which));
    uint8x16_t bytes = vorrq_u8(twice, vreinterpretq_u8_u16(vdupq_n_u16(0x100)));
    uint16x8_t words = vreinterpretq_u16_u8(vqtbl1q_u8(vld1q_u8(*at), bytes));
    *at += set >> 8;
    x.low = vbslq_u32(low, vaddw_u16(vshlq_n_u32(x.low, 16), vget_low_u16(words)), x.low);
    x.high = vbslq_u32(high, vaddw_high_u16(vshlq_n_u32(x.high, 16), words), x.high);
    return x;
}

static inline uint32x4_t looked_up(const uint32_t *slots, uint32x4_t at) {
    uint64_t first = vgetq_lane_u64(vreinterpretq_u64_u32(at), 0), last = vgetq_lane_u64(vreinterpretq_u64_u32(at), 1);
    uint32x4_t entry = vdupq_n_u32(0);
    entry = vld1q_lane_u32(slots + (uint32_t)first, entry, 0);
    entry = vld1q_lane_u32(slots + (first >> 32), entry, 1);
    entry = vld1q_lane_u32(slots + (uint32_t)last, entry, 2);
    return vld1q_lane_u32(slots + (last >> 32), entry, 3);
}

static inline uint32x4_t advanced(uint32x4_t state, uint32x4_t entry) {
    uint32x4_t less = vandq_u32(vshrq_n_u32(entry, 8), vdupq_n_u32(RT_SLOTS - 1)), whole = vshrq_n_u32(state, RT_LOG_SLOTS);
    return vmlaq_u32(vsraq_n_u32(whole, entry, 20), less, whole);
}

static inline eight taken(const uint32_t *slots, eight x, eight slot, unsigned char *out) {
    eight entry = {looked_up(slots, slot.low), looked_up(slots, slot.high)};
    vst1_u8(out, vmovn_u16(vuzp1q_u16(vreinterpretq_u16_u32(entry.low), vreinterpretq_u16_u32(entry.high))));
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

const unsigned char *rt_rest_eights(const uint32_t *slots, const rt_takes *takes, uint32_t *state, uint32_t lanes,
                                    const unsigned char *contexts, const unsigned char *at, unsigned char *out) {
    for (uint32_t i = 0; i < lanes; i += 8) {
        eight x = load(state + i), slot = slots_of(x);
        uint16x8_t context = vmovl_u8(vld1_u8(contexts + i));
        slot.low = vorrq_u32(slot.low, vshll_n_u16(vget_low_u16(context), RT_LOG_SLOTS));
        slot.high = vorrq_u32(slot.high, vshll_high_n_u16(context, RT_LOG_SLOTS));
        store(state + i, refilled(taken(slots, x, slot, out + i), takes, &at));
    }
    return at;
}

void rt_chances_eights(const uint16_t *table, const unsigned char *classes, uint16_t *chances, uint32_t count) {
    uint8x16x4_t low, high;
    for (int i = 0; i < 4; i++) {
        uint8x16x2_t bytes = vld2q_u8((const unsigned char *)(table + 16 * i));
        low.val[i] = bytes.val[0];
        high.val[i] = bytes.val[1];
    }
    for (uint32_t i = 0; i < count; i += 16) {
        uint8x16_t number = vld1q_u8(classes + i);
        uint8x16x2_t found = {{vqtbl4q_u8(low, number), vqtbl4q_u8(high, number)}};
        vst2q_u8((unsigned char *)(chances + i), found);
    }
}

static inline uint32x4_t flagged(uint32x4_t state, uint32x4_t slot, uint32x4_t chance, uint32x4_t is) {
    uint32x4_t count = vbslq_u32(is, chance, vsubq_u32(vdupq_n_u32(RT_SLOTS), chance));
    return vmlaq_u32(vsubq_u32(slot, vbicq_u32(chance, is)), count, vshrq_n_u32(state, RT_LOG_SLOTS));
}

const unsigned char *rt_flag_eights(rt_zeros *zeros, uint32_t *state, uint32_t lanes, uint32_t first, const unsigned char *at,
                                    uint16_t **there) {
    for (uint32_t i = 0; i < lanes; i += 8) {
        eight x = load(state + i), slot = slots_of(x);
        uint16x8_t chances = vld1q_u16(zeros->chances + first + i);
        eight chance = {vmovl_u16(vget_low_u16(chances)), vmovl_high_u16(chances)};
        eight is = {vcgtq_u32(chance.low, slot.low), vcgtq_u32(chance.high, slot.high)};
        x.low = flagged(x.low, slot.low, chance.low, is.low);
        x.high = flagged(x.high, slot.high, chance.high, is.high);
        uint32_t set = set_of(is.low, is.high);
        uint16x8_t number = vaddw_u8(vdupq_n_u16((uint16_t)(first + i)), vld1_u8(zeros->which[set & 255]));
        vst1q_u16(*there, number);
        *there += set >> 9;
        store(state + i, refilled(x, &zeros->takes, &at));
    }
    return at;
}
#endif
