/* Decoders of canonical prefix codes: bytes, runs of zeros, blocks that occur again. */
#include "decode.h"

#include <string.h>

enum { SYMBOL = (1 << RT_SYMBOL_BITS) - 1 };

/* The table of words, by their lengths: what is known of the first bits is twice as long with one bit more. */
static void fill_words(const uint32_t *counts, rt_prefix *prefix) {
    uint32_t next = 0;
    memset(prefix->words, 0, 2 * sizeof *prefix->words);
    for (uint32_t length = 1; length <= RT_WORD_BITS; length++, next <<= 1) {
        uint32_t half = 1u << (length - 1), left = counts[length];
        if (length > 1) memcpy(prefix->words + half, prefix->words, half * sizeof *prefix->words);
        for (uint32_t symbol = 0; left; symbol++) {
            if (prefix->lengths[symbol] != length) continue;
            uint32_t code = next++, word = 0;
            for (uint32_t i = 0; i < length; i++) word |= (code >> i & 1) << (length - 1 - i);
            prefix->words[word] = (uint16_t)(length << RT_SYMBOL_BITS | symbol);
            left--;
        }
    }
}

/* Reads the lengths of the words of `symbols` symbols and fills the table of words; the span goes on behind. */
static int read_words(rt_span *in, uint32_t symbols, rt_prefix *prefix) {
    rt_bits bits = rt_bits_of(*in);
    uint32_t at = 0, counts[RT_WORD_BITS + 1] = {0};
    memset(prefix->lengths, 0, sizeof prefix->lengths);
    while (at < symbols && !bits.missing) {
        uint32_t length = rt_take(&bits, 4);
        prefix->lengths[at] = (unsigned char)length;
        counts[length]++;
        at += length ? 1 : rt_golomb(&bits, 0) + 1;
    }
    if (at != symbols || bits.missing) return 0;
    counts[0] = 0;
    uint64_t sum = 0;
    for (int n = 1; n <= RT_WORD_BITS; n++) sum += (uint64_t)counts[n] << (RT_WORD_BITS - n);
    if (sum > 1u << RT_WORD_BITS) return 0;
    prefix->whole = sum == 1u << RT_WORD_BITS;
    fill_words(counts, prefix);
    in->at += rt_bits_bytes(&bits);
    return 1;
}

static inline uint32_t take_symbol(rt_bits *bits, const rt_prefix *prefix) {
    rt_refill(bits);
    uint32_t word = prefix->words[bits->held & ((1u << RT_WORD_BITS) - 1)];
    if (word) rt_drop(bits, (int32_t)(word >> RT_SYMBOL_BITS));
    else bits->missing = 1;
    return word & SYMBOL;
}

/* What is held is enough for three words. */
static inline uint32_t next_symbol(rt_bits *bits, const rt_prefix *prefix) {
    uint32_t word = prefix->words[bits->held & ((1u << RT_WORD_BITS) - 1)];
    bits->held >>= word >> RT_SYMBOL_BITS;
    bits->count -= (int32_t)(word >> RT_SYMBOL_BITS);
    return word & SYMBOL;
}

/* Of a whole code, as long as eight bytes more are there; how many symbols these were. */
static inline uint64_t many_symbols(rt_bits *given, const rt_prefix *prefix, unsigned char *out, uint64_t count, uint64_t stride) {
    rt_bits bits = *given;
    uint64_t i = 0;
    for (; i + 3 <= count && bits.end - bits.at >= 8; i += 3, out += 3 * stride) {
        rt_refill(&bits);
        out[0] = (unsigned char)next_symbol(&bits, prefix);
        out[stride] = (unsigned char)next_symbol(&bits, prefix);
        out[2 * stride] = (unsigned char)next_symbol(&bits, prefix);
    }
    *given = bits;
    return i;
}

static int ended(const rt_bits *bits) {
    return !bits->missing && bits->begin + rt_bits_bytes(bits) == bits->end;
}

static int decode_words(rt_span in, rt_place to, const rt_prefix *prefix) {
    rt_bits bits = rt_bits_of(in);
    uint64_t i = 0;
    if (prefix->whole && to.stride == 1) i = many_symbols(&bits, prefix, to.out, to.count, 1);
    else if (prefix->whole) i = many_symbols(&bits, prefix, to.out, to.count, to.stride);
    for (; i < to.count && !bits.missing; i++) to.out[i * to.stride] = (unsigned char)take_symbol(&bits, prefix);
    return ended(&bits);
}

int rt_decode_huffman(rt_span in, rt_place to, rt_scratch *scratch) {
    return read_words(&in, 256, &scratch->as.prefix) && decode_words(in, to, &scratch->as.prefix);
}

