/* Streams of coded weights: which codec, elements of several bytes, and the codecs without a model. */
#include "decode.h"

#include <string.h>
#if defined(__aarch64__) || defined(__ARM_NEON)
#include <arm_neon.h>
#endif

enum { RAW = 0, DICTIONARY, BITMAP, HUFFMAN, ZERO_RUN, PATTERNS, SHARED_BLOCKS, RANS, PLANES, NIBBLES = 10, ZEROS, MIXED = 13, NETWORK_HUFFMAN, SPLIT = 255 };

enum { VECTOR = 16, MOST = 256 * VECTOR }; /* of so many bytes no sum overflows */
typedef uint8_t bytes16 __attribute__((vector_size(VECTOR)));
typedef uint16_t shorts16 __attribute__((vector_size(2 * VECTOR)));
typedef uint32_t words16 __attribute__((vector_size(4 * VECTOR)));

/* The sum of bytes, and the sum of those sums from the first byte on, by columns of whole vectors. */
static void add_up(const unsigned char *data, uint32_t count, uint32_t *sum, uint32_t *sums) {
    shorts16 columns = {0};
    words16 before = {0};
    uint32_t i = 0;
    for (; i + VECTOR <= count; i += VECTOR) {
        bytes16 some;
        memcpy(&some, data + i, sizeof some);
        before += __builtin_convertvector(columns, words16);
        columns += __builtin_convertvector(some, shorts16);
    }
    *sum = *sums = 0;
    for (uint32_t k = 0; k < VECTOR; k++) {
        *sum += columns[k];
        *sums += VECTOR * before[k] + (VECTOR - k) * columns[k];
    }
    for (; i < count; i++) *sums += *sum += data[i];
}

uint32_t rt_adler(const unsigned char *data, uint64_t bytes) {
    uint32_t low = 1, high = 0;
    while (bytes) {
        uint32_t some = bytes < MOST ? (uint32_t)bytes : MOST, sum, sums;
        add_up(data, some, &sum, &sums);
        high = (uint32_t)((high + (uint64_t)some * low + sums) % 65521);
        low = (low + sum) % 65521;
        data += some;
        bytes -= some;
    }
    return high << 16 | low;
}

static int decode_raw(rt_span in, rt_place to) {
    if (rt_left(in) != to.count) return 0;
    if (to.stride == 1) {
        if (to.count) memcpy(to.out, in.at, (size_t)to.count);
        return 1;
    }
    for (uint64_t i = 0; i < to.count; i++) to.out[i * to.stride] = in.at[i];
    return 1;
}

void rt_clear(rt_place to) {
    if (to.stride == 1 && to.count) memset(to.out, 0, (size_t)to.count);
    else for (uint64_t i = 0; i < to.count; i++) to.out[i * to.stride] = 0;
}

void rt_spread(unsigned char *out, uint64_t stride, const unsigned char *from, uint64_t bytes) {
    size_t i = 0, count = (size_t)bytes;
    if (stride == 1) {
        memcpy(out, from, count);
        return;
    }
#if defined(__aarch64__)
#define PUT(lane) __asm__ volatile("st1 {%1.b}[" #lane "], [%0], %2" : "+r"(out) : "w"(x), "r"(stride) : "memory")
    for (; i + 16 <= count; i += 16) { /* a store that moves its pointer on is what compilers make no use of */
        uint8x16_t x = vld1q_u8(from + i);
        PUT(0); PUT(1); PUT(2); PUT(3); PUT(4); PUT(5); PUT(6); PUT(7);
        PUT(8); PUT(9); PUT(10); PUT(11); PUT(12); PUT(13); PUT(14); PUT(15);
    }
#undef PUT
#elif defined(__ARM_NEON)
#define PUT(lane) __asm__ volatile("vst1.8 {%P1[" #lane "]}, [%0], %2" : "+r"(out) : "w"(x), "r"((uint32_t)stride) : "memory")
    for (; i + 8 <= count; i += 8) {
        uint8x8_t x = vld1_u8(from + i);
        PUT(0); PUT(1); PUT(2); PUT(3); PUT(4); PUT(5); PUT(6); PUT(7);
    }
#undef PUT
#endif
    for (; i + 4 <= count; i += 4, out += 4 * stride) {
        uint32_t four = rt_u32(from + i);
        out[0] = (unsigned char)four;
        out[stride] = (unsigned char)(four >> 8);
        out[2 * stride] = (unsigned char)(four >> 16);
        out[3 * stride] = (unsigned char)(four >> 24);
    }
    for (; i < count; i++, out += stride) *out = from[i];
}

typedef uint8_t bytes8 __attribute__((vector_size(8)));
typedef uint16_t shorts8 __attribute__((vector_size(16)));
typedef uint32_t words4 __attribute__((vector_size(16)));

