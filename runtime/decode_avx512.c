/* Lanes of a decoder, sixteen at once, on processors with AVX-512; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define SIXTEEN __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))

SIXTEEN static inline __m512i slot_of(__m512i state) { return _mm512_and_si512(state, _mm512_set1_epi32(RT_SLOTS - 1)); }

/* States that are too low take words in order; sixteen words can be read. */
SIXTEEN static inline __m512i refilled(__m512i state, const unsigned char **at) {
    __mmask16 low = _mm512_cmplt_epu32_mask(state, _mm512_set1_epi32(RT_LOW));
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
            _mm512_storeu_si512(state + i, refilled(taken(x, slot_of(x), slots, out + done + i), &at));
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
            x = refilled(taken(x, slot_in(x, contexts + done), slots, out + done), &at);
        _mm512_storeu_si512(state, x);
    }
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 16) {
            __m512i x = _mm512_loadu_si512(state + i);
            _mm512_storeu_si512(state + i, refilled(taken(x, slot_in(x, contexts + done + i), slots, out + done + i), &at));
        }
    in->at = at;
    return done;
}

SIXTEEN static inline __m512i flag(__m512i x, __m512i chance, __mmask16 *is) {
    __m512i slot = slot_of(x), whole = _mm512_srli_epi32(x, RT_LOG_SLOTS);
    *is = _mm512_cmplt_epu32_mask(slot, chance);
    __m512i before = _mm512_mask_mov_epi32(chance, *is, _mm512_setzero_si512());
    __m512i count = _mm512_mask_mov_epi32(_mm512_sub_epi32(_mm512_set1_epi32(RT_SLOTS), chance), *is, chance);
    return _mm512_add_epi32(_mm512_mullo_epi32(count, whole), _mm512_sub_epi32(slot, before));
}

SIXTEEN static inline uint16_t counted(uint32_t set) { return (uint16_t)(set | (uint32_t)_mm_popcnt_u32(set) << 9); }

/* States after the flags of sixteen places, which are noted. */
SIXTEEN static inline __m512i flagged(rt_zeros *zeros, __m512i x, uint32_t place, const unsigned char **at, unsigned char **chosen) {
    __m512i chance = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(zeros->chances + place)));
    __m512i tables = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(zeros->tables + place)));
    __mmask16 is;
    x = flag(x, chance, &is);
    _mm_storeu_si128((__m128i *)*chosen, _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(is, tables)));
    *chosen += _mm_popcnt_u32(is);
    zeros->sets[place / 8] = counted(is & 255u);
    zeros->sets[place / 8 + 1] = counted((uint32_t)is >> 8);
    return refilled(x, at);
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
#endif