int rt_decode_network_huffman(rt_span in, rt_span table, rt_place to, rt_scratch *scratch) {
    return read_words(&table, 256, &scratch->as.prefix) && !rt_left(table) && decode_words(in, to, &scratch->as.prefix);
}

int rt_decode_zero_run(rt_span in, rt_place to, rt_scratch *scratch) {
    enum { SYMBOLS = 256 + 24 - 1 };
    rt_prefix *prefix = &scratch->as.prefix;
    if (!read_words(&in, SYMBOLS, prefix)) return 0;
    rt_bits bits = rt_bits_of(in);
    uint64_t end = 0;
    rt_clear(to);
    while (end < to.count && !bits.missing) {
        uint32_t symbol;
        if (prefix->whole && bits.end - bits.at >= 8) { /* two literals, then a word and its run */
            rt_refill(&bits);
            for (int i = 0; (symbol = next_symbol(&bits, prefix)) < 256 && end < to.count; i++) {
                to.out[end++ * to.stride] = (unsigned char)symbol;
                if (i == 1) break;
            }
            if (symbol < 256) continue;
        } else symbol = take_symbol(&bits, prefix);
        if (symbol < 256) {
            to.out[end++ * to.stride] = (unsigned char)symbol;
            continue;
        }
        int32_t more = (int32_t)symbol - 255;
        uint64_t run = (1ull << more) + rt_take(&bits, more);
        if (run > to.count - end) return 0;
        end += run;
    }
    return ended(&bits);
}

enum { LITERAL, NEW, FIRST };

static int decode_literals(rt_span in, rt_place to, rt_scratch *scratch) {
    if (rt_left(in) < 1) return 0;
    int kind = *in.at++;
    if (kind == 1) return rt_decode_huffman(in, to, scratch);
    if (kind != 0 || rt_left(in) != to.count) return 0;
    if (to.stride == 1 && to.count) memcpy(to.out, in.at, (size_t)to.count);
    else for (uint64_t i = 0; i < to.count; i++) to.out[i * to.stride] = in.at[i];
    return 1;
}

/* Blocks that are written in the stream lie at the end of the output at first: no block that is put to its
 * place reaches those that are still to come. */
static int place_blocks(rt_bits *bits, rt_place to, uint32_t size, uint64_t literals, uint32_t patterns, rt_prefix *prefix) {
    uint64_t source = to.count - literals * size;
    uint32_t known = 0;
    for (uint64_t begin = 0; begin < to.count; begin += size) {
        uint32_t symbol = take_symbol(bits, prefix);
        if (bits->missing || (symbol >= FIRST && symbol - FIRST >= known)) return 0;
        uint64_t from = symbol >= FIRST ? (uint64_t)prefix->known[symbol - FIRST] * size : source;
        if (symbol < FIRST) source += size;
        if (symbol == NEW) {
            if (known == patterns) return 0;
            prefix->known[known++] = (uint32_t)(begin / size);
        }
        if (to.stride == 1) rt_copy(to.out + begin, to.out + from, size);
        else for (uint32_t i = 0; i < size; i++) to.out[(begin + i) * to.stride] = to.out[(from + i) * to.stride];
    }
    return known == patterns;
}

int rt_decode_patterns(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_prefix *prefix = &scratch->as.prefix;
    if (rt_left(in) < 8) return 0;
    uint32_t size = in.at[0], patterns = rt_u16(in.at + 1), coded = rt_u32(in.at + 3);
    in.at += 7;
    if (!size || to.count % size || !to.count || patterns > RT_PATTERNS || coded >= rt_left(in)) return 0;
    if (to.count / size > UINT32_MAX) return 0;
    rt_span head = {in.at, in.at + coded}, tail = {in.at + coded, in.end}, words = head;
    if (!read_words(&words, patterns + FIRST, prefix)) return 0;
    rt_bits bits = rt_bits_of(words);
    uint64_t literals = 0;
    for (uint64_t i = 0; i < to.count / size && !bits.missing; i++) literals += take_symbol(&bits, prefix) < FIRST;
    if (!ended(&bits)) return 0;
    rt_place end = {to.out + (to.count - literals * size) * to.stride, literals * size, to.stride};
    if (!decode_literals(tail, end, scratch)) return 0;
    words = head;
    if (!read_words(&words, patterns + FIRST, prefix)) return 0; /* the literals had a code of their own */
    bits = rt_bits_of(words);
    return place_blocks(&bits, to, size, literals, patterns, prefix);
}
