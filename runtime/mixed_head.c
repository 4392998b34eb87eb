/* Heads of the codec `mixed`: decisions like those about weights, with chances that stay, about how most arrays are. */
#include "mixed.h"

enum { PARTS = 65536, MOST_BITS = 7 };

static uint32_t code(rt_coder *coder, uint32_t percent, uint32_t bit) { return coder->code(coder, PARTS / 100 * percent, bit); }

static uint32_t bits_of(uint32_t x) { return x ? 32 - (uint32_t)__builtin_clz(x) : 0; }

/* A number of so many bits, all equally frequent. */
static uint32_t code_bits(rt_coder *coder, uint32_t bits, uint32_t value) {
    uint32_t found = 0;
    while (bits--) found = found << 1 | code(coder, 50, value >> bits & 1);
    return found;
}

/* A number up to `most`, each larger one having `percent` of those from it on. */
static uint32_t code_count(rt_coder *coder, uint32_t percent, uint32_t most, uint32_t value) {
    uint32_t found = 0;
    while (found < most && code(coder, percent, value > found)) found++;
    return found;
}

static uint32_t code_kind(rt_coder *coder, uint32_t axis, uint32_t last, uint32_t value) {
    uint32_t tap = code(coder, axis == 0 ? 5 : axis + 1 < last || last == 1 ? 20 : 55, value >> 1);
    return tap << 1 | code(coder, tap ? (axis < last ? 20 : 95) : axis ? 90 : 10, value & 1);
}

/* How many bits it has behind the first one, then those: channels come in eights. */
static uint32_t code_extent(rt_coder *coder, uint32_t kind, uint32_t value) {
    uint32_t bits = code_count(coder, kind >= RT_DOWN ? 65 : 83, 31, bits_of(value >> 1)), found = 1;
    while (bits--) found = found << 1 | code(coder, kind >= RT_DOWN || bits > 2 ? 45 : 15, value >> bits & 1);
    return found;
}

static void code_axes(rt_coder *coder, rt_axes *axes) {
    axes->count = 1 + code_count(coder, 75, RT_AXES - 1, axes->count - 1);
    uint32_t last = axes->count - 1;
    for (uint32_t i = 0; i <= last; i++) {
        axes->kinds[i] = code_kind(coder, i, last, axes->kinds[i]);
        if (!i) continue;
        int width = axes->kinds[i] == RT_ACROSS && axes->kinds[i - 1] == RT_DOWN && i > 1;
        if (width && code(coder, 95, axes->extents[i] == axes->extents[i - 1])) axes->extents[i] = axes->extents[i - 1];
        else axes->extents[i] = code_extent(coder, axes->kinds[i], axes->extents[i]);
    }
}

static void code_largest(rt_coder *coder, rt_mixed_head *head) {
    uint32_t bits = bits_of(head->largest);
    if (code(coder, 95, bits && head->largest == (1u << bits) - 1))
        head->largest = (1u << (MOST_BITS - code_count(coder, 50, MOST_BITS - 1, MOST_BITS - bits))) - 1;
    else head->largest = code_bits(coder, 8, head->largest);
}

/* One below RT_CHOICES, so many of them 2 or 3. */
static uint32_t code_choice(rt_coder *coder, uint32_t percent, uint32_t value) {
    uint32_t upper = code(coder, percent, value >> 1);
    return upper << 1 | code(coder, 45, value & 1);
}

/* Beside what is usual, by the largest size and the share of zeros. */
static void code_mean(rt_coder *coder, rt_mixed_head *head) {
    static const uint32_t below[RT_STARTS] = {7, 5, 3, 2};
    uint32_t bits = bits_of(head->largest), usual = bits > 1 ? 4 * bits - below[head->zeros] : 0;
    uint32_t more = code(coder, 50, head->mean > usual);
    if (more) head->mean = usual + 1 + code_count(coder, 60, RT_MEANS, head->mean - usual - 1);
    else head->mean = usual - code_count(coder, 60, usual, usual - head->mean);
}

int rt_mixed_code_head(rt_coder *coder, uint64_t count, rt_mixed_head *head) {
    code_axes(coder, &head->axes);
    if (!rt_settle(&head->axes, count, &head->order)) return 0;
    head->zeros = code_bits(coder, 2, head->zeros);
    code_largest(coder, head);
    code_mean(coder, head);
    head->ridge = code_choice(coder, 25, head->ridge);
    head->pace = code_choice(coder, 10, head->pace);
    return head->largest <= 128 && head->mean < RT_MEANS && coder->missing <= RT_MOST_MISSING;
}
