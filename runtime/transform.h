/* Winograd's transform of filters where a model is loaded: codegen/weights/origin.py has the tables. */
#ifndef SECATEUR_TRANSFORM_H
#define SECATEUR_TRANSFORM_H

#include <stdint.h>

enum { RT_DIGITS = 7, RT_MOST_TAPS = 81, RT_MOST_SIDE = 4 };

typedef struct rt_digit {
    uint32_t extent, stride;
} rt_digit;

/* Constants that are made of filters, [filter][channel][3][3], of floats, of halves or of bytes; of bytes in whole numbers
 * [filter][channel][side][side]. */
typedef struct rt_transform {
    const double *down, *across; /* rows of three numbers, or `side`; `tall` and `wide` of them */
    uint32_t tall, wide, filters, channels;
    uint32_t tap; /* elements from one tap of a filter and channel to the next */
    rt_digit filter_digits[RT_DIGITS], channel_digits[RT_DIGITS]; /* the one that turns fastest first; extent 0 ends them */
    int32_t first;     /* stream of the filters; of bytes, their scales are the next */
    uint32_t side;     /* rows and columns of filters whose transform is whole, in 16 bits; of all others 0 */
    uint32_t half;         /* filters and constants are binary16 */
    uint64_t work;     /* behind the streams' bytes: memory to work in */
    uint64_t to;       /* this and what follows are places among the weights */
    uint32_t width;    /* of bytes: filters of a group, by which starts and scales lie; of others 0 */
    uint64_t factors, stride; /* of one tap after the other, so many elements apart */
    uint32_t factor_bytes;    /* of an element: 2 or 4 */
    uint32_t crossed;         /* factors of the middle two of each four channels have changed places */
    uint64_t scales, starts;  /* of starts 0 where there are none: the weights lie before them */
} rt_transform;

/* Makes the constants, from the streams' bytes at `source`. */
void rt_transform_floats(const rt_transform *t, const void *filters, unsigned char *weights);
void rt_transform_words(const rt_transform *t, const int8_t *filters, unsigned char *weights);
void rt_transform_bytes(const rt_transform *t, const int8_t *filters, const float *scales, void *work, unsigned char *weights);

#endif
