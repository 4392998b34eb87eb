/* Decoder of the codec `mixed`: a range coder, whose chances mixed.c gives. */
#include "decode.h"

/* Of what an encoder leaves out at the end, every bit is 0. */
static uint32_t next_byte(rt_coder *c) {
    if (c->at < c->end) return *c->at++;
    c->missing++;
    return 0;
}

static uint32_t decode_bit(rt_coder *c, uint32_t chance, uint32_t bit) {
    uint32_t mid = rt_middle(c, chance);
    bit = c->value <= mid;
    if (bit) c->high = mid;
    else c->low = mid + 1;
    for (; !((c->low ^ c->high) >> 24); c->low <<= 8) {
        c->high = c->high << 8 | 255;
        c->value = c->value << 8 | next_byte(c);
    }
    return bit;
}

int rt_decode_mixed(rt_span in, rt_place to, rt_scratch *scratch) {
    rt_mixed_head head = {0};
    rt_coder coder = {decode_bit, 0, UINT32_MAX, 0, 0, in.at, in.end, NULL, NULL};
    for (int i = 0; i < 4; i++) coder.value = coder.value << 8 | next_byte(&coder);
    if (!rt_mixed_code_head(&coder, to.count, &head)) return 0;
    rt_mixed_begin(&scratch->as.mixed, &head);
    rt_mixed_code(&scratch->as.mixed, &head, &coder, to.out, to.stride, to.count);
    uint32_t bytes, last = rt_last(&coder, &bytes);
    return coder.at == coder.end && coder.missing == 4 - bytes && coder.value == last;
}