/* Bytes of two rows in turn, as numbers of two bytes. */
static inline shorts8 turns(const unsigned char *first, const unsigned char *second) {
    bytes8 x, y;
    memcpy(&x, first, sizeof x);
    memcpy(&y, second, sizeof y);
    return (shorts8)__builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}

#define LOW_TURNS(x, y) (words4) __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_TURNS(x, y) (words4) __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15)

/* The first bytes of eight. */
static inline void put_bytes(unsigned char *out, const char *eight, uint32_t number) {
    if (number == 8) {
        memcpy(out, eight, 8);
        return;
    }
    if (number & 4) memcpy(out, eight, 4);
    if (number & 2) memcpy(out + (number & 4), eight + (number & 4), 2);
    if (number & 1) out[number - 1] = (unsigned char)eight[number - 1];
}

/* `number` is a constant. */
static inline __attribute__((always_inline)) void spread_rows(unsigned char *out, uint64_t stride, const unsigned char *rows,
                                                              uint64_t apart, uint32_t number, uint64_t count) {
    for (uint64_t i = 0; i < count; i += 8, rows += 8) {
        shorts8 twos[4] = {{0}};
        words4 places[4];
        for (uint32_t two = 0; 2 * two < number; two++) twos[two] = turns(rows + 2 * two * apart, rows + (2 * two + 1) * apart);
        words4 fours[4] = {LOW_TURNS(twos[0], twos[1]), LOW_TURNS(twos[2], twos[3]), HIGH_TURNS(twos[0], twos[1]),
                           HIGH_TURNS(twos[2], twos[3])};
        for (uint32_t half = 0; half < 2; half++) {
            places[2 * half] = __builtin_shufflevector(fours[2 * half], fours[2 * half + 1], 0, 4, 1, 5);
            places[2 * half + 1] = __builtin_shufflevector(fours[2 * half], fours[2 * half + 1], 2, 6, 3, 7);
        }
        if (count - i >= 8) {
            for (uint32_t place = 0; place < 8; place++, out += stride) put_bytes(out, (const char *)places + 8 * place, number);
            continue;
        }
        for (uint32_t place = 0; place < count - i; place++, out += stride)
            put_bytes(out, (const char *)places + 8 * place, number);
    }
}

void rt_spread_rows(unsigned char *out, uint64_t stride, const unsigned char *rows, uint64_t apart, uint32_t number, uint64_t count) {
    switch (number) {
    case 2: spread_rows(out, stride, rows, apart, 2, count); return;
    case 3: spread_rows(out, stride, rows, apart, 3, count); return;
    case 4: spread_rows(out, stride, rows, apart, 4, count); return;
    case 5: spread_rows(out, stride, rows, apart, 5, count); return;
    case 6: spread_rows(out, stride, rows, apart, 6, count); return;
    case 7: spread_rows(out, stride, rows, apart, 7, count); return;
    default: spread_rows(out, stride, rows, apart, 8, count);
    }
}

static int32_t width_of(uint32_t entries) {
    int32_t width = 0;
    while (width < 32 && entries > 1u << width) width++;
    return width;
}

static uint64_t bytes_of(uint64_t count, uint32_t width) { return (count * width + 7) / 8; }

static int decode_dictionary(rt_span in, rt_place to) {
    if (rt_left(in) < 2 || rt_left(in) <= (uint64_t)in.at[0] + 1) return 0;
    uint32_t entries = in.at[0] + 1u;
    int32_t width = width_of(entries);
    unsigned char values[256] = {0};
    memcpy(values, in.at + 1, entries);
    in.at += 1 + entries;
    if (rt_left(in) != bytes_of(to.count, (uint32_t)width)) return 0;
    rt_bits bits = rt_bits_of(in);
    uint32_t most = 0; /* told at the end, where it is none's number */
    uint64_t i = 0;
    for (; width < 8 && i + 8 <= to.count && bits.end - bits.at >= 8; i += 8) {
        rt_refill(&bits);
        for (uint32_t k = 0; k < 8; k++, bits.held >>= width) {
            uint32_t number = (uint32_t)bits.held & ((1u << width) - 1);
            most = number > most ? number : most;
            to.out[(i + k) * to.stride] = values[number];
        }
        bits.count -= 8 * width;
    }
    for (; i < to.count; i++) {
        uint32_t number = rt_take(&bits, width);
        most = number > most ? number : most;
        to.out[i * to.stride] = values[number];
    }
    return most < entries;
}

