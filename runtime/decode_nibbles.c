/* Decoder of pairs of weights whose high bits are one symbol (codegen/weights/nibbles.py).
 *
 * Symbols are decoded to the end of where the weights belong and spread from the front: a pair's weights never lie
 * behind the pair. */
#include "decode.h"

#include <string.h>

typedef uint8_t sixteen __attribute__((vector_size(16)));

/* Where all four low bits are written, 32 weights at once; the first that is left. */
static uint64_t spread_nibbles(const unsigned char *pairs, const unsigned char *low, unsigned char *out, uint64_t count) {
    uint64_t i = 0;
    for (; i + 32 <= count; i += 32) {
        sixteen high, bits, first, second;
        memcpy(&high, pairs + i / 2, sizeof high);
        memcpy(&bits, low + i / 2, sizeof bits);
        first = high << 4 | (bits & 15);
        second = (high & 240) | bits >> 4;
        sixteen before = __builtin_shufflevector(first, second, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        sixteen behind = __builtin_shufflevector(first, second, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        memcpy(out + i, &before, sizeof before);
        memcpy(out + i + 16, &behind, sizeof behind);
    }
    return i;
}

/* Where two are written or none, 16 weights at once. */
static uint64_t spread_pairs(const unsigned char *pairs, const unsigned char *low, unsigned char *out, uint64_t count,
                             uint32_t width) {
    uint64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        uint64_t parts[2];
        for (int half = 0; half < 2; half++) {
            uint64_t high = rt_u32(pairs + i / 2 + 4 * half), bits = width ? rt_u16(low + i / 4 + 2 * half) : 0;
            high = (high | high << 16) & 0x0000ffff0000ffffu;
            high = (high | high << 8) & 0x00ff00ff00ff00ffu;
            high = (high | high << 4) & 0x0f0f0f0f0f0f0f0fu;
            bits = (bits | bits << 24) & 0x000000ff000000ffu;
            bits = (bits | bits << 12) & 0x000f000f000f000fu;
            bits = (bits | bits << 6) & 0x0303030303030303u;
            uint64_t sign = (high & 0x0808080808080808u) << 1; /* to the bits above: 16 less one bit is four */
            high |= (sign << 4) - sign;
            parts[half] = (high << width & (0xffu >> width << width) * 0x0101010101010101u) | bits;
        }
        memcpy(out + i, parts, sizeof parts); /* lowest byte first, as every target has it */
    }
    return i;
}

int rt_decode_nibbles(rt_span in, rt_place to, rt_scratch *scratch) {
    if (rt_left(in) < 5) return 0;
    uint32_t width = in.at[0];
    uint64_t length = rt_u32(in.at + 1), pairs = (to.count + 1) / 2;
    if (width > 4 || width % 2 || rt_left(in) - 5 < length) return 0;
    rt_span stream = {in.at + 5, in.at + 5 + length}, low = {stream.end, in.end};
    if (rt_left(low) != (to.count * width + 7) / 8) return 0;
    rt_place behind = {to.out + (to.count - pairs) * to.stride, pairs, to.stride};
    if (!rt_decode_rans(stream, behind, scratch)) return 0;
    uint64_t i = 0;
    if (to.stride == 1 && width == 4) i = spread_nibbles(behind.out, low.at, to.out, to.count);
    else if (to.stride == 1) i = spread_pairs(behind.out, low.at, to.out, to.count, width);
    for (; i < to.count; i++) {
        uint32_t high = behind.out[i / 2 * to.stride] >> (i % 2 * 4) & 15, sign = high & 8;
        uint32_t bits = width ? low.at[i * width / 8] >> (i * width % 8) & ((1u << width) - 1) : 0;
        to.out[i * to.stride] = (unsigned char)((high - 2 * sign) << width | bits);
    }
    return 1;
}
