/* Arrays as the codec `mixed` goes through them, and the heads of its streams, which say how: see mixed.h. */
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

/* Heads: how many axes, for each its kind and extent, then the largest size, the mean in quarters (2 bytes) with the highest
 * bit for dense. A kind and extent: 2 bits and the lowest 5 of the extent, then 7 bits a byte; the highest bit says that more
 * follow. Axes of a kind are gone through as they lie, filters outermost. */
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

static const unsigned char *read_axes(const unsigned char *at, const unsigned char *end, rt_order *order) {
    uint32_t extents[RT_AXES], kinds[RT_AXES];
    uint64_t strides[RT_AXES];
    for (uint32_t i = 0; i < order->axes; i++)
        if (!(at = read_axis(at, end, &kinds[i], &extents[i]))) return NULL;
    order->count = 1;
    for (uint32_t i = order->axes; i-- > 0; order->count *= extents[i]) {
        if (order->count > UINT32_MAX) return NULL;
        strides[i] = order->count;
    }
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

const unsigned char *rt_mixed_read_head(const unsigned char *at, const unsigned char *end, uint64_t count,
                                        rt_mixed_head *head) {
    if (at == end || !*at || *at > RT_AXES) return NULL;
    head->order.axes = *at++;
    if (!(at = read_axes(at, end, &head->order)) || end - at < 3) return NULL;
    if (head->order.count != count || !is_one_kernel(&head->order)) return NULL;
    head->largest = at[0];
    head->mean = at[1] | (at[2] & 127u) << 8;
    head->dense = at[2] >> 7;
    return head->largest <= 128 && head->mean >= 4 && head->mean <= 512 ? at + 3 : NULL;
}
