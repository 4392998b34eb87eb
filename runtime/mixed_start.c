/* Where the model of the codec `mixed` starts, so that short arrays need not learn what all networks have in common. They were
 * learnt from six trained networks by tools/weights/mixed_start.py, which says how. */
#include <string.h>

#include "mixed.h"

enum { FEW_SEEN = 2, SIGNS_SEEN = 4, SIZES_SEEN = 7, SHARES_SEEN = 12, TOPS_SEEN = 20, WEIGHT_UNIT = 1024, AROUND_UNIT = 256 };

static const int32_t PACES[RT_CHOICES] = {2, 6, 20, 60};

typedef struct start {
    int8_t sizes[7][RT_SIZE_OPINIONS], tops[2][RT_TOP_OPINIONS]; /* weights of opinions */
    int8_t zeros[RT_ZERO_OPINIONS], signs[RT_SIGN_OPINIONS];
    int8_t widths[RT_WIDTHS]; /* in 64ths */
    int8_t around[RT_AROUND];
} start;

#include "mixed_learnt.h"

/* Tables -------------------------------------------------------------------------------------------- */

/* Logits in 256ths from -8 to 8, and chances in 65536ths. */
static void fill_logits(rt_mixed *m) {
    const double step = 0.99610136947011749; /* e^(-1/256) */
    double odds = 1;
    for (int i = 0; i < 2048; i++, odds *= step) {
        int chance = (int)(65536 / (1 + odds));
        chance = chance > 65519 ? 65519 : chance;
        m->chances[2048 + i] = (uint16_t)chance;
        if (i) m->chances[2048 - i] = (uint16_t)(65536 - chance);
    }
    m->chances[0] = m->chances[1];
    int from = 0;
    for (int x = 0; x < 4096; x++)
        for (; from <= m->chances[x] >> 4; from++) m->logits[from] = (int16_t)(x - 2048);
    for (; from < 4096; from++) m->logits[from] = 2047;
}

/* Gauss's and the logistic distribution function of a mean size of 1, by 64ths from -8 to 8. */
static void fill_bells(rt_mixed *m) {
    const double area = 0.31830988618379067, twist = 0.99992229064497173; /* 1 / pi, e^(-1 / (64^2 pi)) */
    const double step = 0.97857206208770009;                              /* e^(-2 ln 2 / 64) */
    double odds = 1, height = 1, ratio = twist, sum = 0, square = twist * twist;
    for (int i = 0; i <= 512; i++) {
        m->bells[0][512 + i] = 0.5 + sum;
        m->bells[0][512 - i] = 0.5 - sum;
        m->bells[1][512 + i] = 1 / (1 + odds);
        m->bells[1][512 - i] = odds / (1 + odds);
        double next = height * ratio;
        sum += (height + next) * (0.5 * area / 64);
        height = next;
        ratio *= square;
        odds *= step;
    }
}

static void fill_powers(rt_mixed *m) {
    double power = 1;
    for (int i = 0; i < 256; i++, power *= 1.0027112750502025) m->powers[i] = power; /* 2^(1/256) */
    for (int i = 0; i <= 256; i++) {
        double t = i / (512.0 + i), square = t * t, term = t, sum = 0;
        for (int k = 1; k < 20; k += 2, term *= square) sum += term / k;
        m->logs[i] = sum * (2 * 1.4426950408889634);
    }
}

/* Of sizes that are `mean` in the mean, every decision. */
static void fill_sizes(const rt_mixed *m, const unsigned char *shape, rt_counter *nodes, double mean) {
    double heights[RT_NODES], inverse = 4 / mean;
    for (int i = 0; i < RT_NODES; i++) {
        double z = (i + 1) * inverse, past = (z - 16) / 4;
        int at = (int)z;
        if (at < 16) heights[i] = shape[at] + (shape[at + 1] - shape[at]) * (z - at);
        else heights[i] = shape[16] * rt_power(m, past > 15 ? -15.0 : -past);
        heights[i] = heights[i] * inverse + 0.01;
    }
    for (int width = 1; width < RT_NODES; width *= 2)
        for (int i = 0; i < RT_NODES; i += 2 * width) {
            double all = heights[i] + heights[i + width], up = heights[i + width] / all;
            nodes[(RT_NODES + i) / (2 * width)] = rt_counter_of(up < 0.002 ? 0.002 : up > 0.998 ? 0.998 : up, SIZES_SEEN);
            heights[i] = all;
        }
}

