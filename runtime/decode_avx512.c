/* Lanes of a decoder, sixteen at once, on processors with AVX-512; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SIXTEEN __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))
#define INLINE static inline __attribute__((always_inline))
#define PICKING __attribute__((target("avx512f,avx512bw,avx512vl,popcnt,bmi2")))

SIXTEEN INLINE __m512i slot_of(__m512i state) { return _mm512_and_si512(state, _mm512_set1_epi32(RT_SLOTS - 1)); }

enum { ALL = 0xffff, HIGH_BITS = RT_PLACES / 8 + 8 /* of tables' numbers, behind the low ones */ };

/* States of some lanes that are too low take words in order; sixteen words can be read. */
SIXTEEN INLINE __m512i refilled(__m512i state, const unsigned char **at, __mmask16 some) {
    __mmask16 low = _mm512_mask_cmplt_epu32_mask(some, state, _mm512_set1_epi32(RT_LOW));
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)*at));
    words = _mm512_maskz_expand_epi32(low, words);
    *at += 2 * _mm_popcnt_u32(low);
    return _mm512_mask_or_epi32(state, low, _mm512_slli_epi32(state, 16), words);
}

/* States after the symbols of their slots, whose numbers go out. */
SIXTEEN INLINE __m512i taken(__m512i state, __m512i slot, const uint32_t *slots, unsigned char *out) {
    __m512i entry = _mm512_i32gather_epi32(slot, slots, 4), whole = _mm512_srli_epi32(state, RT_LOG_SLOTS);
    __m512i less = slot_of(_mm512_srli_epi32(entry, 8));
    _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(entry));
    whole = _mm512_add_epi32(_mm512_mullo_epi32(less, whole), whole);
    return _mm512_add_epi32(whole, _mm512_srli_epi32(entry, 20));
}

SIXTEEN uint64_t rt_steps_sixteens(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, unsigned char *out,
                                   uint64_t count) {
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 16) {
            __m512i x = _mm512_loadu_si512(state + i);
            _mm512_storeu_si512(state + i, refilled(taken(x, slot_of(x), slots, out + done + i), &at, ALL));
        }
    in->at = at;
    return done;
}

/* By the tables that contexts say. */
SIXTEEN INLINE __m512i slot_in(__m512i state, const unsigned char *contexts) {
    __m512i context = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)contexts));
    return _mm512_add_epi32(_mm512_slli_epi32(context, RT_LOG_SLOTS), slot_of(state));
}

SIXTEEN uint64_t rt_rest_sixteens(uint32_t *state, uint32_t lanes, const uint32_t *slots, rt_span *in, const unsigned char *contexts,
                                  unsigned char *out, uint64_t count) {
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    if (lanes == 16) { /* in a register */
        __m512i x = _mm512_loadu_si512(state);
        for (; count - done >= 16 && end - at >= 32; done += 16)
            x = refilled(taken(x, slot_in(x, contexts + done), slots, out + done), &at, ALL);
        if (done < count && end - at >= 32) { /* the last ones, of some lanes */
            __mmask16 some = (__mmask16)((1u << (count - done)) - 1);
            __m512i next = taken(x, slot_in(x, contexts + done), slots, out + done);
            x = refilled(_mm512_mask_mov_epi32(x, some, next), &at, some);
            done = count;
        }
        _mm512_storeu_si512(state, x);
    }
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 16) {
            __m512i x = _mm512_loadu_si512(state + i);
            _mm512_storeu_si512(state + i, refilled(taken(x, slot_in(x, contexts + done + i), slots, out + done + i), &at, ALL));
        }
    in->at = at;
    return done;
}

/* Zeros and what is none ---------------------------------------------------------------------------- */

/* Each of sixteen chances in both halves of 32 bits. */
SIXTEEN INLINE __m512i both_of(__m512i chances, int upper) {
    const __m512i first = _mm512_set_epi32(0xf000f, 0xe000e, 0xd000d, 0xc000c, 0xb000b, 0xa000a, 0x90009, 0x80008, 0x70007, 0x60006,
                                           0x50005, 0x40004, 0x30003, 0x20002, 0x10001, 0);
    return _mm512_permutexvar_epi16(upper ? _mm512_or_si512(first, _mm512_set1_epi16(16)) : first, chances);
}

