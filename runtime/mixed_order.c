/* Arrays as the codec `mixed` goes through them, and the heads of its streams, which say how: see mixed.h. */
#include "mixed.h"

#include <string.h>

enum { MEANS = 29 }; /* codes of a mean in quarters, four an octave from 4 to 512 */

static void find_numbers(const rt_order *order, rt_walk *w) {
    memset(w->numbers, 0, sizeof w->numbers);
    for (uint32_t i = 0; i < order->axes; i++) {
        uint32_t *number = &w->numbers[order->kinds[i]];
        *number = *number * order->extents[i] + w->at[i];
    }
}

void rt_advance(const rt_order *order, rt_walk *w) {
    uint32_t axis = order->axes;
    while (axis-- > 0) {
        if (++w->at[axis] < order->extents[axis]) {
            w->place += order->strides[axis];
            break;
        }
        w->at[axis] = 0;
        w->place -= order->strides[axis] * (order->extents[axis] - 1);
    }
    find_numbers(order, w);
}

uint64_t rt_back(const rt_order *order, const rt_walk *w, int kind) {
    int32_t axis = w->last[kind];
    return axis >= 0 && w->at[axis] ? order->strides[axis] : 0;
}

/* Heads: how many axes (3 bits), whether the last two are a kernel as high as wide (1 bit), the kind of the outermost axis
 * (2 bits), whose extent is what the others leave of the count, and a number (2 bits; in `mixed` how many weights are zero); for
 * each other axis its kind and extent, but not for the width of such a kernel. A kind and extent: 2 bits and the lowest 5 of
 * the extent, then 7 bits a byte; the highest bit says that more follow. Then, in `mixed`, a code of the mean (5 bits) and the
 * bits of the largest size where it is all ones (3 bits), or none, and the largest size follows. Axes of a kind are gone
 * through as they lie, filters outermost. */
static const unsigned char *read_axis(const unsigned char *at, const unsigned char *end, uint32_t *kind, uint32_t *extent) {
    if (at == end) return NULL;
    *kind = *at & 3;
    *extent = *at >> 2 & 31;
    for (uint32_t shift = 5; *at++ & 128; shift += 7) {
        if (at == end || shift > 19) return NULL;
        *extent |= (uint32_t)(*at & 127) << shift;
    }
    return *extent ? at : NULL;
}

static const unsigned char *read_axes(const unsigned char *at, const unsigned char *end, uint32_t first, uint64_t count,
                                      rt_order *order) {
    uint32_t square = first >> 3 & 1, written = order->axes - square;
    uint32_t extents[RT_AXES], kinds[RT_AXES];
    uint64_t strides[RT_AXES];
    if (square && written < 2) return NULL;
    for (uint32_t i = 1; i < written; i++)
        if (!(at = read_axis(at, end, &kinds[i], &extents[i]))) return NULL;
    if (square) {
        if (kinds[written - 1] != RT_DOWN) return NULL;
        kinds[written] = RT_ACROSS;
        extents[written] = extents[written - 1];
    }
    uint64_t inner = 1;
    for (uint32_t i = order->axes; i-- > 1; inner *= extents[i]) {
        if (inner > UINT32_MAX) return NULL;
        strides[i] = inner;
    }
    if (!count || count > UINT32_MAX || count % inner) return NULL;
    kinds[0] = first >> 4 & 3;
    extents[0] = (uint32_t)(count / inner);
    strides[0] = inner;
    order->count = count;
    uint32_t place = 0;
    for (uint32_t kind = RT_FILTER; kind <= RT_ACROSS; kind++)
        for (uint32_t i = 0; i < order->axes; i++) {
            if (kinds[i] != kind) continue;
            order->kinds[place] = kind;
            order->extents[place] = extents[i];
            order->strides[place++] = strides[i];
        }
    return at;
}

static int is_one_kernel(const rt_order *order) { /* its height and width are one axis each at most */
    for (uint32_t i = 1; i < order->axes; i++)
        if (order->kinds[i] >= RT_DOWN && order->kinds[i] == order->kinds[i - 1]) return 0;
    return 1;
}

const unsigned char *rt_read_order(const unsigned char *at, const unsigned char *end, uint64_t count, rt_order *order,
                                   uint32_t *number) {
    if (at == end || !(*at & 7) || (*at & 7) > RT_AXES) return NULL;
    uint32_t first = *at++;
    order->axes = first & 7;
    *number = first >> 6;
    at = read_axes(at, end, first, count, order);
    return at && is_one_kernel(order) ? at : NULL;
}

const unsigned char *rt_mixed_read_head(const unsigned char *at, const unsigned char *end, uint64_t count,
                                        rt_mixed_head *head) {
    if (!(at = rt_read_order(at, end, count, &head->order, &head->zeros)) || at == end) return NULL;
    uint32_t mean = *at & 31, bits = *at >> 5;
    if (++at == end && !bits) return NULL;
    head->largest = bits ? (1u << bits) - 1 : *at++;
    head->mean = (4 + mean % 4) << mean / 4;
    return mean < MEANS && head->largest <= 128 ? at : NULL;
}