/* Eight bytes at once: zeros, then those that are none. */
static int decode_bitmap(rt_span in, rt_place to) {
    uint64_t bits = bytes_of(to.count, 1);
    if (rt_left(in) < bits) return 0;
    rt_span left = {in.at + bits, in.end};
    for (uint64_t i = 0; i < to.count; i += 8) {
        uint32_t some = to.count - i < 8 ? (uint32_t)(to.count - i) : 8;
        uint32_t there = in.at[i >> 3] & ((1u << some) - 1);
        unsigned char *out = to.out + i * to.stride;
        if (rt_left(left) < (uint64_t)__builtin_popcount(there)) return 0;
        if (to.stride == 1 && some == 8) memset(out, 0, 8);
        else for (uint32_t k = 0; k < some; k++) out[k * to.stride] = 0;
        for (; there; there &= there - 1) out[(uint64_t)__builtin_ctz(there) * to.stride] = *left.at++;
    }
    return left.at == left.end;
}

static int decode_shared_blocks(rt_span in, rt_place to) {
    if (rt_left(in) < 5) return 0;
    uint32_t size = in.at[0], distinct = rt_u32(in.at + 1);
    if (!size || to.count % size || rt_left(in) - 5 < (uint64_t)distinct * size) return 0;
    uint64_t blocks = to.count / size;
    int32_t width = width_of(distinct);
    const unsigned char *rows = in.end - (uint64_t)distinct * size, *there = in.at + 5;
    if ((uint64_t)(rows - there) < bytes_of(blocks, 1)) return 0;
    rt_span numbers = {there + bytes_of(blocks, 1), rows};
    rt_bits bits = rt_bits_of(numbers);
    uint64_t used = 0;
    rt_clear(to);
    for (uint64_t block = 0; block < blocks; block++) {
        if (!(there[block >> 3] >> (block & 7) & 1)) continue;
        if (bits.count < width) rt_refill(&bits);
        uint32_t number = (uint32_t)(bits.held & ((1ull << width) - 1));
        if (number >= distinct || bits.count < width) return 0;
        bits.held >>= width;
        bits.count -= width;
        const unsigned char *row = rows + (uint64_t)number * size;
        unsigned char *out = to.out + block * size * to.stride;
        if (to.stride == 1) rt_copy(out, row, size);
        else for (uint32_t i = 0; i < size; i++) out[i * to.stride] = row[i];
        used++;
    }
    return rt_left(numbers) == bytes_of(used, (uint32_t)width);
}

/* Bytes of the scratch by codec. */
static uint64_t room_of(int codec) {
    switch (codec) {
    case HUFFMAN:
    case NETWORK_HUFFMAN:
    case ZERO_RUN:
    case PATTERNS: return RT_ROOM(prefix);
    case RANS:
    case NIBBLES: return RT_ROOM(rans);
    case PLANES: return RT_ROOM(planes);
    case ZEROS: return RT_ROOM(zeros);
    case MIXED: return RT_ROOM(mixed);
    default: return 0;
    }
}

static int decode_bytes(rt_span in, rt_span table, rt_place to, rt_scratch *scratch, uint64_t room) {
    if (in.at == in.end) return 0;
    int codec = *in.at++;
    if (room < room_of(codec)) return 0;
    switch (codec) {
    case RAW: return decode_raw(in, to);
    case DICTIONARY: return decode_dictionary(in, to);
    case BITMAP: return decode_bitmap(in, to);
    case HUFFMAN: return rt_decode_huffman(in, to, scratch);
    case NETWORK_HUFFMAN: return rt_decode_network_huffman(in, table, to, scratch);
    case ZERO_RUN: return rt_decode_zero_run(in, to, scratch);
    case PATTERNS: return rt_decode_patterns(in, to, scratch);
    case SHARED_BLOCKS: return decode_shared_blocks(in, to);
    case RANS: return rt_decode_rans(in, to, scratch);
    case PLANES: return rt_decode_planes(in, to, scratch);
    case MIXED: return rt_decode_mixed(in, to, scratch);
    case NIBBLES: return rt_decode_nibbles(in, to, scratch);
    case ZEROS: return rt_decode_zeros(in, to, scratch);
    default: return 0;
    }
}

int rt_decode(rt_span in, rt_span table, unsigned char *out, uint64_t bytes, rt_scratch *scratch, uint64_t room) {
    rt_place whole = {out, bytes, 1};
    if (rt_left(in) < 1 || *in.at != SPLIT) return decode_bytes(in, table, whole, scratch, room);
    if (rt_left(in) < 2) return 0;
    uint32_t width = in.at[1];
    if (!width || bytes % width) return 0;
    in.at += 2;
    for (uint32_t place = 0; place < width; place++) {
        if (rt_left(in) < 4) return 0;
        uint32_t length = rt_u32(in.at);
        in.at += 4;
        if (rt_left(in) < length) return 0;
        rt_span part = {in.at, in.at + length};
        rt_place to = {out + place, bytes / width, width};
        if (!decode_bytes(part, table, to, scratch, room)) return 0;
        in.at += length;
    }
    return in.at == in.end;
}