/* A state / RT_SLOTS x chance, in halves of 16 bits, whose products are known sooner than those of 32. */
SIXTEEN INLINE __m512i share(__m512i x, __m512i both) {
    __m512i carried = _mm512_maskz_mulhi_epu16(0xaaaaaaaa, _mm512_slli_epi32(x, 16 - RT_LOG_SLOTS), both);
    return _mm512_add_epi32(_mm512_mullo_epi16(_mm512_srli_epi32(x, RT_LOG_SLOTS), both), carried);
}

/* States after the flags of sixteen places. A state whose flag is 0 loses what it would be if that were 1, so the product waits
 * for no flag. */
SIXTEEN INLINE __m512i flagged(__m512i x, __m512i both, const unsigned char **at, uint32_t *is) {
    __m512i slot = slot_of(x), chance = _mm512_and_si512(both, _mm512_set1_epi32(0xffff));
    __m512i own = share(x, both), less = _mm512_sub_epi32(x, chance);
    __mmask16 ones = _mm512_cmplt_epu32_mask(slot, chance);
    __asm__("" : "+v"(less)); /* or the difference waits for the product */
    *is = ones;
    return refilled(_mm512_mask_add_epi32(_mm512_sub_epi32(less, own), ones, own, slot), at, ALL);
}

SIXTEEN INLINE __m512i shorts_at(const void *from) { return _mm512_loadu_si512(from); }

/* x + (seen * weight >> by). */
SIXTEEN INLINE __m512i weighed(__m512i x, __m512i seen, int16_t weight, unsigned by) {
    return _mm512_add_epi16(x, _mm512_srai_epi16(_mm512_mullo_epi16(seen, _mm512_set1_epi16(weight)), by));
}

SIXTEEN INLINE __m512i found_at(const unsigned char *found, uint32_t set) {
    return _mm512_maskz_expand_epi32((__mmask16)set, _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)found)));
}

/* What 32 places hold: what was found and zeros, with what is missing of sizes, their signs turned where `sum` is negative. */
SIXTEEN INLINE __m512i held(const rt_zeros *zeros, uint32_t i, const unsigned char **found, __m512i sum) {
    const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    uint32_t set = zeros->wide_sets[i / 32], first = (uint32_t)_mm_popcnt_u32(set & ALL);
    __m512i low = found_at(*found, set & ALL), high = found_at(*found + first, set >> 16);
    __m512i value = _mm512_permutexvar_epi64(order, _mm512_packs_epi32(low, high));
    __m512i lack = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(zeros->lacks + i)));
    __mmask32 some = _mm512_test_epi16_mask(value, value), negative = _mm512_movepi16_mask(value);
    value = _mm512_mask_add_epi16(value, some & ~negative, value, lack);
    value = _mm512_mask_sub_epi16(value, negative, value, lack);
    value = _mm512_mask_sub_epi16(value, _mm512_movepi16_mask(sum), _mm512_setzero_si512(), value);
    *found += first + (uint32_t)_mm_popcnt_u32(set >> 16);
    return _mm512_srai_epi16(_mm512_slli_epi16(value, 8), 8);
}

/* The row of the tap before, and what is known of its places by it; their means. */
SIXTEEN INLINE __m512i looked(rt_zeros *zeros, const rt_expected *by, uint32_t i, const unsigned char **found) {
    const __m128i pace = _mm_cvtsi32_si128(by->pace);
    __m512i sum = shorts_at(zeros->sums + i), mean = shorts_at(zeros->means + i), value = held(zeros, i, found, sum);
    __m512i seen = _mm512_srai_epi16(_mm512_mullo_epi16(_mm512_abs_epi16(value), _mm512_set1_epi16(by->steep)), 4);
    seen = _mm512_min_epi16(seen, _mm512_set1_epi16(127));
    seen = _mm512_maskz_add_epi16(_mm512_test_epi16_mask(value, value), seen, _mm512_set1_epi16(by->flat));
    _mm256_storeu_si256((__m256i *)(zeros->row + i), _mm512_cvtepi16_epi8(value));
    mean = _mm512_add_epi16(mean, _mm512_sra_epi16(_mm512_sub_epi16(_mm512_slli_epi16(seen, 4), mean), pace));
    sum = _mm512_add_epi16(sum, _mm512_sra_epi16(_mm512_sub_epi16(_mm512_slli_epi16(value, 4), sum), pace));
    _mm512_storeu_si512(zeros->means + i, mean);
    _mm512_storeu_si512(zeros->sums + i, sum);
    return mean;
}

