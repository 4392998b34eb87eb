/* The compiler's library of codecs, which no artifact holds: the encoder of `mixed`, and all decoders. */
#include <stdlib.h>

#include "decode.h"

__attribute__((visibility("default"))) int64_t secateur_encode_mixed(const uint32_t *told, unsigned char *data, uint64_t count,
                                                                     uint64_t most, unsigned char *out, uint64_t room);
__attribute__((visibility("default"))) int secateur_learn_mixed(const uint32_t *told, unsigned char *data, uint64_t count,
                                                                double *numbers);
__attribute__((visibility("default"))) int secateur_decode_mixed(const unsigned char *payload, uint64_t bytes,
                                                                 unsigned char *out, uint64_t count);
__attribute__((visibility("default"))) int secateur_decode_stream(const unsigned char *stream, uint64_t bytes,
                                                                  const unsigned char *table, uint64_t table_bytes,
                                                                  unsigned char *out, uint64_t count);

static void put(rt_coder *c, uint32_t byte) {
    if (c->out < c->out_end) *c->out++ = (unsigned char)byte;
    else c->missing = RT_MOST_MISSING + 1;
}

static uint32_t encode_bit(rt_coder *c, uint32_t chance, uint32_t bit) {
    uint32_t mid = rt_middle(c, chance);
    if (bit) c->high = mid;
    else c->low = mid + 1;
    for (; !((c->low ^ c->high) >> 24); c->low <<= 8) {
        put(c, c->high >> 24);
        c->high = c->high << 8 | 255;
    }
    return bit;
}

static void finish(rt_coder *c) {
    uint32_t bytes, number = rt_last(c, &bytes);
    for (; bytes--; number <<= 8) put(c, number >> 24);
}

/* What `Head.told` of codegen/weights/mixed.py says. */
static rt_mixed_head head_of(const uint32_t *told) {
    rt_mixed_head head = {.largest = told[0], .mean = told[1], .zeros = told[2], .ridge = told[3], .pace = told[4]};
    head.axes.count = told[5];
    for (uint32_t i = 0; i < RT_AXES; i++) {
        head.axes.kinds[i] = told[6 + i];
        head.axes.extents[i] = told[6 + RT_AXES + i];
    }
    return head;
}

/* The bytes that the head and the first `most` weights take; -1 where it is no head, there is no room or no memory. */
int64_t secateur_encode_mixed(const uint32_t *told, unsigned char *data, uint64_t count, uint64_t most, unsigned char *out,
                              uint64_t room) {
    rt_mixed_head head = head_of(told);
    rt_coder coder = {encode_bit, 0, UINT32_MAX, 0, 0, NULL, NULL, out, out + room};
    rt_mixed *model = malloc(sizeof *model);
    int sound = model && rt_mixed_code_head(&coder, count, &head);
    if (sound) {
        rt_mixed_begin(model, &head);
        rt_mixed_code(model, &head, &coder, data, 1, most);
        finish(&coder);
    }
    free(model);
    return sound && !coder.missing ? coder.out - out : -1;
}

/* Numbers of a model that other networks teach, in the order of `start` in mixed_start.c; to the model, or from it. */
static double *exchange_weights(double *numbers, int32_t *weights, int count, int back) {
    for (int i = 0; i < count; i++, numbers++) {
        if (back) *numbers = weights[i];
        else weights[i] = (int32_t)*numbers;
    }
    return numbers;
}

static double *exchange(rt_mixed *m, double *numbers, int back) {
    for (int bit = 0; bit < 7; bit++) numbers = exchange_weights(numbers, m->size_weights[bit], RT_SIZE_OPINIONS, back);
    for (int reached = 0; reached < 2; reached++)
        numbers = exchange_weights(numbers, m->top_weights[reached], RT_TOP_OPINIONS, back);
    numbers = exchange_weights(numbers, m->zero_weights, RT_ZERO_OPINIONS, back);
    numbers = exchange_weights(numbers, m->sign_weights, RT_SIGN_OPINIONS, back);
    for (int i = 0; i < RT_WIDTHS; i++, numbers++) {
        if (back) *numbers = m->widths[i];
        else m->widths[i] = *numbers;
    }
    return exchange_weights(numbers, m->around_weights, RT_AROUND, back);
}

/* The chances of going on to the largest size, at its last three bits, before a filter has had it and after. */
static void exchange_tops(rt_mixed *m, double *numbers, int back) {
    for (int reached = 0; reached < 2; reached++)
        for (int bit = 0; bit < 3; bit++, numbers++) {
            uint32_t last = m->largest ? m->largest - 1 : 0;
            rt_counter *top = &m->tops[reached][1u << (6 - bit) | last >> (bit + 1)];
            if (back) *numbers = (double)(*top >> 10) / 4194304;
            else *top = rt_counter_of(*numbers, *top & 1023);
        }
}

/* Where the model comes that starts from these numbers; 0 where it is no head or there is no memory. */
int secateur_learn_mixed(const uint32_t *told, unsigned char *data, uint64_t count, double *numbers) {
    rt_mixed_head head = head_of(told);
    uint64_t room = 2 * count + 64;
    unsigned char *out = malloc(room);
    rt_coder coder = {encode_bit, 0, UINT32_MAX, 0, 0, NULL, NULL, out, out ? out + room : NULL};
    rt_mixed *model = malloc(sizeof *model);
    int sound = out && model && rt_mixed_code_head(&coder, count, &head);
    if (sound) {
        rt_mixed_begin(model, &head);
        exchange_tops(model, exchange(model, numbers, 0), 0);
        rt_mixed_code(model, &head, &coder, data, 1, count);
        exchange_tops(model, exchange(model, numbers, 1), 1);
    }
    free(model);
    free(out);
    return sound;
}

/* Into `count` bytes: 0 where the payload, or the stream, is damaged or there is no memory. */
int secateur_decode_mixed(const unsigned char *payload, uint64_t bytes, unsigned char *out, uint64_t count) {
    rt_scratch *scratch = malloc(sizeof *scratch);
    rt_span in = {payload, payload + bytes};
    rt_place to = {out, count, 1};
    int sound = scratch && rt_decode_mixed(in, to, scratch);
    free(scratch);
    return sound;
}

int secateur_decode_stream(const unsigned char *stream, uint64_t bytes, const unsigned char *table, uint64_t table_bytes,
                           unsigned char *out, uint64_t count) {
    rt_scratch *scratch = malloc(sizeof *scratch);
    rt_span in = {stream, stream + bytes}, common = {table, table + table_bytes};
    int sound = scratch && rt_decode(in, common, out, count, scratch, sizeof *scratch);
    free(scratch);
    return sound;
}