static void fill_counters(rt_mixed *m, const rt_mixed_head *head, uint32_t mean) {
    const unsigned char *shape = HEIGHTS[head->zeros];
    fill_sizes(m, shape, m->whole, mean / 4.0);
    for (int class = 0; class < RT_CLASSES; class++) {
        fill_sizes(m, shape, m->sizes[0][class], rt_power(m, (class + 0.5) / 4));
        for (int set = 1; set < 4; set++) memcpy(m->sizes[set][class], m->sizes[0][class], sizeof m->whole);
        memcpy(m->sizes[4][class], m->whole, sizeof m->whole);
        fill_sizes(m, shape, m->sizes[5][class], rt_power(m, (class / 4 * 4 + 2) / 4.0));
    }
    double there = m->dense ? 0.97 : 0.3;
    for (int i = 0; i < 64; i++) {
        for (int set = 0; set < RT_ZERO_SETS; set++) m->zeros[set][i] = rt_counter_of(there, FEW_SEEN);
        double share = m->chances[i < 32 ? i * 128 + 64 : 4095] / 65536.0;
        m->zeros[1][i] = m->zeros[2][i] = rt_counter_of(share < 0.002 ? 0.002 : share, SHARES_SEEN);
        for (int set = 0; set < RT_SIGN_SETS; set++) m->signs[set][i] = rt_counter_of(0.5, SIGNS_SEEN);
    }
}

static void fill_tops(rt_mixed *m) {
    for (int bit = 0; bit < 3; bit++)
        for (int reached = 0; reached < 2; reached++)
            for (uint32_t node = 64 >> bit; node < 128u >> bit; node++)
                m->tops[reached][node] = rt_counter_of(TOPS[m->bits < 7][reached][bit] / 1000.0, TOPS_SEEN);
}

static void set_weights(int32_t *weights, const int8_t *from, int count) {
    for (int i = 0; i < count; i++) weights[i] = from[i] * WEIGHT_UNIT;
}

static void fill_weights(rt_mixed *m, const start *from) {
    for (int bit = 0; bit < 7; bit++) set_weights(m->size_weights[bit], from->sizes[bit], RT_SIZE_OPINIONS);
    for (int reached = 0; reached < 2; reached++) set_weights(m->top_weights[reached], from->tops[reached], RT_TOP_OPINIONS);
    set_weights(m->zero_weights, from->zeros, RT_ZERO_OPINIONS);
    set_weights(m->sign_weights, from->signs, RT_SIGN_OPINIONS);
    for (int i = 0; i < RT_WIDTHS; i++) m->widths[i] = from->widths[i] / 64.0;
    for (int i = 0; i < RT_AROUND; i++) m->around_weights[i] = from->around[i] * AROUND_UNIT;
}

void rt_mixed_begin(rt_mixed *m, const rt_mixed_head *head) {
    memset(m, 0, sizeof *m);
    fill_logits(m);
    fill_bells(m);
    fill_powers(m);
    for (uint32_t i = 0; i < 1024; i++) m->shares[i] = (uint16_t)(65536 / (i + 1.6));
    uint32_t mean = (4 + head->mean % 4) << head->mean / 4; /* in quarters */
    m->largest = head->largest;
    m->dense = head->zeros == 0;
    while (m->largest && (m->largest - 1) >> m->bits) m->bits++;
    fill_counters(m, head, mean);
    fill_tops(m);
    fill_weights(m, &STARTS[head->zeros][m->bits < 7]);
    m->all.sum = mean * 4;
    m->all.count = m->all.nonzero = 16;
    m->all.rest = mean * 4;
    m->next_solution = 8;
    m->ridge = 4 << 2 * head->ridge;
    m->pace = PACES[head->pace];
    m->across = m->taps_of_kernel = 1;
    for (uint32_t i = 0; i < head->order.axes; i++) {
        if (head->order.kinds[i] == RT_ACROSS) m->across = head->order.extents[i];
        if (head->order.kinds[i] >= RT_DOWN) m->taps_of_kernel *= head->order.extents[i];
    }
}
