/* Arrays as the codecs `mixed` and `zeros` go through them, and the heads that say how: see mixed.h. */
#include "mixed.h"

#include <string.h>

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

static int is_one_kernel(const rt_order *order) { /* its height and width are one axis each at most */
    for (uint32_t i = 1; i < order->axes; i++)
        if (order->kinds[i] >= RT_DOWN && order->kinds[i] == order->kinds[i - 1]) return 0;
    return 1;
}

int rt_settle(rt_axes *axes, uint64_t count, rt_order *order) {
    uint64_t strides[RT_AXES], inner = 1;
    for (uint32_t i = axes->count; i-- > 1; inner *= axes->extents[i]) {
        if (inner > UINT32_MAX) return 0;
        strides[i] = inner;
    }
    if (!count || count > UINT32_MAX || inner > UINT32_MAX || count % inner) return 0;
    axes->extents[0] = (uint32_t)(count / inner);
    strides[0] = inner;
    order->count = count;
    order->axes = 0;
    for (uint32_t kind = RT_FILTER; kind <= RT_ACROSS; kind++)
        for (uint32_t i = 0; i < axes->count; i++) {
            if (axes->kinds[i] != kind) continue;
            order->kinds[order->axes] = kind;
            order->extents[order->axes] = axes->extents[i];
            order->strides[order->axes++] = strides[i];
        }
    return is_one_kernel(order);
}

/* Heads of `zeros`: how many axes (3 bits), whether the last two are a kernel as high as wide (1 bit), the kind of the outermost
 * axis (2 bits), whose extent is what the others leave of the count, and a number (2 bits); for each other axis its kind and
 * extent, but not for the width of such a kernel. A kind and extent: 2 bits and the lowest 5 of the extent, then 7 bits a byte;
 * the highest bit says that more follow. */
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

const unsigned char *rt_read_order(const unsigned char *at, const unsigned char *end, uint64_t count, rt_order *order,
                                   uint32_t *number) {
    if (at == end || !(*at & 7) || (*at & 7) > RT_AXES) return NULL;
    uint32_t first = *at++, square = first >> 3 & 1, written = (first & 7) - square;
    rt_axes axes = {{first >> 4 & 3}, {0}, first & 7};
    *number = first >> 6;
    if (square && written < 2) return NULL;
    for (uint32_t i = 1; i < written; i++)
        if (!(at = read_axis(at, end, &axes.kinds[i], &axes.extents[i]))) return NULL;
    if (square) {
        if (axes.kinds[written - 1] != RT_DOWN) return NULL;
        axes.kinds[written] = RT_ACROSS;
        axes.extents[written] = axes.extents[written - 1];
    }
    return rt_settle(&axes, count, order) ? at : NULL;
}
