/* Lanes of a decoder, sixteen at once, on processors with AVX-512; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SIXTEEN __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))

SIXTEEN static inline __m512i slot_of(__m512i state) { return _mm512_and_si512(state, _mm512_set1_epi32(RT_SLOTS - 1)); }

enum { ALL = 0xffff };

/* States of some lanes that are too low take words in order; sixteen words can be read. */
SIXTEEN static inline __m512i refilled(__m512i state, const unsigned char **at, __mmask16 some) {
    __mmask16 low = _mm512_mask_cmplt_epu32_mask(some, state, _mm512_set1_epi32(RT_LOW));
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)*at));
    __m512i more = _mm512_or_si512(_mm512_slli_epi32(state, 16), _mm512_maskz_expand_epi32(low, words));
    *at += 2 * _mm_popcnt_u32(low);
    return _mm512_mask_mov_epi32(state, low, more);
}

/* States after the symbols of their slots, whose numbers go out. */
SIXTEEN static inline __m512i taken(__m512i state, __m512i slot, const uint32_t *slots, unsigned char *out) {
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
SIXTEEN static inline __m512i slot_in(__m512i state, const unsigned char *contexts) {
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

/* A state / RT_SLOTS x chance, in halves of 16 bits, whose products are known sooner than those of 32. */
SIXTEEN static inline __m512i share(__m512i x, __m512i chance) {
    __m512i above = _mm512_slli_epi32(chance, 16), both = _mm512_or_si512(above, chance);
    __m512i carried = _mm512_mulhi_epu16(_mm512_slli_epi32(x, 16 - RT_LOG_SLOTS), above);
    return _mm512_add_epi32(_mm512_mullo_epi16(_mm512_srli_epi32(x, RT_LOG_SLOTS), both), carried);
}

/* A state whose flag is 0 loses what it would be if that were 1, so the product waits for no flag. */
SIXTEEN static inline __m512i flag(__m512i x, __m512i chance, __mmask16 *is) {
    __m512i slot = slot_of(x), own = share(x, chance), less = _mm512_sub_epi32(x, chance);
    *is = _mm512_cmplt_epu32_mask(slot, chance);
    __asm__("" : "+v"(less)); /* or the difference waits for the product */
    return _mm512_mask_add_epi32(_mm512_sub_epi32(less, own), *is, own, slot);
}

/* States after the flags of sixteen places, which are noted. */
SIXTEEN static inline __m512i flagged(rt_zeros *zeros, __m512i x, uint32_t place, const unsigned char **at, unsigned char **chosen) {
    __m512i chance = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(zeros->chances + place)));
    __m512i tables = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(zeros->tables + place)));
    __mmask16 is;
    x = flag(x, chance, &is);
    _mm_storeu_si128((__m128i *)*chosen, _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(is, tables)));
    *chosen += _mm_popcnt_u32(is);
    zeros->sets[place / 8] = (uint16_t)(is & 255u);
    zeros->sets[place / 8 + 1] = (uint16_t)((uint32_t)is >> 8);
    return refilled(x, at, ALL);
}

SIXTEEN uint32_t rt_flag_sixteens(rt_zeros *zeros, uint32_t *state, uint32_t lanes, uint32_t first, uint32_t count, rt_span *in,
                                  unsigned char **chosen) {
    const unsigned char *at = in->at, *end = in->end;
    unsigned char *next = *chosen;
    uint32_t done = 0;
    if (lanes == 16) { /* in a register */
        __m512i x = _mm512_loadu_si512(state);
        for (; count - done >= 16 && end - at >= 32; done += 16) x = flagged(zeros, x, first + done, &at, &next);
        _mm512_storeu_si512(state, x);
    }
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 16)
            _mm512_storeu_si512(state + i, flagged(zeros, _mm512_loadu_si512(state + i), first + done + i, &at, &next));
    in->at = at;
    *chosen = next;
    return done;
}

SIXTEEN void rt_expand_sixteens(rt_zeros *zeros, uint32_t count) {
    const unsigned char *found = zeros->found;
    int8_t *row = zeros->row;
    for (uint32_t i = 0; i < count; i += 16) {
        uint32_t set = (zeros->sets[i / 8] & 255u) | (zeros->sets[i / 8 + 1] & 255u) << 8;
        __m512i values = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)found));
        _mm_storeu_si128((__m128i *)(row + i), _mm512_cvtepi32_epi8(_mm512_maskz_expand_epi32((__mmask16)set, values)));
        found += _mm_popcnt_u32(set);
    }
}

SIXTEEN static inline __m512i shorts_at(const void *from) { return _mm512_loadu_si512(from); }

/* x + (seen * weight >> by). */
SIXTEEN static inline __m512i weighed(__m512i x, __m512i seen, int16_t weight, unsigned by) {
    return _mm512_add_epi16(x, _mm512_srai_epi16(_mm512_mullo_epi16(seen, _mm512_set1_epi16(weight)), by));
}

SIXTEEN void rt_expect_sixteens(rt_zeros *zeros, const rt_expected *by, uint32_t count) {
    const __m512i first = shorts_at(by->chances), second = shorts_at(by->chances + 32);
    const __m512i one = _mm512_set1_epi16(1), usual = _mm512_set1_epi16(by->mean), told = _mm512_set1_epi16((short)(by->told + 4 * 32));
    for (uint32_t i = 0; i < count; i += 32) {
        __m512i seen = _mm512_srai_epi16(_mm512_sub_epi16(shorts_at(zeros->means + i), usual), 2), table = _mm512_setzero_si512();
        __m512i class = _mm512_srai_epi16(weighed(_mm512_add_epi16(shorts_at(zeros->logits + i), told), seen, by->weight, 7), 2);
        class = _mm512_min_epi16(_mm512_max_epi16(class, table), _mm512_set1_epi16(63));
        _mm512_storeu_si512(zeros->chances + i, _mm512_permutex2var_epi16(first, class, second));
        if (by->tables == 1) continue;
        __m512i sort = weighed(shorts_at(zeros->sorts + i), seen, by->by_seen, 2);
        for (uint32_t n = 0; n + 1 < by->tables; n++)
            table = _mm512_mask_add_epi16(table, _mm512_cmpgt_epi16_mask(sort, _mm512_set1_epi16(by->limits[n])), table, one);
        _mm256_storeu_si256((__m256i *)(zeros->tables + i), _mm512_cvtepi16_epi8(table));
    }
}
#endif