SIXTEEN void rt_settle_sixteens(rt_zeros *zeros, uint32_t count) {
    const unsigned char *found = zeros->found;
    for (uint32_t i = 0; i < count; i += 32) {
        __m512i value = held(zeros, i, &found, shorts_at(zeros->sums + i));
        _mm256_storeu_si256((__m256i *)(zeros->row + i), _mm512_cvtepi16_epi8(value));
    }
}

/* Bits of those that are not zero, one behind the other. */
typedef struct bits_out {
    unsigned char *to;
    uint64_t held; /* of a byte that is not full */
} bits_out;

/* Of a set, some bits behind `count` others. */
PICKING INLINE void put(bits_out *out, uint32_t count, uint32_t some, uint32_t set, uint32_t bits) {
    uint64_t held = out->held | (uint64_t)_pext_u32(bits, set) << (count & 7);
    memcpy(out->to + count / 8, &held, sizeof held);
    out->held = held >> (((count & 7) + some) & ~7u);
}

/* Which of 32 places lie above each limit; the limits are in order. */
SIXTEEN INLINE void sorted(__m512i sort, const __m512i *limits, uint32_t *low, uint32_t *high) {
    uint32_t first = _mm512_cmpgt_epi16_mask(sort, limits[0]), third = _mm512_cmpgt_epi16_mask(sort, limits[2]);
    *high = _mm512_cmpgt_epi16_mask(sort, limits[1]);
    *low = (first & ~*high) | third;
}

/* By what chances and tables are found, in vectors. */
typedef struct vectors {
    __m512i first, second, usual, told, limits[3];
} vectors;

SIXTEEN INLINE vectors vectors_of(const rt_expected *by) {
    vectors all = {shorts_at(by->chances), shorts_at(by->chances + 32), _mm512_set1_epi16(by->mean),
                   _mm512_set1_epi16((short)(by->told + 4 * 32)), {{0}}};
    for (uint32_t n = 0; n < 3; n++) all.limits[n] = _mm512_set1_epi16(n + 1 < by->tables ? by->limits[n] : INT16_MAX);
    return all;
}

/* Chances of 32 places, and their tables' numbers in bits. */
typedef struct chances {
    __m512i parts;
    uint32_t some, low, high; /* which of the places there are */
} chances;

SIXTEEN INLINE chances expected(rt_zeros *zeros, const rt_expected *by, const vectors *all, int begun, uint32_t i, uint32_t count,
                                const unsigned char **found) {
    chances own = {_mm512_setzero_si512(), count - i < 32 ? (1u << (count - i)) - 1 : ~0u, 0, 0};
    __m512i mean = begun ? looked(zeros, by, i, found) : shorts_at(zeros->means + i);
    __m512i seen = _mm512_srai_epi16(_mm512_sub_epi16(mean, all->usual), 2), logit = shorts_at(zeros->logits + i);
    __m512i class = _mm512_srai_epi16(weighed(_mm512_add_epi16(logit, all->told), seen, by->weight, 7), 2);
    class = _mm512_min_epi16(_mm512_max_epi16(class, own.parts), _mm512_set1_epi16(63));
    own.parts = _mm512_permutex2var_epi16(all->first, class, all->second);
    own.parts = _mm512_mask_mov_epi16(_mm512_set1_epi16(RT_SLOTS), own.some, own.parts); /* which leaves a state as it is */
    if (by->tables > 1) sorted(weighed(shorts_at(zeros->sorts + i), seen, by->by_seen, 2), all->limits, &own.low, &own.high);
    return own;
}

