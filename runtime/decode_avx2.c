/* Lanes of a decoder, eight at once, on processors with AVX2; the same states and words as decode_rans.c. */
#include "decode.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define EIGHT __attribute__((target("avx2,popcnt")))

/* For each set of lanes that take a word, which of the next words each takes: as for the set without its last lane. */
EIGHT void rt_fill_takes(rt_takes *takes) {
    memset(takes->word[0], 0, sizeof takes->word[0]);
    for (uint32_t lane = 0; lane < 8; lane++)
        for (uint32_t set = 0; set < 1u << lane; set++) {
            unsigned char *own = takes->word[set | 1u << lane];
            memcpy(own, takes->word[set], sizeof takes->word[set]);
            own[lane] = (unsigned char)_mm_popcnt_u32(set);
        }
}

/* States that are too low take words in order; eight words can be read. */
EIGHT static inline __m256i refilled(__m256i state, const rt_takes *takes, const unsigned char **at) {
    __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
    uint32_t set = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(low));
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)*at));
    __m256i which = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)takes->word[set]));
    __m256i more = _mm256_or_si256(_mm256_slli_epi32(state, 16), _mm256_permutevar8x32_epi32(words, which));
    *at += 2 * _mm_popcnt_u32(set);
    return _mm256_blendv_epi8(state, more, low);
}

/* The lowest byte of each of eight numbers. */
EIGHT static inline void put_bytes(unsigned char *out, __m256i numbers) {
    const __m256i lowest = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1,
                                            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i packed = _mm256_shuffle_epi8(numbers, lowest);
    int32_t halves[2] = {_mm_cvtsi128_si32(_mm256_castsi256_si128(packed)),
                         _mm_cvtsi128_si32(_mm256_extracti128_si256(packed, 1))};
    memcpy(out, halves, 8);
}

EIGHT static inline __m256i load(const uint32_t *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* States after a symbol, by the entry of its slot. */
EIGHT static inline __m256i advanced(__m256i state, __m256i entry) {
    const __m256i part = _mm256_set1_epi32(RT_SLOTS - 1), one = _mm256_set1_epi32(1);
    __m256i count = _mm256_add_epi32(_mm256_and_si256(_mm256_srli_epi32(entry, 8), part), one);
    __m256i whole = _mm256_mullo_epi32(count, _mm256_srli_epi32(state, RT_LOG_SLOTS));
    return _mm256_add_epi32(whole, _mm256_srli_epi32(entry, 20));
}

EIGHT static inline const unsigned char *step(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes,
                                              const unsigned char *at, unsigned char *out) {
    const __m256i part = _mm256_set1_epi32(RT_SLOTS - 1);
    for (uint32_t i = 0; i < lanes; i += 8) {
        __m256i x = load(state + i);
        __m256i entry = _mm256_i32gather_epi32((const int *)slots, _mm256_and_si256(x, part), 4);
        put_bytes(out + i, entry);
        _mm256_storeu_si256((__m256i *)(state + i), refilled(advanced(x, entry), takes, &at));
    }
    return at;
}

EIGHT uint64_t rt_steps_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                               unsigned char *out, uint64_t count) {
    if (takes->sixteens && lanes % 16 == 0) return rt_steps_sixteens(state, lanes, slots, in, out, count);
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        at = step(state, lanes, slots, takes, at, out + done);
    in->at = at;
    return done;
}

EIGHT uint64_t rt_rest_eights(uint32_t *state, uint32_t lanes, const uint32_t *slots, const rt_takes *takes, rt_span *in,
                              const unsigned char *contexts, unsigned char *out, uint64_t count) {
    if (takes->sixteens && lanes % 16 == 0) return rt_rest_sixteens(state, lanes, slots, in, contexts, out, count);
    const __m256i part = _mm256_set1_epi32(RT_SLOTS - 1);
    const unsigned char *at = in->at, *end = in->end;
    uint64_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0; i < lanes; i += 8) {
            __m256i x = load(state + i);
            __m256i context = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(contexts + done + i)));
            __m256i at_slot = _mm256_or_si256(_mm256_slli_epi32(context, RT_LOG_SLOTS), _mm256_and_si256(x, part));
            __m256i entry = _mm256_i32gather_epi32((const int *)slots, at_slot, 4);
            put_bytes(out + done + i, entry);
            _mm256_storeu_si256((__m256i *)(state + i), refilled(advanced(x, entry), takes, &at));
        }
    in->at = at;
    return done;
}

/* Bytes of a table of 64 by their numbers: sixteen at a time, of which two bits of a number say which are right. */
EIGHT static inline __m256i looked_up(const __m256i *parts, __m256i number) {
    __m256i fifth = _mm256_slli_epi16(number, 3), sixth = _mm256_slli_epi16(number, 2);
    __m256i low = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[0], number), _mm256_shuffle_epi8(parts[1], number), fifth);
    __m256i high = _mm256_blendv_epi8(_mm256_shuffle_epi8(parts[2], number), _mm256_shuffle_epi8(parts[3], number), fifth);
    return _mm256_blendv_epi8(low, high, sixth);
}

