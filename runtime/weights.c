/* A state's weights: those of the file, the caller's, or decoded and made when the state is. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static int decode_in(const rt_stream *s, unsigned char *to, rt_scratch *scratch, uint64_t room) {
    rt_span in = {model_table.weights + s->at, model_table.weights + s->at + s->coded};
    const unsigned char *table = model_table.weights + model_table.table_at;
    rt_span common = {table, table + model_table.table_bytes};
    return rt_decode(in, common, to, s->bytes, scratch, room) && rt_adler(to, s->bytes) == s->check;
}

static int decode_to(const rt_stream *s, unsigned char *to, rt_scratch *scratch) {
    return decode_in(s, to, scratch, model_table.decoder_bytes);
}

int rt_fetch_streams(unsigned char *arena, int32_t number) {
    const rt_fetch *fetch = &model_table.fetches[number];
    const rt_stream *first = model_table.fetched + fetch->first;
    rt_scratch *scratch = (rt_scratch *)(void *)(arena + fetch->work);
    for (const rt_stream *s = first; s < first + fetch->count; s++)
        if (!decode_in(s, arena + s->offset, scratch, fetch->room)) return 0;
    return 1;
}

/* Constants made of filters, which are decoded behind the decoder's own memory. */
static int make(const rt_transform *t, unsigned char *weights, rt_scratch *scratch) {
    unsigned char *source = (unsigned char *)scratch + model_table.decoder_bytes;
    const rt_stream *filters = &model_table.streams[t->first], *scales = filters + 1;
    if (!decode_to(filters, source + filters->offset, scratch)) return 0;
    const void *decoded = source + filters->offset;
    if (t->side) {
        rt_transform_words(t, decoded, weights);
        return 1;
    }
    if (!t->width) {
        rt_transform_floats(t, decoded, weights);
        return 1;
    }
    if (!decode_to(scales, source + scales->offset, scratch)) return 0;
    rt_transform_bytes(t, decoded, (const float *)(const void *)(source + scales->offset), source + t->work, weights);
    return 1;
}

static int32_t plain_streams(void) {
    return model_table.transform_count ? model_table.transforms[0].first : model_table.stream_count;
}

static int decode_some(unsigned char *weights, rt_scratch *scratch, int32_t begin, int32_t end) {
    for (const rt_stream *s = model_table.streams + begin; s < model_table.streams + end; s++)
        if (!decode_to(s, weights + s->offset, scratch)) return 0;
    return 1;
}

static int make_some(unsigned char *weights, rt_scratch *scratch, int32_t begin, int32_t end) {
    for (int32_t i = begin; i < end; i++)
        if (!make(&model_table.transforms[i], weights, scratch)) return 0;
    return 1;
}

/* The model's weights at `to`, gaps zero; 0 where they are damaged. What threads could not do is done here. */
static int decode_weights(unsigned char *to, rt_scratch *scratch, rt_share share, void *context) {
    int32_t streams = plain_streams(), transforms = model_table.transform_count;
    memset(to, 0, (size_t)rt_decoded_bytes());
    if (share && share(context, decode_some, to, streams) && share(context, make_some, to, transforms)) return 1;
    return decode_some(to, scratch, 0, streams) && make_some(to, scratch, 0, transforms);
}

secateur_status rt_find_weights(const secateur_options *options, unsigned char *block, unsigned char *room, rt_share share,
                                void *context, const unsigned char **weights) {
    *weights = options->weights ? options->weights : model_table.weights;
    if (options->weights || !model_table.stream_count) return SECATEUR_OK;
    unsigned char *decoded = block + (rt_block_bytes(options) - rt_decoded_bytes());
    unsigned char *own = room ? NULL : malloc((size_t)model_table.making_bytes + 1);
    *weights = decoded;
    if (!room && !own) return SECATEUR_ERROR_MEMORY;
    int sound = decode_weights(decoded, (rt_scratch *)(void *)(room ? room : own), share, context);
    free(own);
    return sound ? SECATEUR_OK : SECATEUR_ERROR_DAMAGED;
}