/* Of 32 places, sixteen of which are some lanes', the others other ones'. */
SIXTEEN INLINE uint32_t flags_by(__m512i *x, uint32_t *state, uint32_t lanes, uint32_t i, const chances *by,
                                 const unsigned char **at) {
    uint32_t low, high;
    if (lanes == 16) {
        *x = flagged(flagged(*x, both_of(by->parts, 0), at, &low), both_of(by->parts, 1), at, &high);
    } else {
        uint32_t *own = state + (i & (lanes - 1)), *other = own + 16;
        _mm512_storeu_si512(own, flagged(_mm512_loadu_si512(own), both_of(by->parts, 0), at, &low));
        _mm512_storeu_si512(other, flagged(_mm512_loadu_si512(other), both_of(by->parts, 1), at, &high));
    }
    return (low | high << 16) & by->some;
}

/* Flags of a row. While states wait for what they need, the row before is finished, and chances are found, 32 places ahead. */
PICKING INLINE uint32_t flags_of(rt_zeros *zeros, uint32_t *state, uint32_t lanes, const rt_expected *by, int begun,
                                 uint32_t count, const unsigned char **at) {
    const unsigned char *found = zeros->found;
    const vectors all = vectors_of(by);
    bits_out low = {zeros->chosen, 0}, high = {zeros->chosen + HIGH_BITS, 0};
    chances next = expected(zeros, by, &all, begun, 0, count, &found);
    __m512i x = _mm512_loadu_si512(state);
    uint32_t done = 0;
    for (uint32_t i = 0; i < count; i += 32) {
        chances own = next;
        if (count - i > 32) next = expected(zeros, by, &all, begun, i + 32, count, &found);
        uint32_t set = flags_by(&x, state, lanes, i, &own, at), here = (uint32_t)_mm_popcnt_u32(set);
        zeros->wide_sets[i / 32] = set;
        if (by->tables > 1) {
            put(&low, done, here, set, own.low);
            put(&high, done, here, set, own.high);
        }
        done += here;
    }
    if (lanes == 16) _mm512_storeu_si512(state, x);
    return done;
}

/* Symbols of the first `count` places of all that are not zero, by the tables that bits say. */
SIXTEEN INLINE void values_of(rt_zeros *zeros, uint32_t *state, uint32_t lanes, int several, uint32_t count,
                                     const unsigned char **at) {
    const unsigned char *tables[2] = {zeros->chosen, zeros->chosen + HIGH_BITS};
    __m512i x = _mm512_loadu_si512(state);
    for (uint32_t i = 0; i < count; i += 16) {
        __mmask16 some = (__mmask16)(count - i < 16 ? (1u << (count - i)) - 1 : ALL);
        uint32_t *own = state + (lanes == 16 ? 0 : i & (lanes - 1));
        if (lanes != 16) x = _mm512_loadu_si512(own);
        __m512i slot = slot_of(x);
        if (several) {
            slot = _mm512_mask_or_epi32(slot, (__mmask16)rt_u16(tables[0] + i / 8), slot, _mm512_set1_epi32(RT_SLOTS));
            slot = _mm512_mask_or_epi32(slot, (__mmask16)rt_u16(tables[1] + i / 8), slot, _mm512_set1_epi32(2 * RT_SLOTS));
        }
        x = refilled(_mm512_mask_mov_epi32(x, some, taken(x, slot, zeros->slots[0], zeros->found + i)), at, some);
        if (lanes != 16) _mm512_storeu_si512(own, x);
    }
    if (lanes == 16) _mm512_storeu_si512(state, x);
}

PICKING INLINE const unsigned char *row_of(rt_zeros *zeros, uint32_t *state, uint32_t lanes, const rt_expected *by, int begun,
                                                  uint32_t count, const unsigned char *at) {
    const rt_expected own = *by;
    uint32_t found = flags_of(zeros, state, lanes, &own, begun, count, &at);
    values_of(zeros, state, lanes, own.tables > 1, found, &at);
    return at;
}

PICKING const unsigned char *rt_row_sixteens(rt_zeros *zeros, uint32_t *state, uint32_t lanes, const rt_expected *by, int begun,
                                             uint32_t count, const unsigned char *at) {
    if (lanes == 16) return row_of(zeros, state, 16, by, begun, count, at); /* which are kept in a register */
    return row_of(zeros, state, lanes, by, begun, count, at);
}
#endif