EIGHT static void look_up_chances(const uint16_t *table, const unsigned char *classes, uint16_t *chances, uint32_t count) {
    unsigned char bytes[2][64];
    __m256i parts[2][4];
    for (uint32_t i = 0; i < 64; i++) {
        bytes[0][i] = (unsigned char)table[i];
        bytes[1][i] = (unsigned char)(table[i] >> 8);
    }
    for (uint32_t i = 0; i < 8; i++)
        parts[i / 4][i % 4] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(bytes[i / 4] + 16 * (i % 4))));
    for (uint32_t i = 0; i < count; i += 32) {
        __m256i number = _mm256_loadu_si256((const __m256i *)(classes + i));
        __m256i low = looked_up(parts[0], number), high = looked_up(parts[1], number);
        __m256i even = _mm256_unpacklo_epi8(low, high), odd = _mm256_unpackhi_epi8(low, high);
        _mm256_storeu_si256((__m256i *)(chances + i), _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256((__m256i *)(chances + i + 16), _mm256_permute2x128_si256(even, odd, 0x31));
    }
}

EIGHT uint32_t rt_flag_eights(rt_zeros *zeros, uint32_t *state, uint32_t lanes, uint32_t first, uint32_t count, rt_span *in,
                              unsigned char **chosen) {
    const __m256i part = _mm256_set1_epi32(RT_SLOTS - 1), all = _mm256_set1_epi32(RT_SLOTS);
    const unsigned char *at = in->at, *end = in->end;
    uint32_t done = 0;
    for (; count - done >= lanes && (uint64_t)(end - at) >= 2 * (uint64_t)lanes; done += lanes)
        for (uint32_t i = 0, place = first + done; i < lanes; i += 8, place += 8) {
            __m256i x = load(state + i), slot = _mm256_and_si256(x, part);
            __m256i chance = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(zeros->chances + place)));
            __m256i is = _mm256_cmpgt_epi32(chance, slot);
            __m256i own = _mm256_blendv_epi8(_mm256_sub_epi32(all, chance), chance, is);
            __m256i whole = _mm256_mullo_epi32(own, _mm256_srli_epi32(x, RT_LOG_SLOTS));
            x = _mm256_sub_epi32(_mm256_add_epi32(whole, slot), _mm256_andnot_si256(is, chance));
            uint32_t set = (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(is)), some = (uint32_t)_mm_popcnt_u32(set);
            __m128i tables = _mm_loadl_epi64((const __m128i *)(zeros->tables + place));
            tables = _mm_shuffle_epi8(tables, _mm_loadl_epi64((const __m128i *)zeros->which[set]));
            _mm_storel_epi64((__m128i *)*chosen, tables);
            *chosen += some;
            zeros->sets[place / 8] = (uint16_t)(set | some << 9);
            _mm256_storeu_si256((__m256i *)(state + i), refilled(x, &zeros->takes, &at));
        }
    in->at = at;
    return done;
}

EIGHT void rt_expand_eights(rt_zeros *zeros, uint32_t count) {
    const unsigned char *found = zeros->found;
    int8_t *row = zeros->row;
    for (uint32_t i = 0; i < count; i += 8) {
        uint32_t set = zeros->sets[i / 8];
        __m128i values = _mm_loadl_epi64((const __m128i *)found), ranks = _mm_loadl_epi64((const __m128i *)zeros->ranks[set & 255]);
        _mm_storel_epi64((__m128i *)(row + i), _mm_shuffle_epi8(values, ranks));
        found += set >> 9;
    }
}

EIGHT static inline __m256i shorts_at(const int16_t *from) { return _mm256_loadu_si256((const __m256i *)from); }

/* Bytes of two vectors of numbers from 0 to 255. */
EIGHT static inline __m256i narrowed(__m256i low, __m256i high) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xd8);
}

EIGHT static inline __m256i class_of(const rt_zeros *zeros, const rt_expected *by, uint32_t i, __m256i seen) {
    __m256i told = _mm256_add_epi16(shorts_at(zeros->logits + i), _mm256_set1_epi16((short)(by->told + 4 * 32)));
    __m256i weighed = _mm256_srai_epi16(_mm256_mullo_epi16(seen, _mm256_set1_epi16(by->weight)), 7);
    __m256i number = _mm256_srai_epi16(_mm256_add_epi16(told, weighed), 2);
    return _mm256_min_epi16(_mm256_max_epi16(number, _mm256_setzero_si256()), _mm256_set1_epi16(63));
}

EIGHT static inline __m256i table_of(const rt_zeros *zeros, const rt_expected *by, uint32_t i, __m256i seen) {
    __m256i weighed = _mm256_srai_epi16(_mm256_mullo_epi16(seen, _mm256_set1_epi16(by->by_seen)), 2), table = _mm256_setzero_si256();
    __m256i sort = _mm256_add_epi16(shorts_at(zeros->sorts + i), weighed);
    for (uint32_t n = 0; n + 1 < by->tables; n++)
        table = _mm256_sub_epi16(table, _mm256_cmpgt_epi16(sort, _mm256_set1_epi16(by->limits[n])));
    return table;
}

EIGHT void rt_expect_eights(rt_zeros *zeros, const rt_expected *by, uint32_t count) {
    const __m256i usual = _mm256_set1_epi16(by->mean);
    for (uint32_t i = 0; i < count; i += 32) {
        __m256i low = _mm256_srai_epi16(_mm256_sub_epi16(shorts_at(zeros->means + i), usual), 2);
        __m256i high = _mm256_srai_epi16(_mm256_sub_epi16(shorts_at(zeros->means + i + 16), usual), 2);
        __m256i classes = narrowed(class_of(zeros, by, i, low), class_of(zeros, by, i + 16, high));
        _mm256_storeu_si256((__m256i *)(zeros->classes + i), classes);
        if (by->tables == 1) continue;
        __m256i tables = narrowed(table_of(zeros, by, i, low), table_of(zeros, by, i + 16, high));
        _mm256_storeu_si256((__m256i *)(zeros->tables + i), tables);
    }
    look_up_chances(by->chances, zeros->classes, zeros->chances, count);
}
#endif
